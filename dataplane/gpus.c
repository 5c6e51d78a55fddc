/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of backend, and the devices' figures on their way to whoever asks. Main thread.
 * Invariant: without a driver and without a device everything starts; what is missing is said. */
#include "dataplane/gpus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/log.h"
#include "dataplane/note.h"

_Static_assert(GPU_ROWS >= GPU_DEVICES_MAX, "a row for each device");
_Static_assert((int)GPU_ROW_UP == GPU_UP && (int)GPU_ROW_FAILED == GPU_FAILED &&
                   (int)GPU_ROW_RESETTING == GPU_RESETTING,
               "states are told as they are");

static int make_fleet(const struct gpu_backend *backend, const struct settings *settings,
                      unsigned nr_cores, struct gpu_fleet **fleet, char *why, size_t why_len)
{
    struct gpu_fleet_options options = {
        .backend = backend, .nr_producers = nr_cores, .batch_bytes = (uint32_t)settings->gpu_batch};

    return gpu_fleet_create(&options, fleet, why, why_len);
}

static int make_wanted(const struct settings *settings, unsigned nr_cores, struct gpu_fleet **fleet,
                       char *why, size_t why_len)
{
    bool any = strcmp(settings->gpu, "auto") == 0;
    int rc = -ENODEV;

    if (any || strcmp(settings->gpu, "cuda") == 0)
        rc = make_fleet(&gpu_backend_cuda, settings, nr_cores, fleet, why, why_len);
    if (rc == 0 || (!any && strcmp(settings->gpu, "host") != 0))
        return rc;
    if (any)
        log_info("gpu: no CUDA device (%s): the host's CPUs move blocks to clients' regions", why);
    gpu_host_set_devices((unsigned)settings->gpu_host_devices);
    return make_fleet(&gpu_backend_host, settings, nr_cores, fleet, why, why_len);
}

int gpus_start(const struct settings *settings, struct arena *arena, unsigned nr_cores,
               struct gpu_fleet **fleet, struct fault *fault)
{
    char why[256] = "";
    int rc;

    *fleet = NULL;
    memset(arena->sb->gpus, 0, sizeof(arena->sb->gpus)); /* of an earlier run */
    if (strcmp(settings->gpu, "off") == 0)
        return 0;
    rc = make_wanted(settings, nr_cores, fleet, why, sizeof(why));
    if (rc && strcmp(settings->gpu, "auto") == 0) {
        note("gpu: no device serves clients' regions: %s", why[0] ? why : strerror(-rc));
        return 0;
    }
    if (rc)
        return fault_set(fault, rc, "gpu: %s: %s; set gpu to auto, host or off", settings->gpu,
                         why[0] ? why : strerror(-rc));
    rc = gpu_register_start(*fleet, arena->data, arena->data_size);
    if (rc)
        note("gpu: the cache's memory is not registered with the devices (%s): copies are slower",
             strerror(-rc));
    gpus_tell(*fleet, arena);
    return 0;
}

static bool is_host(const struct gpu_device_info *info)
{
    return strncmp(info->where, "host:", 5) == 0;
}

bool gpus_take_pool(const struct settings *settings, struct gpu_fleet *fleet)
{
    struct gpu_device_stats stats;

    if (settings->gpu_pool == 0)
        return false;
    if (fleet && (strcmp(settings->gpu, "auto") != 0 || gpu_stats(fleet, 0, &stats) < 0 ||
                  !is_host(&stats.info)))
        return true;
    note("gpu_pool: there is no CUDA device, and so no pool");
    return false;
}

void gpus_stop(struct gpu_fleet *fleet, struct arena *arena)
{
    if (!fleet)
        return;
    gpu_fleet_destroy(fleet);
    memset(arena->sb->gpus, 0, sizeof(arena->sb->gpus));
}

static void tell_texts(struct gpu_row *row, const struct gpu_device_info *info)
{
    snprintf(row->backend, sizeof(row->backend), "%s", is_host(info) ? "host" : "cuda");
    snprintf(row->where, sizeof(row->where), "%s", info->where);
    snprintf(row->name, sizeof(row->name), "%s", info->name);
    row->numa_node = info->numa_node;
}

static void tell(struct gpu_row *row, const struct gpu_device_stats *stats)
{
    if (row->written_ns == 0)
        tell_texts(row, &stats->info);
    counter_set(&row->memory_total, stats->info.memory_total);
    counter_set(&row->memory_free, stats->memory_free);
    counter_set(&row->load_bytes_s, stats->bytes_s[0]);
    counter_set(&row->store_bytes_s, stats->bytes_s[1]);
    counter_set(&row->jobs, stats->jobs);
    counter_set(&row->jobs_waiting, stats->jobs_waiting);
    counter_set(&row->jobs_running, stats->jobs_running);
    counter_set(&row->expired, stats->expired);
    counter_set(&row->canceled, stats->canceled);
    counter_set(&row->failed, stats->failed);
    counter_set(&row->moved_away, stats->moved_away);
    counter_set(&row->load_bytes, stats->load_bytes);
    counter_set(&row->store_bytes, stats->store_bytes);
    counter_set(&row->move_bytes, stats->move_bytes);
    counter_set(&row->outstanding_bytes, stats->outstanding_bytes);
    counter_set(&row->load_busy_ns, stats->busy_ns[0]);
    counter_set(&row->store_busy_ns, stats->busy_ns[1]);
    counter_set(&row->batches, stats->batches);
    counter_set(&row->pieces, stats->pieces);
    counter_set(&row->failures, stats->failures);
    counter_set(&row->hangs, stats->hangs);
    counter_set(&row->resets, stats->resets);
    counter_set(&row->registered_bytes, stats->registered_bytes);
    counter_set(&row->written_ns, clock_ns());
    /* Pairs with the acquire of whoever looks: the texts are there. */
    __atomic_store_n(&row->state, (uint32_t)stats->state, __ATOMIC_RELEASE);
}

void gpus_tell(struct gpu_fleet *fleet, struct arena *arena)
{
    struct gpu_device_stats stats;

    for (unsigned i = 0; fleet && i < gpu_fleet_size(fleet); i++)
        if (gpu_stats(fleet, i, &stats) == 0)
            tell(&arena->sb->gpus[i], &stats);
}
