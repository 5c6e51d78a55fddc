/* SPDX-License-Identifier: Apache-2.0 */
/* Standard output goes to a file without a name meanwhile. */
#include "tests/unit/tools/run_cli.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/cli.h"

extern const struct cli_command cmd_get, cmd_put, cmd_del, cmd_touch, cmd_match;
extern const struct cli_command cmd_ping, cmd_stat, cmd_bench, cmd_replay, cmd_workload;

static const struct cli_command *const commands[] = {
    &cmd_get,  &cmd_put,  &cmd_del,   &cmd_touch,  &cmd_match,
    &cmd_ping, &cmd_stat, &cmd_bench, &cmd_replay, &cmd_workload,
};

static char *read_back(int fd, size_t *len)
{
    char *text;

    *len = (size_t)lseek(fd, 0, SEEK_END);
    text = malloc(*len + 1);
    cr_assert_eq(pread(fd, text, *len, 0), (ssize_t)*len);
    text[*len] = 0;
    return text;
}

struct cli_output run_cli(const char *word, ...)
{
    char *argv[64] = {strdup("kvrail")};
    struct cli_output output = {0};
    int argc = 1, kept, kept_error, fd = memfd_create("output", 0), null = memfd_create("error", 0);
    va_list words;

    va_start(words, word);
    for (; word && argc < 63; word = va_arg(words, const char *))
        argv[argc++] = strdup(word);
    va_end(words);
    fflush(stdout);
    kept = dup(STDOUT_FILENO);
    kept_error = dup(STDERR_FILENO);
    dup2(fd, STDOUT_FILENO);
    if (!getenv("KVRAIL_TEST_ERRORS"))
        dup2(null, STDERR_FILENO);
    output.code = cli_main(commands, sizeof(commands) / sizeof(commands[0]), argc, argv);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    dup2(kept_error, STDERR_FILENO);
    close(kept);
    close(kept_error);
    close(null);
    output.out = read_back(fd, &output.len);
    close(fd);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return output;
}

void cli_output_free(struct cli_output *output)
{
    free(output->out);
}

json_t *cli_output_json(const struct cli_output *output)
{
    char *copy = strndup(output->out, output->len), *last;
    json_error_t error;
    json_t *object;

    if (output->len > 0 && copy[output->len - 1] == '\n')
        copy[output->len - 1] = 0;
    last = strrchr(copy, '\n');
    object = json_loads(last ? last + 1 : copy, 0, &error);
    cr_assert_not_null(object, "no JSON (%s): %s", error.text, output->out);
    free(copy);
    return object;
}

double json_get_number(const json_t *object, const char *name)
{
    const json_t *number = json_object_get(object, name);

    cr_assert(json_is_number(number), "no number %s", name);
    return json_number_value(number);
}
