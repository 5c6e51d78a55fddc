/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to "stat": every counter, per core and summed, and those of the partitions. */
#include "controlplane/kvraild.h"

/* X(field) of struct part_header. */
#define PART_COUNTERS(X)                                                                           \
    X(items)                                                                                       \
    X(value_bytes)                                                                                 \
    X(reserved)                                                                                    \
    X(unlinked)                                                                                    \
    X(used_bytes)                                                                                  \
    X(evictions)                                                                                   \
    X(evicted_bytes) X(expired) X(replaced) X(no_space) X(reclaimed) X(grace_waits) X(hints_lost)

static const char *status_word(unsigned status)
{
    switch (status) {
#define STATUS_WORD(name, number, text)                                                            \
    case number:                                                                                   \
        return #name;
        KVR_STATUS_LIST(STATUS_WORD)
#undef STATUS_WORD
    default:
        return "?";
    }
}

/* heartbeat_ns is a time, not an amount: the sum of it means nothing. */
static json_t *core_build(const struct core_stats *stats, json_t *sum)
{
    const uint64_t *counters = (const uint64_t *)stats;
    json_t *core = json_object();

    for (unsigned i = 0; i < nr_stats_names; i++) {
        json_int_t n = (json_int_t)counter_read(&counters[i]);
        const char *name = stats_names[i].name;

        json_object_set_new(core, name, json_integer(n));
        if (&counters[i] != &stats->heartbeat_ns)
            json_object_set_new(sum, name,
                                json_integer(json_integer_value(json_object_get(sum, name)) + n));
    }
    return core;
}

static void ops_add(const struct core_stats *stats, json_t *ops)
{
    for (unsigned op = 0; op < KVR_OPCODES; op++)
        for (unsigned status = 0; status <= KVR_STATUS_WIRE_MAX; status++) {
            json_int_t n = (json_int_t)counter_read(&stats->ops[op][status]);
            json_t *row = json_object_get(ops, opcode_name(op));
            const char *name = status_word(status);

            if (n == 0)
                continue;
            if (!row) {
                row = json_object();
                json_object_set_new(ops, opcode_name(op), row);
            }
            json_object_set_new(row, name,
                                json_integer(json_integer_value(json_object_get(row, name)) + n));
        }
}

static json_t *partition_build(const struct part_header *part)
{
    json_t *object = json_object();

#define PART_ADD(field)                                                                            \
    json_object_set_new(object, #field, json_integer((json_int_t)counter_read(&part->field)));
    PART_COUNTERS(PART_ADD)
#undef PART_ADD
    return object;
}

static json_t *local_build(const struct superblock *sb)
{
    const struct reclaim_stats *reclaim = &sb->reclaim;

    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "scans",
                     (json_int_t)counter_read(&reclaim->scans), "scan_slots",
                     (json_int_t)counter_read(&reclaim->slots), "scan_ns",
                     (json_int_t)counter_read(&reclaim->scan_ns), "held_blocks",
                     (json_int_t)counter_read(&reclaim->held), "held_bytes",
                     (json_int_t)counter_read(&reclaim->held_bytes), "copies",
                     (json_int_t)counter_read(&sb->copy.copies), "copied_bytes",
                     (json_int_t)counter_read(&sb->copy.bytes));
}

json_t *stat_build(const struct kvraild *kvraild)
{
    const struct arena *arena = &kvraild->arena;
    json_t *sum = json_object(), *ops = json_object();
    json_t *cores = json_array(), *partitions = json_array();

    for (unsigned core = 0; core < arena->sb->nr_cores; core++) {
        json_array_append_new(cores, core_build(arena_stats(arena, core), sum));
        ops_add(arena_stats(arena, core), ops);
    }
    for (unsigned p = 0; p < arena->sb->nr_partitions; p++)
        json_array_append_new(partitions, partition_build(arena_part(arena, p)));
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "sum", sum, "ops", ops, "cores", cores,
                     "partitions", partitions, "local", local_build(arena->sb));
}
