/* SPDX-License-Identifier: Apache-2.0 */
/* The option table with its lookup, and the setting of one value. Main thread. */
#include "controlplane/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/option_value.h"

enum { LIVE = 1, DATAPLANE = 2 };

#define OPTION_ROW(name_, type_, init_, min_, max_, choices_, flags_, group_, help_)               \
    [OPT_##name_] = {.name = #name_,                                                               \
                     .init = (init_),                                                              \
                     .type = OPTION_##type_,                                                       \
                     .live = ((flags_)&LIVE) != 0,                                                 \
                     .dataplane = ((flags_)&DATAPLANE) != 0,                                       \
                     .min = (min_),                                                                \
                     .max = (max_),                                                                \
                     .choices = (choices_),                                                        \
                     .group = (group_),                                                            \
                     .help = (help_)},

const struct option_row option_table[NR_OPTIONS] = {OPTION_LIST(OPTION_ROW)};

void faults_add(struct faults *faults, const char *format, ...)
{
    char **lines = realloc(faults->lines, (faults->count + 1) * sizeof(*lines));
    va_list args;
    int len;

    if (!lines)
        return;
    faults->lines = lines;
    va_start(args, format);
    len = vasprintf(&lines[faults->count], format, args);
    va_end(args);
    if (len >= 0)
        faults->count++;
}

void faults_free(struct faults *faults)
{
    for (unsigned i = 0; i < faults->count; i++)
        free(faults->lines[i]);
    free(faults->lines);
    *faults = (struct faults){0};
}

static bool same_name(const char *known, const char *typed)
{
    for (; *known && *typed; known++, typed++)
        if (*known != *typed && !(*known == '_' && *typed == '-'))
            return false;
    return *known == *typed;
}

const struct option_row *option_find(const char *name)
{
    for (unsigned i = 0; i < NR_OPTIONS; i++)
        if (same_name(option_table[i].name, name))
            return &option_table[i];
    return NULL;
}

/* Levenshtein, one row; names longer than the row are far from everything. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[64], previous, above;
    size_t len_a = strlen(a), len_b = strlen(b);

    if (len_a >= 64 || len_b >= 64)
        return 64;
    for (unsigned j = 0; j <= len_b; j++)
        row[j] = j;
    for (unsigned i = 1; i <= len_a; i++) {
        previous = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= len_b; j++) {
            unsigned cost = a[i - 1] == b[j - 1] ? previous : previous + 1;

            above = row[j];
            if (above + 1 < cost)
                cost = above + 1;
            if (row[j - 1] + 1 < cost)
                cost = row[j - 1] + 1;
            previous = above;
            row[j] = cost;
        }
    }
    return row[len_b];
}

const char *option_nearest(const char *typed)
{
    unsigned best = (unsigned)strlen(typed) / 3 + 1, found;
    const char *name = NULL;

    for (unsigned i = 0; i < NR_OPTIONS; i++) {
        found = distance(option_table[i].name, typed);
        if (found <= best && found < strlen(option_table[i].name)) {
            if (!name || found < best)
                name = option_table[i].name;
            best = found;
        }
    }
    return name;
}

const char *option_type_name(enum option_type type)
{
    static const char *const names[] = {
        [OPTION_SIZE] = "size",           [OPTION_NUMBER] = "number",
        [OPTION_DURATION] = "duration",   [OPTION_TEXT] = "text",
        [OPTION_PATH] = "path",           [OPTION_FLAG] = "flag",
        [OPTION_CHOICE] = "choice",       [OPTION_IPV4] = "address",
        [OPTION_IPV6] = "address",        [OPTION_CPUS] = "list of CPUs",
        [OPTION_SIZES] = "list of sizes",
    };
    return names[type];
}

const char *option_source_name(enum option_source source)
{
    static const char *const names[] = {"default", "file", "environment", "flag", "live"};

    return names[source];
}

static void refuse_unknown(const char *where, const char *key, struct faults *faults)
{
    const char *near = option_nearest(key);

    if (near)
        faults_add(faults, "%s%s: unknown key; did you mean %s?", where, key, near);
    else
        faults_add(faults, "%s%s: unknown key; `kvraild --help` lists all", where, key);
}

int options_set(struct options *options, const char *where, const char *key, const char *value,
                enum option_source source, struct faults *faults)
{
    const struct option_row *option = option_find(key);
    struct option_value fresh = {.source = source};
    char why[160], allowed[256];

    if (!option) {
        refuse_unknown(where, key, faults);
        return -ENOENT;
    }
    if (option_parse(option, value, &fresh, why, sizeof(why)) < 0) {
        option_allowed(option, allowed, sizeof(allowed));
        faults_add(faults, "%s%s: '%.80s' %s; allowed: %s", where, option->name, value, why,
                   allowed);
        return -EINVAL;
    }
    options->values[option - option_table] = fresh;
    return 0;
}

void options_defaults(struct options *options)
{
    char why[160];

    for (unsigned i = 0; i < NR_OPTIONS; i++) {
        options->values[i] = (struct option_value){.source = SOURCE_DEFAULT};
        if (option_parse(&option_table[i], option_table[i].init, &options->values[i], why,
                         sizeof(why)) < 0)
            abort(); /* a default outside its own range: test_options would have said so */
    }
}

unsigned options_partitions(const struct options *options)
{
    uint64_t partitions = options_number(options, OPT_partitions);

    return (unsigned)(partitions ? partitions : options_number(options, OPT_workers));
}

void control_socket_default(char *path, size_t size)
{
    const char *dir = getenv("XDG_RUNTIME_DIR");

    /* Root of a user namespace has no say in /run. */
    if (geteuid() == 0 && access("/run", W_OK) == 0)
        snprintf(path, size, "/run/kvrail.sock");
    else if (dir && *dir)
        snprintf(path, size, "%s/kvrail.sock", dir);
    else
        snprintf(path, size, "/tmp/kvrail-%u.sock", (unsigned)geteuid());
}

bool control_socket_beside(const struct options *options, const char *word, char *path, size_t size)
{
    static const char end[] = ".sock";
    char own[OPTION_TEXT_MAX];
    size_t len;
    bool ends;

    if (*options_text(options, OPT_control_socket))
        snprintf(own, sizeof(own), "%s", options_text(options, OPT_control_socket));
    else
        control_socket_default(own, sizeof(own));
    len = strlen(own);
    ends = len > sizeof(end) && strcmp(own + len - strlen(end), end) == 0;
    if (ends)
        own[len - strlen(end)] = '\0';
    snprintf(path, size, "%s.%s%s", own, word, ends ? end : "");
    return strlen(own) + 1 + strlen(word) + (ends ? strlen(end) : 0) <= SOCKET_PATH_MAX;
}
