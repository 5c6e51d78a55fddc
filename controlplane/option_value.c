/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing, range checks and formatting of values. Every parser takes the whole text or refuses. */
#include "controlplane/option_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPUS_MAX 1024u

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"KiB", KIB},
    {"MiB", MIB},
    {"GiB", GIB},
    {"TiB", GIB << 10},
    {"KB", 1000},
    {"kB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000ull},
    {NULL, 0},
};
static const struct unit duration_units[] = {
    {"", 1}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {NULL, 0},
};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

/* Digits, then one of the units. */
static bool quantity_parse(const char *text, const struct unit *units, uint64_t *out)
{
    char *end;
    unsigned long long n;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno)
        return false;
    if (*end == ' ' && end[1])
        end++;
    for (; units->name; units++)
        if (strcmp(end, units->name) == 0)
            return !__builtin_mul_overflow((uint64_t)n, units->factor, out);
    return false;
}

void size_format(uint64_t bytes, char *text, size_t size)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;

    while (bytes && bytes % 1024 == 0 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, size, "%llu%s", (unsigned long long)bytes, units[unit]);
}

void duration_format(uint64_t ms, char *text, size_t size)
{
    if (ms % 1000 == 0 && ms)
        snprintf(text, size, "%llus", (unsigned long long)ms / 1000);
    else
        snprintf(text, size, "%llums", (unsigned long long)ms);
}

static void number_format(enum option_type type, uint64_t number, char *text, size_t size)
{
    if (type == OPTION_SIZE)
        size_format(number, text, size);
    else if (type == OPTION_DURATION)
        duration_format(number, text, size);
    else
        snprintf(text, size, "%llu", (unsigned long long)number);
}

static int parse_quantity(const struct option_row *option, const char *given,
                          struct option_value *value, char *why, size_t size)
{
    const struct unit *units = option->type == OPTION_SIZE       ? size_units
                               : option->type == OPTION_DURATION ? duration_units
                                                                 : no_units;
    static const char *const examples[] = {[OPTION_SIZE] = "is not a size such as 4GiB or 512MB",
                                           [OPTION_NUMBER] = "is not a whole number",
                                           [OPTION_DURATION] =
                                               "is not a duration such as 500ms or 5s"};

    if (!quantity_parse(given, units, &value->number)) {
        snprintf(why, size, "%s", examples[option->type]);
        return -EINVAL;
    }
    if (value->number < option->min || value->number > option->max) {
        snprintf(why, size, "is %s", value->number < option->min ? "too small" : "too large");
        return -EINVAL;
    }
    number_format(option->type, value->number, value->text, sizeof(value->text));
    return 0;
}

static int parse_text(const struct option_row *option, const char *given,
                      struct option_value *value, char *why, size_t size)
{
    size_t len = strlen(given);

    for (size_t i = 0; i < len; i++)
        if (iscntrl((unsigned char)given[i])) {
            snprintf(why, size, "holds a control character");
            return -EINVAL;
        }
    if (len < option->min || len > option->max) {
        snprintf(why, size, len < option->min ? "is empty" : "is too long");
        return -EINVAL;
    }
    memcpy(value->text, given, len + 1);
    return 0;
}

static int parse_flag(const char *given, struct option_value *value, char *why, size_t size)
{
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};

    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasecmp(given, words[i]) == 0) {
            value->number = i & 1;
            strcpy(value->text, words[i & 1]);
            return 0;
        }
    snprintf(why, size, "is neither on nor off");
    return -EINVAL;
}

static int parse_choice(const struct option_row *option, const char *given,
                        struct option_value *value, char *why, size_t size)
{
    const char *at = option->choices;
    size_t len = strlen(given);

    for (value->number = 0; at; value->number++) {
        size_t word = strcspn(at, "|");

        if (word == len && memcmp(at, given, len) == 0) {
            memcpy(value->text, given, len + 1);
            return 0;
        }
        at = at[word] ? at + word + 1 : NULL;
    }
    snprintf(why, size, "is not known");
    return -EINVAL;
}

static bool address_usable(int family, const uint8_t *ip)
{
    static const uint8_t zero[16];

    if (family == AF_INET)
        return ip[0] != 0 && ip[0] != 127 && ip[0] < 224;
    return memcmp(ip, zero, 15) != 0 && ip[0] != 0xff;
}

