/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to "gpu-list": what the dataplane tells of its devices in the superblock. */
#include "base/clock.h"
#include "controlplane/kvraild.h"

static const char *state_name(unsigned state)
{
    static const char *const names[] = {"none", "up", "failed", "resetting"};

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

/* Of the last interval, by the clock of the readings: they were taken at other times than ours. */
static double share(const struct gpu_reading *before, const struct gpu_reading *now, uint64_t from,
                    uint64_t to)
{
    uint64_t ns = now->at_ns - before->at_ns;

    if (before->at_ns == 0 || now->at_ns <= before->at_ns || to < from)
        return 0;
    return (double)(to - from) / (double)ns;
}

static json_t *identity_build(unsigned number, unsigned state, const struct gpu_row *row)
{
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:i}", "gpu", (int)number, "state",
                     state_name(state), "backend", row->backend, "name", row->name, "where",
                     row->where, "numa_node", (int)row->numa_node);
}

static void number_set(json_t *object, const char *name, const uint64_t *counter)
{
    json_object_set_new(object, name, json_integer((json_int_t)counter_read(counter)));
}

static void counters_set(json_t *object, const struct gpu_row *row)
{
    number_set(object, "memory_total", &row->memory_total);
    number_set(object, "memory_free", &row->memory_free);
    number_set(object, "load_bytes_s_measured", &row->load_bytes_s);
    number_set(object, "store_bytes_s_measured", &row->store_bytes_s);
    number_set(object, "jobs", &row->jobs);
    number_set(object, "jobs_waiting", &row->jobs_waiting);
    number_set(object, "jobs_running", &row->jobs_running);
    number_set(object, "expired", &row->expired);
    number_set(object, "canceled", &row->canceled);
    number_set(object, "failed", &row->failed);
    number_set(object, "moved_away", &row->moved_away);
    number_set(object, "load_bytes", &row->load_bytes);
    number_set(object, "store_bytes", &row->store_bytes);
    number_set(object, "move_bytes", &row->move_bytes);
    number_set(object, "outstanding_bytes", &row->outstanding_bytes);
    number_set(object, "batches", &row->batches);
    number_set(object, "pieces", &row->pieces);
    number_set(object, "failures", &row->failures);
    number_set(object, "hangs", &row->hangs);
    number_set(object, "resets", &row->resets);
    number_set(object, "registered_bytes", &row->registered_bytes);
}

static void pool_set(json_t *object, const struct gpu_row *row)
{
    number_set(object, "pool_size", &row->pool_size);
    number_set(object, "pool_used", &row->pool_used);
    number_set(object, "pool_slots", &row->pool_slots);
    number_set(object, "pool_ready", &row->pool_ready);
    number_set(object, "pool_loading", &row->pool_loading);
    number_set(object, "pool_pins", &row->pool_pins);
    number_set(object, "pool_hits", &row->pool_hits);
    number_set(object, "pool_hit_bytes", &row->pool_hit_bytes);
    number_set(object, "pool_loads", &row->pool_loads);
    number_set(object, "pool_loads_failed", &row->pool_loads_failed);
    number_set(object, "pool_evictions", &row->pool_evictions);
    number_set(object, "pool_forgotten", &row->pool_forgotten);
    number_set(object, "pool_lost", &row->pool_lost);
    number_set(object, "pool_no_slot", &row->pool_no_slot);
}

static void rates_set(json_t *object, const struct gpu_reading *before,
                      const struct gpu_reading *now)
{
    double load = share(before, now, before->load_bytes, now->load_bytes) * 1e9;
    double store = share(before, now, before->store_bytes, now->store_bytes) * 1e9;
    double load_busy = share(before, now, before->load_busy_ns, now->load_busy_ns);
    double store_busy = share(before, now, before->store_busy_ns, now->store_busy_ns);

    json_object_set_new(object, "load_bytes_s", json_real(load));
    json_object_set_new(object, "store_bytes_s", json_real(store));
    json_object_set_new(object, "load_busy", json_real(load_busy > 1 ? 1 : load_busy));
    json_object_set_new(object, "store_busy", json_real(store_busy > 1 ? 1 : store_busy));
}

json_t *gpus_build(const struct kvraild *kvraild)
{
    const struct rates *rates = &kvraild->rates;
    json_t *array = json_array();

    for (unsigned i = 0; kvraild->child.state == CHILD_READY && i < GPU_ROWS; i++) {
        const struct gpu_row *row = &kvraild->arena.sb->gpus[i];
        /* Pairs with the release in dataplane/gpus.c: the texts are there. */
        unsigned state = __atomic_load_n(&row->state, __ATOMIC_ACQUIRE);
        json_t *object;

        if (state == GPU_ROW_NONE)
            continue;
        object = identity_build(i, state, row);
        counters_set(object, row);
        pool_set(object, row);
        rates_set(object, &rates->before.gpus[i], &rates->now.gpus[i]);
        json_array_append_new(array, object);
    }
    return json_pack("{s:s, s:o}", "setting", options_text(&kvraild->options, OPT_gpu), "gpus",
                     array);
}
