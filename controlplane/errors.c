/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to "errors": the drop counters, and the last errors of all cores, newest first. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/kvraild.h"

struct found {
    struct error_entry entry;
    unsigned core;
};

/* A copy that the writer did not touch meanwhile; false after a few tries. Pairs with the fences of
 * stats_note_error. */
static bool entry_read(const struct error_entry *entry, struct error_entry *copy)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        uint32_t before = __atomic_load_n(&entry->seq, __ATOMIC_ACQUIRE);

        if (before == 0)
            return false;
        memcpy(copy, entry, sizeof(*copy));
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(before & 1) && __atomic_load_n(&entry->seq, __ATOMIC_RELAXED) == before)
            return copy->reason < NR_DROP_REASONS;
    }
    return false;
}

static int newest_first(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return x->entry.wall_ms > y->entry.wall_ms ? -1 : x->entry.wall_ms < y->entry.wall_ms;
}

static void source_format(const struct error_entry *entry, char *text, size_t size)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char address[INET6_ADDRSTRLEN] = "";
    bool ipv4 = memcmp(entry->source, mapped, sizeof(mapped)) == 0;

    inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? entry->source + 12 : entry->source, address,
              sizeof(address));
    snprintf(text, size, ipv4 ? "%s:%u" : "[%s]:%u", address, entry->port);
}

static json_t *found_build(const struct found *found)
{
    const struct error_entry *entry = &found->entry;
    char source[64];

    source_format(entry, source, sizeof(source));
    return json_pack("{s:I, s:i, s:s, s:s, s:s, s:s, s:I}", "time_ms", (json_int_t)entry->wall_ms,
                     "core", (int)found->core, "reason", drop_names[entry->reason].name, "help",
                     drop_names[entry->reason].help, "source", source, "op",
                     entry->op ? opcode_name(entry->op) : "-", "bytes", (json_int_t)entry->len);
}

static json_t *last_build(const struct arena *arena, unsigned last)
{
    struct found *all = calloc((size_t)arena->sb->nr_cores * ERRORS_KEPT, sizeof(*all));
    json_t *array = json_array();
    unsigned n = 0;

    for (unsigned core = 0; all && core < arena->sb->nr_cores; core++)
        for (unsigned i = 0; i < ERRORS_KEPT; i++)
            if (entry_read(&arena_stats(arena, core)->errors[i], &all[n].entry))
                all[n++].core = core;
    if (n)
        qsort(all, n, sizeof(*all), newest_first);
    for (unsigned i = 0; i < n && i < last; i++)
        json_array_append_new(array, found_build(&all[i]));
    free(all);
    return array;
}

json_t *errors_build(const struct kvraild *kvraild, unsigned last)
{
    const struct arena *arena = &kvraild->arena;
    json_t *counters = json_array();
    uint64_t total = 0;

    for (unsigned reason = 0; reason < NR_DROP_REASONS; reason++) {
        uint64_t n = 0;

        for (unsigned core = 0; core < arena->sb->nr_cores; core++)
            n += counter_read(&arena_stats(arena, core)->drops[reason]);
        total += n;
        json_array_append_new(counters,
                              json_pack("{s:s, s:I, s:s}", "reason", drop_names[reason].name,
                                        "count", (json_int_t)n, "help", drop_names[reason].help));
    }
    return json_pack("{s:I, s:o, s:o}", "total", (json_int_t)total, "counters", counters, "last",
                     last_build(arena, last));
}