static int parse_address(const struct option_row *option, const char *given,
                         struct option_value *value, char *why, size_t size)
{
    int family = option->type == OPTION_IPV4 ? AF_INET : AF_INET6;
    char host[64], canonical[INET6_ADDRSTRLEN];
    const char *slash = strchr(given, '/');
    uint8_t ip[16];
    uint64_t prefix;

    value->text[0] = '\0';
    if (given[0] == '\0')
        return 0;
    if (!slash || (size_t)(slash - given) >= sizeof(host)) {
        snprintf(why, size, "has no prefix length");
        return -EINVAL;
    }
    memcpy(host, given, (size_t)(slash - given));
    host[slash - given] = '\0';
    if (inet_pton(family, host, ip) != 1) {
        snprintf(why, size, "is not an %s address", family == AF_INET ? "IPv4" : "IPv6");
        return -EINVAL;
    }
    if (!quantity_parse(slash + 1, no_units, &prefix) || prefix < 1 ||
        prefix > (family == AF_INET ? 32 : 128)) {
        snprintf(why, size, "has a wrong prefix length");
        return -EINVAL;
    }
    if (!address_usable(family, ip)) {
        snprintf(why, size, "is no address that a host can have");
        return -EINVAL;
    }
    inet_ntop(family, ip, canonical, sizeof(canonical));
    value->number = prefix;
    snprintf(value->text, sizeof(value->text), "%s/%u", canonical, (unsigned)prefix);
    return 0;
}

int cpus_parse(const char *text, unsigned max, bool *set)
{
    bool own[CPUS_MAX] = {false};
    unsigned long first, last;
    int count = 0;
    char *end;

    if (!set)
        set = own;
    if (max > CPUS_MAX)
        max = CPUS_MAX;
    while (*text) {
        if (!isdigit((unsigned char)*text))
            return -EINVAL;
        first = last = strtoul(text, &end, 10);
        if (*end == '-') {
            if (!isdigit((unsigned char)end[1]))
                return -EINVAL;
            last = strtoul(end + 1, &end, 10);
        }
        if (first > last || last >= max || (*end && *end != ','))
            return -EINVAL;
        for (unsigned long cpu = first; cpu <= last; cpu++) {
            if (set[cpu])
                return -EINVAL;
            set[cpu] = true;
            count++;
        }
        text = *end ? end + 1 : end;
        if (*end && !*text)
            return -EINVAL;
    }
    return count;
}

static int parse_cpus(const char *given, struct option_value *value, char *why, size_t size)
{
    int count = strlen(given) < sizeof(value->text) ? cpus_parse(given, CPUS_MAX, NULL) : -EINVAL;

    if (count < 0) {
        snprintf(why, size, "is not a list of different CPUs such as 1-2,5");
        return -EINVAL;
    }
    value->number = (uint64_t)count;
    strcpy(value->text, given);
    return 0;
}

/* Each size of a list; 0: there is none any more, or text is no such list. */
static uint64_t size_next(const char **text)
{
    char word[32];
    size_t len = strcspn(*text, ",");
    uint64_t bytes = 0;

    if (len == 0 || len >= sizeof(word))
        return 0;
    memcpy(word, *text, len);
    word[len] = '\0';
    if (!quantity_parse(word, size_units, &bytes))
        return 0;
    *text += len;
    if (**text == ',' && (*text)[1])
        ++*text;
    return bytes;
}

unsigned size_list_parse(const char *text, uint64_t sizes[SIZES_MAX])
{
    unsigned nr = 0;

    for (; *text; nr++) {
        if (nr == SIZES_MAX)
            return 0;
        sizes[nr] = size_next(&text);
        if (sizes[nr] == 0 || (nr > 0 && sizes[nr] <= sizes[nr - 1]))
            return 0;
    }
    return nr;
}

/* formatted: 1KiB, else 1024. */
static void sizes_text(const uint64_t *sizes, unsigned nr, bool formatted, char *text, size_t size)
{
    size_t used = 0;
    char word[32];

    text[0] = '\0';
    for (unsigned i = 0; i < nr && used < size; i++) {
        snprintf(word, sizeof(word), "%llu", (unsigned long long)sizes[i]);
        if (formatted)
            size_format(sizes[i], word, sizeof(word));
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "," : "", word);
    }
}

