/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail workload`: writes a made-up trace of conversations for `kvrail replay`. One thread. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/units.h"
#include "tools/workload.h"

static const struct cli_option options[] = {
    {'o', "output", "FILE", "write the trace to FILE instead of standard output"}, {0}};

static int show_summary(const struct cli *cli, const struct trace *trace)
{
    uint64_t distinct = trace_distinct(trace);

    if (cli->json)
        cli_print_json(json_pack("{s:I,s:I,s:I}", "requests", (json_int_t)trace->nr, "blocks",
                                 (json_int_t)trace->nr_blocks, "distinct", (json_int_t)distinct));
    else if (!cli->quiet)
        fprintf(stderr, "%zu requests, %llu blocks, %llu of them distinct\n", trace->nr,
                (unsigned long long)trace->nr_blocks, (unsigned long long)distinct);
    return CLI_OK;
}

static int store(const struct cli *cli, const struct trace *trace, const char *path)
{
    FILE *out = path ? fopen(path, "we") : stdout;
    int rc;

    if (!out)
        return cli_error(cli, CLI_ERROR, "%s: %s", path, strerror(errno));
    rc = trace_write(out, trace);
    if (path && fclose(out))
        rc = -errno;
    if (rc)
        return cli_error(cli, CLI_ERROR, "%s: %s", path ? path : "standard output", strerror(-rc));
    return path ? show_summary(cli, trace) : CLI_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    const char *path = NULL, *wrong;
    struct workload w;
    struct trace trace;
    int id, code;

    workload_defaults(&w);
    while ((id = cli_getopt(cli, argc, argv)) > 0)
        path = optarg;
    if (id == CLI_STOP)
        return cli->exit_code;
    for (; optind < argc; optind++)
        if (workload_parse(argv[optind], &w, &wrong))
            return cli_usage(cli, "'%s': no such setting, or outside its range", wrong);
    if (workload_make(&w, &trace))
        code = cli_fail(cli, KVR_NO_MEMORY, "workload");
    else
        code = store(cli, &trace, path);
    trace_destroy(&trace);
    return code;
}

const struct cli_command cmd_workload = {
    .name = "workload",
    .arguments = "[SETTING=N]...",
    .summary = "write a made-up trace of conversations for replay",
    .options = options,
    .details = "Settings, with what they are if not given:\n"
               "  conversations=200    how many\n"
               "  turns=6              requests of each; each has all before it as its prefix\n"
               "  prompts=4            shared system prompts, the first the most popular (zipf 1)\n"
               "  prompt-blocks=8      blocks of each\n"
               "  question-blocks=3    blocks that each turn adds, on average\n"
               "  answer-blocks=1      blocks of each answer, part of the next prompt\n"
               "  seconds=60           conversations begin at random within so long\n"
               "  think=20             seconds between turns, on average\n"
               "  block-tokens=512     tokens of a block\n"
               "  seed=1               the same settings make the same trace\n"
               "\nExample:\n"
               "  kvrail workload conversations=1000 turns=8 -o chat.jsonl\n"
               "  kvrail replay chat.jsonl\n",
    .run = run,
};
