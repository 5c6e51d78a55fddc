/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to "latency": quantiles per operation, merged over the cores. */
#include "controlplane/kvraild.h"

static json_t *op_build(const struct arena *arena, unsigned op)
{
    struct histogram all = {0};

    for (unsigned core = 0; core < arena->sb->nr_cores; core++)
        histogram_merge(&all, &arena_stats(arena, core)->latency[op]);
    if (all.count == 0)
        return NULL;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "op", opcode_name(op), "count",
                     (json_int_t)all.count, "mean_ns", (json_int_t)(all.sum / all.count), "p50_ns",
                     (json_int_t)histogram_quantile(&all, 0.50), "p95_ns",
                     (json_int_t)histogram_quantile(&all, 0.95), "p99_ns",
                     (json_int_t)histogram_quantile(&all, 0.99), "p999_ns",
                     (json_int_t)histogram_quantile(&all, 0.999), "max_ns", (json_int_t)all.max);
}

json_t *latency_build(const struct kvraild *kvraild)
{
    json_t *array = json_array();

    for (unsigned op = 1; op < KVR_OPCODES; op++) {
        json_t *row = op_build(&kvraild->arena, op);

        if (row)
            json_array_append_new(array, row);
    }
    return json_pack("{s:o}", "ops", array);
}
