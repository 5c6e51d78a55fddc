/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing keeps to integers, so that no byte is lost to rounding. */
#include "tools/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* A decimal number: whole + part / scale. */
struct decimal {
    uint64_t whole, part, scale;
};

static int parse_decimal(const char **text, struct decimal *d)
{
    const char *p = *text;

    *d = (struct decimal){.scale = 1};
    if (*p < '0' || *p > '9')
        return -EINVAL;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(d->whole, 10u, &d->whole) ||
            __builtin_add_overflow(d->whole, (uint64_t)(*p - '0'), &d->whole))
            return -ERANGE;
    if (*p == '.') {
        p++;
        if (*p < '0' || *p > '9')
            return -EINVAL;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (d->scale >= 1000000000000ull)
                continue; /* finer than any unit here can tell */
            d->part = d->part * 10 + (uint64_t)(*p - '0');
            d->scale *= 10;
        }
    }
    *text = p;
    return 0;
}

static int scale_decimal(const struct decimal *d, uint64_t factor, uint64_t *value)
{
    unsigned __int128 v =
        (unsigned __int128)d->whole * factor + (unsigned __int128)d->part * factor / d->scale;

    if (v > UINT64_MAX)
        return -ERANGE;
    *value = (uint64_t)v;
    return 0;
}

/* A number and one of the units; the one without a name is that of a bare number. */
static int parse_unit(const char *text, const struct unit *units, unsigned nr_units,
                      uint64_t *value)
{
    struct decimal d;
    int rc = parse_decimal(&text, &d);

    if (rc)
        return rc;
    for (unsigned i = 0; i < nr_units; i++)
        if (units[i].factor && strcasecmp(text, units[i].name) == 0)
            return d.part && units[i].factor == 1 ? -EINVAL
                                                  : scale_decimal(&d, units[i].factor, value);
    return -EINVAL;
}

#define NR(array) (sizeof(array) / sizeof((array)[0]))

int units_parse_bytes(const char *text, uint64_t *bytes)
{
    static const struct unit units[] = {
        {"", 1},
        {"b", 1},
        {"k", 1ull << 10},
        {"kib", 1ull << 10},
        {"kb", 1000},
        {"m", 1ull << 20},
        {"mib", 1ull << 20},
        {"mb", 1000000},
        {"g", 1ull << 30},
        {"gib", 1ull << 30},
        {"gb", 1000000000},
        {"t", 1ull << 40},
        {"tib", 1ull << 40},
        {"tb", 1000000000000ull},
    };

    return parse_unit(text, units, NR(units), bytes);
}

int units_parse_count(const char *text, uint64_t *count)
{
    static const struct unit units[] = {{"", 1}, {"k", 1000}, {"m", 1000000}, {"g", 1000000000}};

    return parse_unit(text, units, NR(units), count);
}

int units_parse_duration(const char *text, uint64_t bare_ns, uint64_t *ns)
{
    const struct unit units[] = {
        {"", bare_ns},
        {"ns", 1},
        {"us", 1000},
        {"ms", 1000000},
        {"s", 1000000000},
        {"m", 60 * 1000000000ull},
        {"min", 60 * 1000000000ull},
        {"h", 3600 * 1000000000ull},
        {"d", 86400 * 1000000000ull},
    };

    return parse_unit(text, units, NR(units), ns);
}

/* Three significant digits and one of the units, each `step` times the one before. */
static struct units_text scaled(double v, double step, const char *const names[], unsigned nr)
{
    struct units_text t;
    unsigned i = 0;

    while (i + 1 < nr && v >= step * 0.9995) {
        v /= step;
        i++;
    }
    snprintf(t.s, sizeof(t.s), "%.*f%s%s",
             i == 0 || v >= 99.95 ? 0
             : v >= 9.995         ? 1
                                  : 2,
             v, names[i][0] ? " " : "", names[i]);
    return t;
}

struct units_text units_bytes(uint64_t bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    struct units_text t;
    unsigned i = 0;

    while (i + 1 < NR(names) && bytes >= 1024 && bytes % 1024 == 0) {
        bytes /= 1024;
        i++;
    }
    if (i == 0 || bytes >= 1024)
        return scaled((double)bytes, 1024, names + i, (unsigned)(NR(names) - i));
    snprintf(t.s, sizeof(t.s), "%llu %s", (unsigned long long)bytes, names[i]);
    return t;
}

struct units_text units_count(double n)
{
    static const char *const names[] = {"", "k", "M", "G", "T"};

    return scaled(n, 1000, names, NR(names));
}

struct units_text units_rate(double per_s)
{
    static const char *const names[] = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s"};

    return scaled(per_s, 1000, names, NR(names));
}

struct units_text units_duration(uint64_t ns)
{
    static const char *const names[] = {"ns", "us", "ms", "s"};

    return scaled((double)ns, 1000, names, NR(names));
}
