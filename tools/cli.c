/* SPDX-License-Identifier: Apache-2.0 */
/* Option parsing and help from one table, the common options, errors and exit codes. One thread. */
#include "tools/cli.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/units.h"

enum { OPT_CONTROL = 1000, OPT_PRIORITY, OPT_VERSION, OPT_WORDS };

static const struct cli_option common_options[] = {
    {'s', "server", "URL",
     "server to talk to: udp://HOST[:PORT] or shm://PATH (also KVRAIL_SERVER)"},
    {'t', "timeout", "MS",
     "deadline of each operation: milliseconds, or with a unit: 2s; default 1s"},
    {OPT_CONTROL, "control", "PATH", "kvraild's control socket (also KVRAIL_CONTROL)"},
    {OPT_PRIORITY, "priority", "CLASS", "critical, high, normal, low or background"},
    {'j', "json", NULL, "print JSON, one object a line"},
    {'q', "quiet", NULL, "no progress, only results and errors"},
    {'h', "help", NULL, "show this help"},
    {0}};

static const char *const priority_names[KVR_PRIORITIES] = {"critical", "high", "normal", "low",
                                                           "background"};

/* ---- errors -------------------------------------------------------------------------------- */

/* What a person types to run the command. */
static const char *typed(const struct cli_command *command, char *text, size_t size)
{
    if (command && command->run)
        snprintf(text, size, "%s%s", command->alone ? "" : "kvrail ", command->name);
    else
        snprintf(text, size, "kvrail");
    return text;
}

static void show_name(const struct cli *cli)
{
    char name[64];

    fflush(stdout);
    fprintf(stderr, "%s: ", typed(cli->command, name, sizeof(name)));
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list args;
    char name[64];

    show_name(cli);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nTry '%s --help'.\n", typed(cli->command, name, sizeof(name)));
    return CLI_USAGE;
}

static void show_error(const struct cli *cli, const char *status, const char *text)
{
    show_name(cli);
    fprintf(stderr, "%s\n", text);
    if (!cli->json)
        return;
    json_t *object = json_pack("{s:o}", "error", cli_json_text(text));
    if (status)
        json_object_set_new(object, "status", json_string(status));
    cli_print_json(object);
}

int cli_error(const struct cli *cli, enum cli_exit code, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    show_error(cli, NULL, text);
    return (int)code;
}

int cli_fail(const struct cli *cli, enum kvr_status status, const char *format, ...)
{
    char text[1024];
    va_list args;
    int used;

    va_start(args, format);
    used = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(text))
        snprintf(text + used, sizeof(text) - (size_t)used, ": %s", kvr_status_text(status));
    show_error(cli, kvr_status_name(status), text);
    return cli_exit_code(status);
}

int cli_exit_code(enum kvr_status status)
{
    switch (status) {
    case KVR_OK:
        return CLI_OK;
    case KVR_TIMEOUT:
    case KVR_UNREACHABLE:
        return CLI_UNREACHABLE;
    case KVR_INVALID:
        return CLI_USAGE;
    default:
        return CLI_ERROR;
    }
}

json_t *cli_json_text(const char *text)
{
    json_t *string = json_string(text);
    char *copy = string ? NULL : strdup(text);

    for (char *c = copy; c && *c; c++)
        if (*c & 0x80)
            *c = '?';
    if (copy)
        string = json_string(copy);
    free(copy);
    return string;
}

void cli_print_json(json_t *value)
{
    if (json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12)) == 0)
        putchar('\n');
    fflush(stdout);
    json_decref(value);
}

/* ---- options ------------------------------------------------------------------------------- */

static void show_option(const struct cli_option *o)
{
    char left[64];

    if (o->id < CLI_LONG)
        snprintf(left, sizeof(left), "-%c, --%s%s%s", o->id, o->name, o->arg ? " " : "",
                 o->arg ? o->arg : "");
    else
        snprintf(left, sizeof(left), "    --%s%s%s", o->name, o->arg ? " " : "",
                 o->arg ? o->arg : "");
    printf("  %-24s%s%s\n", left, strlen(left) >= 24 ? "\n                          " : "",
           o->help);
}

static bool has_option(const struct cli_option *options, const char *name)
{
    for (; options && options->name; options++)
        if (strcmp(options->name, name) == 0)
            return true;
    return false;
}

/* but: not those that these have as well. May be NULL. title NULL: they go on with those
 * shown before. */
static void show_options(const char *title, const struct cli_option *options,
                         const struct cli_option *but)
{
    if (!options || !options->name)
        return;
    if (title)
        printf("\n%s:\n", title);
    for (; options->name; options++)
        if (options->help && !has_option(but, options->name))
            show_option(options);
}

static void show_help(const struct cli_command *command)
{
    char name[64];

    printf("Usage: %s [OPTION]...%s%s\n%s\n", typed(command, name, sizeof(name)),
           command->arguments[0] ? " " : "", command->arguments, command->summary);
    show_options("Options", command->options, NULL);
    show_options(NULL, command->shared, command->options);
    show_options("Common options", common_options, command->options);
    if (command->details)
        printf("\n%s", command->details);
    fputs("\nExit status: 0 ok, 1 error, 2 usage, 3 degraded, 4 unreachable.\n", stdout);
}

