/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: what they are called, which values are allowed, what they are now and who said so.
 * Slow path, main thread. A value is checked when it is set; options_check looks at them together.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/option_list.h"

#define OPTION_TEXT_MAX 256u

enum option_type {
    OPTION_SIZE, /* bytes */
    OPTION_NUMBER,
    OPTION_DURATION, /* milliseconds */
    OPTION_TEXT,     /* min .. max characters */
    OPTION_PATH,
    OPTION_FLAG,
    OPTION_CHOICE, /* number: index into choices */
    OPTION_IPV4,   /* with prefix length, or empty */
    OPTION_IPV6,
    OPTION_CPUS,  /* number: how many */
    OPTION_SIZES, /* of min .. max bytes, rising; number: the last one */
};

enum option_source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_FLAG, SOURCE_LIVE };

enum option_id {
#define OPTION_ENUM(name, ...) OPT_##name,
    OPTION_LIST(OPTION_ENUM)
#undef OPTION_ENUM
        NR_OPTIONS
};

struct option_row {
    const char *name, *init;
    enum option_type type;
    bool live, dataplane;
    uint64_t min, max;
    const char *choices; /* "a|b|c" */
    const char *group, *help;
};
extern const struct option_row option_table[NR_OPTIONS];

struct option_value {
    enum option_source source;
    uint64_t number;
    char text[OPTION_TEXT_MAX]; /* canonical: "1GiB", "5s", "on" */
};

struct options {
    struct option_value values[NR_OPTIONS];
};

/* What is wrong, one line each: all of it, not only the first. Zero it before use. */
struct faults {
    char **lines;
    unsigned count;
};
void faults_add(struct faults *faults, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void faults_free(struct faults *faults);

/* NULL if there is none. Dashes count as underscores. */
const struct option_row *option_find(const char *name);
/* The known name nearest to what was typed, NULL if none is near. */
const char *option_nearest(const char *typed);
/* "1MiB to 256GiB", "one of lru, lfu, fifo". */
void option_allowed(const struct option_row *option, char *text, size_t size);
const char *option_type_name(enum option_type type);
const char *option_source_name(enum option_source source);

/* Checks and takes over a value. where ("kvrail.yaml:7: ", "") starts the fault's line.
 * 0; -ENOENT unknown key; -EINVAL value refused. */
[[nodiscard]] int options_set(struct options *options, const char *where, const char *key,
                              const char *value, enum option_source source, struct faults *faults);
void options_defaults(struct options *options);

/* Sets what a YAML file says. 0, or -EINVAL with faults added. */
[[nodiscard]] int options_read_file(const char *path, struct options *options,
                                    struct faults *faults);

/* What single values cannot show: whether they fit each other and this machine. */
void options_check(const struct options *options, struct faults *faults);

static inline uint64_t options_number(const struct options *options, enum option_id id)
{
    return options->values[id].number;
}

static inline const char *options_text(const struct options *options, enum option_id id)
{
    return options->values[id].text;
}

/* Partitions with 0 resolved. */
unsigned options_partitions(const struct options *options);

/* The value as the dataplane reads it: plain numbers, 0 or 1, text. */
void option_wire(const struct option_row *option, const struct option_value *value, char *text,
                 size_t size);

/* Where the control socket is while control_socket is empty. */
void control_socket_default(char *path, size_t size);
/* The path of another socket beside the control socket: "/run/kvrail.sock" and "local" make
 * "/run/kvrail.local.sock". False if it is longer than SOCKET_PATH_MAX. */
#define SOCKET_PATH_MAX 107u
[[nodiscard]] bool control_socket_beside(const struct options *options, const char *word,
                                         char *path, size_t size);
