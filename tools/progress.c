/* SPDX-License-Identifier: Apache-2.0 */
/* Draws at most ten times a second on a terminal, every five seconds elsewhere. */
#include "tools/progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/units.h"

static unsigned terminal_width(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return 80;
}

void progress_begin(struct progress *p, const char *what, uint64_t total, bool quiet)
{
    *p = (struct progress){.what = what, .total = total, .start_ns = clock_ns()};
    p->shown = !quiet;
    p->terminal = isatty(STDERR_FILENO) == 1;
    p->next_ns = p->start_ns + (p->terminal ? 0 : 5 * NS_PER_S);
}

static void draw_bar(const struct progress *p, double share, uint64_t now, const char *detail)
{
    unsigned width = terminal_width(), bar = width > 100 ? 30 : 20;
    unsigned filled = (unsigned)(share * bar);
    char line[512];
    int used;
    double left_s = share > 0.001 ? (double)(now - p->start_ns) * (1 / share - 1) / 1e9 : 0;

    used = snprintf(line, sizeof(line), "%s [", p->what);
    for (unsigned i = 0; i < bar; i++)
        used += snprintf(line + used, sizeof(line) - (size_t)used, "%c",
                         i < filled    ? '#'
                         : i == filled ? '>'
                                       : '.');
    snprintf(line + used, sizeof(line) - (size_t)used, "] %3.0f %% %02.0f:%02d left  %s",
             share * 100, (double)(unsigned)(left_s / 60), (int)left_s % 60, detail);
    fprintf(stderr, "\r%.*s\033[K", (int)width - 1, line);
    fflush(stderr);
}

void progress_update(struct progress *p, uint64_t done, const char *detail)
{
    uint64_t now;
    double share;

    if (!p->shown || (now = clock_ns()) < p->next_ns)
        return;
    p->next_ns = now + (p->terminal ? NS_PER_S / 10 : 5 * NS_PER_S);
    share = p->total ? (double)done / (double)p->total : 0;
    if (share > 1)
        share = 1;
    if (p->terminal)
        draw_bar(p, share, now, detail);
    else
        fprintf(stderr, "%s: %.0f %%, %.0f s%s%s\n", p->what, share * 100,
                (double)(now - p->start_ns) / 1e9, detail[0] ? ", " : "", detail);
}

void progress_end(struct progress *p, const char *detail)
{
    if (!p->shown)
        return;
    if (p->terminal)
        fputs("\r\033[K", stderr);
    fprintf(stderr, "%s: done in %.1f s%s%s\n", p->what, (double)(clock_ns() - p->start_ns) / 1e9,
            detail[0] ? ", " : "", detail);
    p->shown = false;
}