#define SHORTS_MAX (2 * CLI_OPTIONS_MAX + 4)

static void add_options(const struct cli_option *from, struct option *longs, unsigned *nr_longs,
                        char *shorts)
{
    for (; from && from->name && *nr_longs < CLI_OPTIONS_MAX; from++) {
        longs[(*nr_longs)++] = (struct option){
            from->name, from->arg ? required_argument : no_argument, NULL, from->id};
        if (from->id < CLI_LONG) {
            size_t used = strlen(shorts);

            snprintf(shorts + used, SHORTS_MAX - used, "%c%s", from->id, from->arg ? ":" : "");
        }
    }
}

static bool set_priority(struct cli *cli, const char *name)
{
    for (unsigned i = 0; i < KVR_PRIORITIES; i++)
        if (strcmp(name, priority_names[i]) == 0) {
            cli->priority = (uint8_t)i;
            return true;
        }
    cli_usage(cli, "--priority %s: not one of critical, high, normal, low, background", name);
    return false;
}

static bool set_timeout(struct cli *cli, const char *text)
{
    uint64_t ns;

    if (!cli_duration(cli, "timeout", text, NS_PER_MS, NS_PER_MS, 3600 * NS_PER_S, &ns))
        return false;
    cli->timeout_ms = (uint32_t)(ns / NS_PER_MS);
    return true;
}

/* True if it was a common option and is done with; exit_code is then set if it ends the program. */
static bool common_option(struct cli *cli, int id, bool *stop)
{
    *stop = false;
    switch (id) {
    case 's':
        cli->server = optarg;
        return true;
    case OPT_CONTROL:
        cli->control = optarg;
        return true;
    case 'j':
        cli->json = true;
        return true;
    case 'q':
        cli->quiet = true;
        return true;
    case 't':
        *stop = !set_timeout(cli, optarg);
        cli->exit_code = CLI_USAGE;
        return true;
    case OPT_PRIORITY:
        *stop = !set_priority(cli, optarg);
        cli->exit_code = CLI_USAGE;
        return true;
    default:
        return false;
    }
}

int cli_getopt(struct cli *cli, int argc, char **argv)
{
    struct option longs[CLI_OPTIONS_MAX + 1] = {0};
    char shorts[SHORTS_MAX];
    unsigned nr_longs = 0;
    bool stop;

    /* Options may follow arguments everywhere but in front of the subcommand's name. */
    snprintf(shorts, sizeof(shorts), "%s", cli->command->run ? ":" : "+:");
    add_options(cli->command->options, longs, &nr_longs, shorts);
    add_options(cli->command->shared, longs, &nr_longs, shorts);
    add_options(common_options, longs, &nr_longs, shorts);
    for (;;) {
        const char *word = argv[optind ? optind : 1];
        int id = getopt_long(argc, argv, shorts, longs, NULL);

        if (id < 0)
            return CLI_END;
        if (id == ':' || id == '?') {
            cli_usage(cli, id == ':' ? "option %s needs an argument" : "unknown option %s",
                      id == ':' && argv[optind - 1] ? argv[optind - 1]
                      : word                        ? word
                                                    : "");
            cli->exit_code = CLI_USAGE;
            return CLI_STOP;
        }
        if (id == 'h' && cli->command->run) {
            show_help(cli->command);
            cli->exit_code = CLI_OK;
            return CLI_STOP;
        }
        if (!common_option(cli, id, &stop))
            return id;
        if (stop)
            return CLI_STOP;
    }
}

int cli_no_options(struct cli *cli, int argc, char **argv)
{
    int id;

    while ((id = cli_getopt(cli, argc, argv)) > 0)
        continue;
    return id == CLI_STOP ? cli->exit_code : -1;
}

bool cli_verb(int argc, char **argv, const char *verb, int nr_more)
{
    return argc == optind + 1 + nr_more && strcmp(argv[optind], verb) == 0;
}

static bool in_range(const struct cli *cli, const char *option, const char *text, int rc,
                     uint64_t value, uint64_t min, uint64_t max, struct units_text low,
                     struct units_text high)
{
    if (rc == 0 && value >= min && value <= max)
        return true;
    if (rc && rc != -ERANGE)
        cli_usage(cli, "--%s %s: not understood (allowed: %s to %s)", option, text, low.s, high.s);
    else
        cli_usage(cli, "--%s %s: outside %s to %s", option, text, low.s, high.s);
    return false;
}

bool cli_number(const struct cli *cli, const char *option, const char *text, uint64_t min,
                uint64_t max, uint64_t *value)
{
    int rc = units_parse_count(text, value);

    return in_range(cli, option, text, rc, *value, min, max, units_count((double)min),
                    units_count((double)max));
}

