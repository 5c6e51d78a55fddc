/* SPDX-License-Identifier: Apache-2.0 */
/* What every subcommand of `kvrail` shares: the option tables behind parsing, --help and shell
 * completion; the common options; the way to the server; errors and exit codes. One thread. */
#pragma once

#include <getopt.h> /* optarg, optind */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include <kvrail/client.h>

enum cli_exit { CLI_OK = 0, CLI_ERROR = 1, CLI_USAGE = 2, CLI_DEGRADED = 3, CLI_UNREACHABLE = 4 };

/* id: the option's letter, or from CLI_LONG on where it has none. -h -j -q -s -t are taken; who
 * means something else by one of these shows it in a row of its own, with the same letter. */
struct cli_option {
    int id;
    const char *name;
    const char *arg;  /* NULL: the option takes no argument */
    const char *help; /* NULL: not shown */
};
#define CLI_LONG 256
#define CLI_OPTIONS_MAX 48u

struct cli;

/* A row of the table in main.c; cmd_NAME.c exports one as `const struct cli_command cmd_NAME`. */
struct cli_command {
    const char *name;
    const char *arguments;            /* as in the usage line: "KEY [FILE]" */
    const char *summary;              /* a line of `kvrail --help` */
    const char *details;              /* NULL, or the end of the command's own --help */
    const struct cli_option *options; /* NULL, or ends with a row whose name is NULL */
    const struct cli_option *shared;  /* the same, of rows that other commands have as well */
    bool alone;                       /* a program of its own, name is the program's */
    /* argv[0] is the command's name. Returns an exit code. */
    int (*run)(struct cli *cli, int argc, char **argv);
};

struct cli {
    const struct cli_command *command;
    const char *server;  /* NULL: not given */
    const char *control; /* NULL: not given */
    uint32_t timeout_ms; /* 0: not given */
    uint8_t priority;    /* enum kvr_priority */
    bool json, quiet;
    int exit_code; /* with CLI_STOP */
};

/* The next option of the command's own (its id, argument in optarg), CLI_END after the last
 * (positional arguments start at argv[optind]), or CLI_STOP: return cli->exit_code at once. The
 * common options and mistakes are dealt with inside:
 *
 *     while ((id = cli_getopt(cli, argc, argv)) > 0)
 *         switch (id) { .. }
 *     if (id == CLI_STOP)
 *         return cli->exit_code;
 */
#define CLI_END 0
#define CLI_STOP (-1)
int cli_getopt(struct cli *cli, int argc, char **argv);
/* The same for a command without options of its own. -1: go on; else the exit code. */
int cli_no_options(struct cli *cli, int argc, char **argv);
/* Whether the arguments are the verb and nr_more after it, those from argv[optind + 1] on. */
bool cli_verb(int argc, char **argv, const char *verb, int nr_more);

/* "kvrail get: <text>" and where help is to be had. Returns CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "kvrail get: <text>"; with --json {"error": text} on stdout. Returns code. */
int cli_error(const struct cli *cli, enum cli_exit code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for what the client library said: ": <status text>" is added. Returns the exit code that
 * belongs to status. */
int cli_fail(const struct cli *cli, enum kvr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int cli_exit_code(enum kvr_status status);

/* Arguments of options: false after cli_usage was called, so `return CLI_USAGE`. option is the name
 * without dashes. */
bool cli_number(const struct cli *cli, const char *option, const char *text, uint64_t min,
                uint64_t max, uint64_t *value);
bool cli_bytes(const struct cli *cli, const char *option, const char *text, uint64_t min,
               uint64_t max, uint64_t *value);
/* bare_ns: what a number without unit counts; 0 = a unit is needed. */
bool cli_duration(const struct cli *cli, const char *option, const char *text, uint64_t bare_ns,
                  uint64_t min_ns, uint64_t max_ns, uint64_t *ns);
/* A block's reference: decimal, or hexadecimal with 0x. */
bool cli_reference(const struct cli *cli, const char *option, const char *text, uint64_t *ref);

/* The control socket: --control, KVRAIL_CONTROL, else the built-in path. */
const char *cli_control(const struct cli *cli);
/* The server's URL: --server, KVRAIL_SERVER, what kvraild says on its control socket, or the
 * built-in default. Never NULL; url has room for size bytes and owns the answer. */
const char *cli_server(const struct cli *cli, char *url, size_t size);
/* Connects to it with the common options. CLI_OK, or an exit code after the error was shown.
 * options may be NULL; its priority and timeout are overwritten. */
int cli_open(const struct cli *cli, const struct kvr_options *options, struct kvr_client **client);

/* A string of text from outside: what is not UTF-8 becomes '?'. */
json_t *cli_json_text(const char *text);
/* Prints one line of JSON and drops the reference. */
void cli_print_json(json_t *value);

/* From then on ^C sets cli_interrupted instead of killing; a second ^C kills. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);
/* Until then (clock_ns), or ^C. */
void cli_sleep_until(uint64_t ns);

/* The whole program behind main, of a command that is a program of its own. */
int cli_alone(const struct cli_command *command, int argc, char **argv);
/* The same for a table of subcommands: looks up the command and runs it. commands may hold NULLs.
 */
int cli_main(const struct cli_command *const commands[], unsigned nr_commands, int argc,
             char **argv);
