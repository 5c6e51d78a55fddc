/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/progress.h"

static char text[8192];

static void work(bool quiet, bool hurry)
{
    struct progress p;

    progress_begin(&p, "work", 200, quiet);
    for (uint64_t i = 0; i <= 200; i++) {
        if (hurry)
            p.next_ns = 0;
        progress_update(&p, i, "fast");
    }
    progress_end(&p, "well");
}

/* Runs work with standard error on fd. */
static void redirected(int fd, bool quiet, bool hurry)
{
    int kept = dup(STDERR_FILENO);

    dup2(fd, STDERR_FILENO);
    work(quiet, hurry);
    dup2(kept, STDERR_FILENO);
    close(kept);
}

static const char *in_file(bool quiet, bool hurry)
{
    int fd = memfd_create("stderr", 0);
    ssize_t n;

    redirected(fd, quiet, hurry);
    n = pread(fd, text, sizeof(text) - 1, 0);
    cr_assert_geq(n, 0);
    text[n] = 0;
    close(fd);
    return text;
}

Test(progress, writes_plain_lines_where_there_is_no_terminal)
{
    cr_assert_null(strchr(in_file(false, true), '\r'));
    cr_assert_null(strchr(text, '\033'));
    cr_assert_not_null(strstr(text, "work: 50 %"));
    cr_assert_not_null(strstr(text, "work: done in 0.0 s, well\n"));
}

Test(progress, is_rare_without_a_terminal)
{
    cr_assert_str_eq(in_file(false, false), "work: done in 0.0 s, well\n");
}

Test(progress, says_nothing_when_quiet)
{
    cr_assert_str_eq(in_file(true, true), "");
}

Test(progress, draws_a_bar_no_wider_than_the_terminal)
{
    struct winsize size = {.ws_row = 24, .ws_col = 60};
    int terminal, other;
    ssize_t n;

    cr_assert_eq(openpty(&terminal, &other, NULL, NULL, &size), 0);
    redirected(other, false, false);
    n = read(terminal, text, sizeof(text) - 1);
    cr_assert_gt(n, 0);
    text[n] = 0;
    cr_assert_not_null(strstr(text, "\rwork [>...................]"));
    for (char *line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n"))
        cr_assert_lt(strlen(line), 60 + strlen("\033[K"), "%s", line);
    close(terminal);
    close(other);
}