static int parse_sizes(const struct option_row *option, const char *given,
                       struct option_value *value, char *why, size_t size)
{
    uint64_t sizes[SIZES_MAX];
    unsigned nr = size_list_parse(given, sizes);

    if (nr == 0) {
        snprintf(why, size, "is not a list of at most %u sizes, the smallest first, such as %s",
                 SIZES_MAX, "256KiB,2MiB");
        return -EINVAL;
    }
    for (unsigned i = 0; i < nr; i++)
        if (sizes[i] < option->min || sizes[i] > option->max || sizes[i] % option->min != 0) {
            snprintf(why, size, "holds a size that is %s",
                     sizes[i] < option->min   ? "too small"
                     : sizes[i] > option->max ? "too large"
                                              : "no multiple of 256");
            return -EINVAL;
        }
    value->number = sizes[nr - 1];
    sizes_text(sizes, nr, true, value->text, sizeof(value->text));
    return 0;
}

int option_parse(const struct option_row *option, const char *given, struct option_value *value,
                 char *why, size_t why_size)
{
    value->number = 0;
    switch (option->type) {
    case OPTION_SIZE:
    case OPTION_NUMBER:
    case OPTION_DURATION:
        return parse_quantity(option, given, value, why, why_size);
    case OPTION_TEXT:
    case OPTION_PATH:
        return parse_text(option, given, value, why, why_size);
    case OPTION_FLAG:
        return parse_flag(given, value, why, why_size);
    case OPTION_CHOICE:
        return parse_choice(option, given, value, why, why_size);
    case OPTION_IPV4:
    case OPTION_IPV6:
        return parse_address(option, given, value, why, why_size);
    case OPTION_CPUS:
        return parse_cpus(given, value, why, why_size);
    case OPTION_SIZES:
        return parse_sizes(option, given, value, why, why_size);
    }
    abort();
}

static void choices_list(const char *choices, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "one of ");

    for (; *choices && used + 3 < size; choices++) {
        if (*choices == '|') {
            text[used++] = ',';
            text[used++] = ' ';
        } else {
            text[used++] = *choices;
        }
    }
    text[used] = '\0';
}

void option_allowed(const struct option_row *option, char *text, size_t size)
{
    char min[32], max[32];

    switch (option->type) {
    case OPTION_SIZE:
    case OPTION_NUMBER:
    case OPTION_DURATION:
        number_format(option->type, option->min, min, sizeof(min));
        number_format(option->type, option->max, max, sizeof(max));
        snprintf(text, size, "%s to %s", min, max);
        return;
    case OPTION_TEXT:
    case OPTION_PATH:
        snprintf(text, size, "%s %llu characters", option->min ? "1 to" : "up to",
                 (unsigned long long)option->max);
        return;
    case OPTION_FLAG:
        snprintf(text, size, "on or off");
        return;
    case OPTION_CHOICE:
        choices_list(option->choices, text, size);
        return;
    case OPTION_IPV4:
        snprintf(text, size, "an address with prefix length such as 10.0.0.1/24, or empty");
        return;
    case OPTION_IPV6:
        snprintf(text, size, "an address with prefix length such as fd00::1/64, or empty");
        return;
    case OPTION_CPUS:
        snprintf(text, size, "CPU numbers and ranges below %u, or empty", CPUS_MAX);
        return;
    case OPTION_SIZES:
        number_format(OPTION_SIZE, option->min, min, sizeof(min));
        number_format(OPTION_SIZE, option->max, max, sizeof(max));
        snprintf(text, size, "1 to %u rising sizes of %s to %s", SIZES_MAX, min, max);
        return;
    }
}

void option_wire(const struct option_row *option, const struct option_value *value, char *text,
                 size_t size)
{
    uint64_t sizes[SIZES_MAX];

    switch (option->type) {
    case OPTION_SIZES:
        sizes_text(sizes, size_list_parse(value->text, sizes), false, text, size);
        return;
    case OPTION_SIZE:
    case OPTION_NUMBER:
    case OPTION_DURATION:
    case OPTION_FLAG:
        snprintf(text, size, "%llu", (unsigned long long)value->number);
        return;
    default:
        snprintf(text, size, "%s", value->text);
    }
}
