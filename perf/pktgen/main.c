/* SPDX-License-Identifier: Apache-2.0 */
/* kvrail-pcap: makes capture files of requests that a running server takes for real, and sends
 * them. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "perf/pktgen/commands.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"make", "asks the server for cookies, writes a capture file of requests", command_make},
    {"send", "sends the frames of a capture file to an interface", command_send},
};
#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
    fprintf(out, "usage: kvrail-pcap COMMAND [OPTION...]\n");
    for (unsigned i = 0; i < NR_COMMANDS; i++)
        fprintf(out, "  %-6s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "kvrail-pcap COMMAND --help tells more\n");
}

int main(int argc, char **argv)
{
    log_setup("kvrail-pcap", LOG_LEVEL_WARNING);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return 0;
    }
    for (unsigned i = 0; argc > 1 && i < NR_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    usage(stderr);
    return 2;
}