bool cli_bytes(const struct cli *cli, const char *option, const char *text, uint64_t min,
               uint64_t max, uint64_t *value)
{
    int rc = units_parse_bytes(text, value);

    return in_range(cli, option, text, rc, *value, min, max, units_bytes(min), units_bytes(max));
}

bool cli_duration(const struct cli *cli, const char *option, const char *text, uint64_t bare_ns,
                  uint64_t min_ns, uint64_t max_ns, uint64_t *ns)
{
    int rc = units_parse_duration(text, bare_ns, ns);

    return in_range(cli, option, text, rc, *ns, min_ns, max_ns, units_duration(min_ns),
                    units_duration(max_ns));
}

bool cli_reference(const struct cli *cli, const char *option, const char *text, uint64_t *ref)
{
    char *end;

    errno = 0;
    *ref = strtoull(text, &end, 0);
    if (errno == 0 && *end == 0 && text[0] >= '0' && text[0] <= '9' && *ref != 0)
        return true;
    cli_usage(cli, "--%s %s: not a reference", option, text);
    return false;
}

/* ---- interrupt ----------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

void cli_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

void cli_sleep_until(uint64_t ns)
{
    struct timespec at = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};

    while (!interrupted && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* ---- program ------------------------------------------------------------------------------- */

static const struct cli_option program_options[] = {
    {OPT_VERSION, "version", NULL, "show the version"},
    {OPT_WORDS, "words", "COMMAND", NULL}, /* for shell completion; '' = the commands */
    {0}};
static const struct cli_command program = {.name = "kvrail", .options = program_options};

static void show_commands(const struct cli_command *const commands[], unsigned nr)
{
    fputs("Usage: kvrail COMMAND [OPTION]... [ARGUMENT]...\n"
          "Look into a kvrail cache, talk to it and measure it.\n\nCommands:\n",
          stdout);
    for (unsigned i = 0; i < nr; i++)
        if (commands[i])
            printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    show_options("Options", program_options, NULL);
    show_options("Common options", common_options, NULL);
    fputs("\n'kvrail COMMAND --help' tells more about each.\n"
          "Exit status: 0 ok, 1 error, 2 usage, 3 degraded, 4 unreachable.\n",
          stdout);
}

static const struct cli_command *find_command(const struct cli_command *const commands[],
                                              unsigned nr, const char *name)
{
    for (unsigned i = 0; i < nr; i++)
        if (commands[i] && strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static void show_option_words(const struct cli_option *options)
{
    for (; options && options->name; options++)
        printf("--%s%s\n", options->name, options->arg ? "=" : "");
}

static void show_words(const struct cli_command *const commands[], unsigned nr, const char *name)
{
    const struct cli_command *command = find_command(commands, nr, name);

    for (unsigned i = 0; i < nr && !command; i++)
        if (commands[i])
            puts(commands[i]->name);
    show_option_words(command ? command->options : NULL);
    show_option_words(command ? command->shared : NULL);
    show_option_words(common_options);
}

static int run_command(struct cli *cli, const struct cli_command *const commands[], unsigned nr,
                       int argc, char **argv)
{
    const struct cli_command *command;

    /* `kvrail help get` is `kvrail get --help`. */
    if (argc >= 1 && strcmp(argv[0], "help") == 0) {
        command = argc > 1 ? find_command(commands, nr, argv[1]) : NULL;
        if (argc > 1 && !command)
            return cli_usage(cli, "no command '%s'", argv[1]);
        if (command)
            show_help(command);
        else
            show_commands(commands, nr);
        return CLI_OK;
    }
    if (argc < 1)
        return cli_usage(cli, "which command?");
    command = find_command(commands, nr, argv[0]);
    if (!command)
        return cli_usage(cli, "no command '%s'", argv[0]);
    cli->command = command;
    optind = 0; /* a fresh start for getopt_long */
    return command->run(cli, argc, argv);
}

/* Whatever was printed must have arrived. */
static int end_output(const struct cli *cli, int code)
{
    if (fflush(stdout) || ferror(stdout))
        return code ? code : cli_error(cli, CLI_ERROR, "standard output: cannot write");
    return code;
}

int cli_alone(const struct cli_command *command, int argc, char **argv)
{
    struct cli cli = {.command = command, .priority = KVR_NORMAL};

    optind = 0;
    return end_output(&cli, command->run(&cli, argc, argv));
}

int cli_main(const struct cli_command *const commands[], unsigned nr_commands, int argc,
             char **argv)
{
    struct cli cli = {.command = &program, .priority = KVR_NORMAL};
    int id, code;

    optind = 0;
    while ((id = cli_getopt(&cli, argc, argv)) > 0) {
        if (id == OPT_VERSION)
            printf("kvrail %s\n", kvr_version());
        else if (id == OPT_WORDS)
            show_words(commands, nr_commands, optarg);
        else
            show_commands(commands, nr_commands);
        return CLI_OK;
    }
    if (id == CLI_STOP)
        return cli.exit_code;
    code = run_command(&cli, commands, nr_commands, argc - optind, argv + optind);
    return end_output(&cli, code);
}
