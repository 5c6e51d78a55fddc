/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to "status": is all well, if not why, and what there is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "controlplane/kvraild.h"

#define HEARTBEAT_STALE_MS 2000u

#define LATELY_MANY 3u /* restarts that are worth a word */

/* "4 restarts in the last 12 s" */
static bool lately_text(const struct kvraild *kvraild, char *text, size_t size)
{
    uint64_t span_ns;
    unsigned n = supervise_lately(kvraild, &span_ns);

    snprintf(text, size, "%u restarts in the last %.0f s", n, (double)span_ns / 1e9);
    return n >= LATELY_MANY;
}

static void down_reason(const struct kvraild *kvraild, char *text, size_t size)
{
    const struct supervision *supervision = &kvraild->supervision;
    bool down = kvraild->child.state == CHILD_DOWN;
    uint64_t now = clock_ns();
    char lately[64];
    size_t used = (size_t)snprintf(text, size, "the dataplane is %s after: %s",
                                   down ? "down" : "starting again", supervision->last_exit);

    if (lately_text(kvraild, lately, sizeof(lately)) && used < size)
        used += (size_t)snprintf(text + used, size - used, "; %s", lately);
    if (down && supervision->next_ns > now && used < size)
        snprintf(text + used, size - used,
                 "; the next try is in %.1f s, `kvrail restart` tries at once",
                 (double)(supervision->next_ns - now) / 1e9);
}

static void reasons_fill(const struct kvraild *kvraild, json_t *reasons)
{
    const struct child *child = &kvraild->child;
    char text[CHILD_LINE_MAX + 256];

    if (child->state == CHILD_DOWN ||
        (child->state == CHILD_STARTING && kvraild->supervision.restarts)) {
        down_reason(kvraild, text, sizeof(text));
        json_array_append_new(reasons, json_string(text));
    }
    if (child->state != CHILD_READY)
        return;
    for (unsigned core = 0; core < heartbeat_cores(kvraild); core++) {
        const struct core_stats *stats = arena_stats(&kvraild->arena, core);
        uint64_t age = heartbeat_age_ms(kvraild, counter_read(&stats->heartbeat_ns));

        if (age < HEARTBEAT_STALE_MS)
            continue;
        snprintf(text, sizeof(text), "core %u has not turned for %.1f s", core, (double)age / 1e3);
        json_array_append_new(reasons, json_string(text));
    }
}

static const char *state_name(const struct kvraild *kvraild, const json_t *reasons)
{
    if (kvraild->stopping)
        return "stopping";
    if (json_array_size(reasons))
        return "degraded";
    return kvraild->child.state == CHILD_READY ? "ok" : "starting";
}

static json_t *recovery_build(const struct child *child)
{
    static const char *const names[] = {
        "kept",           "kept_bytes", "kept_reserved", "dropped_unsealed", "dropped_damaged",
        "dropped_expired"};
    json_t *recovery;

    if (!child->recovered_fields[0])
        return json_null();
    recovery = json_object();
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        json_object_set_new(recovery, names[i],
                            json_integer((json_int_t)child_recovered(child, names[i])));
    return recovery;
}

static json_t *restart_ms(const struct kvraild *kvraild)
{
    uint64_t ms = kvraild->supervision.last_ms;

    return ms == UINT64_MAX ? json_null() : json_integer((json_int_t)ms);
}

static json_t *dataplane_build(const struct kvraild *kvraild)
{
    static const char *const states[] = {"down", "starting", "ready", "stopping"};
    const struct child *child = &kvraild->child;
    const struct supervision *supervision = &kvraild->supervision;
    uint64_t now = clock_ns(), span_ns;
    bool up = child->state != CHILD_DOWN;

    return json_pack("{s:s, s:o, s:I, s:i, s:i, s:s, s:o, s:o, s:b, s:o}", "state",
                     states[child->state], "pid", up ? json_integer(child->pid) : json_null(),
                     "uptime_ms", (json_int_t)(up ? (now - child->started_ns) / NS_PER_MS : 0),
                     "restarts", (int)supervision->restarts, "restarts_lately",
                     (int)supervise_lately(kvraild, &span_ns), "last_exit", supervision->last_exit,
                     "last_restart_ms", restart_ms(kvraild), "next_try_ms",
                     supervision->next_ns > now
                         ? json_integer((json_int_t)((supervision->next_ns - now) / NS_PER_MS))
                         : json_null(),
                     "adopted", child->adopted, "recovery", recovery_build(child));
}

json_t *restart_build(const struct kvraild *kvraild)
{
    return json_pack("{s:i, s:o, s:o}", "pid", (int)kvraild->child.pid, "ms", restart_ms(kvraild),
                     "recovery", recovery_build(&kvraild->child));
}

static json_t *device_build(const struct kvraild *kvraild)
{
    const struct child *child = &kvraild->child;
    char value[256];
    json_t *device =
        json_pack("{s:s, s:s, s:s, s:I}", "name", options_text(&kvraild->options, OPT_device),
                  "ipv4", options_text(&kvraild->options, OPT_ipv4), "ipv6",
                  options_text(&kvraild->options, OPT_ipv6), "port",
                  (json_int_t)options_number(&kvraild->options, OPT_port));

    if (child_field(child, "mac", value, sizeof(value)))
        json_object_set_new(device, "mac", json_string(value));
    if (child_field(child, "mtu", value, sizeof(value)))
        json_object_set_new(device, "mtu", json_integer(atoll(value)));
    if (child_field(child, "cores", value, sizeof(value)))
        json_object_set_new(device, "cpus", json_string(value));
    return device;
}

static unsigned url_add(const struct kvraild *kvraild, enum option_id id, const char *format,
                        char url[96])
{
    const char *address = options_text(&kvraild->options, id);
    int len = (int)strcspn(address, "/");

    if (len == 0)
        return 0;
    snprintf(url, 96, format, len, address, (unsigned)options_number(&kvraild->options, OPT_port));
    return 1;
}

unsigned status_urls(const struct kvraild *kvraild, char urls[2][96])
{
    unsigned n = url_add(kvraild, OPT_ipv4, "udp://%.*s:%u", urls[0]);

    return n + url_add(kvraild, OPT_ipv6, "udp://[%.*s]:%u", urls[n]);
}

static json_t *urls_build(const struct kvraild *kvraild)
{
    json_t *array = json_array();
    char urls[2][96];
    unsigned n = status_urls(kvraild, urls);

    for (unsigned i = 0; i < n; i++)
        json_array_append_new(array, json_string(urls[i]));
    if (kvraild->attach.fd >= 0)
        json_array_append_new(array, json_sprintf("shm://%s", kvraild->attach.address.sun_path));
    return array;
}

static json_t *cores_build(const struct kvraild *kvraild)
{
    json_t *array = json_array();

    for (unsigned core = 0; core < heartbeat_cores(kvraild); core++) {
        const struct core_stats *stats = arena_stats(&kvraild->arena, core);

        json_array_append_new(
            array,
            json_pack("{s:i, s:I, s:f}", "core", (int)core, "heartbeat_age_ms",
                      (json_int_t)heartbeat_age_ms(kvraild, counter_read(&stats->heartbeat_ns)),
                      "busy", rates_busy(&kvraild->rates, core)));
    }
    return array;
}

struct stored {
    uint64_t items, value_bytes, used_bytes, evictions, expired;
};

static struct stored stored_sum(const struct arena *arena)
{
    struct stored sum = {0};

    for (unsigned p = 0; p < arena->sb->nr_partitions; p++) {
        const struct part_header *part = arena_part(arena, p);

        sum.items += counter_read(&part->items);
        sum.value_bytes += counter_read(&part->value_bytes);
        sum.used_bytes += counter_read(&part->used_bytes);
        sum.evictions += counter_read(&part->evictions);
        sum.expired += counter_read(&part->expired);
    }
    return sum;
}

static json_t *arena_build(const struct arena *arena, const struct stored *stored)
{
    char id[20];

    snprintf(id, sizeof(id), "%016llx", (unsigned long long)arena->sb->arena_id);
    return json_pack("{s:s, s:I, s:I, s:I, s:b, s:i, s:I}", "id", id, "data_bytes",
                     (json_int_t)arena->data_size, "index_bytes", (json_int_t)arena->index_size,
                     "used_bytes", (json_int_t)stored->used_bytes, "hugepages", arena->hugepages,
                     "partitions", (int)arena->sb->nr_partitions, "blocks_max",
                     (json_int_t)arena->sb->nr_partitions * arena->sb->blocks_per_partition);
}

static json_t *traffic_build(const struct kvraild *kvraild, const struct stored *stored)
{
    const struct rates *r = &kvraild->rates;
    uint64_t asked = r->now.hits + r->now.misses;

    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:f, s:f, s:f, s:f}", "items",
                     (json_int_t)stored->items, "value_bytes", (json_int_t)stored->value_bytes,
                     "evictions", (json_int_t)stored->evictions, "expired",
                     (json_int_t)stored->expired, "hits", (json_int_t)r->now.hits, "misses",
                     (json_int_t)r->now.misses, "hit_ratio",
                     asked ? json_real((double)r->now.hits / (double)asked) : json_null(), "gets_s",
                     rates_of(r, r->before.gets, r->now.gets), "puts_s",
                     rates_of(r, r->before.puts, r->now.puts), "rx_bytes_s",
                     rates_of(r, r->before.rx_bytes, r->now.rx_bytes), "tx_bytes_s",
                     rates_of(r, r->before.tx_bytes, r->now.tx_bytes));
}

/* Settings that the sources have and that are not in force. */
static void notes_settings(const struct kvraild *kvraild, json_t *notes)
{
    for (unsigned id = 0; id < NR_OPTIONS; id++) {
        const struct option_row *option = &option_table[id];
        const char *wish = options_text(&kvraild->config.options, id);

        if (option->live || strcmp(wish, options_text(&kvraild->options, id)) == 0)
            continue;
        json_array_append_new(
            notes,
            json_sprintf("%s: %s takes effect after %s", option->name, *wish ? wish : "empty",
                         option->dataplane ? "`kvrail restart`" : "a restart of kvraild"));
    }
}

static json_t *notes_build(const struct kvraild *kvraild)
{
    const struct child *child = &kvraild->child;
    json_t *notes = json_array();
    char lately[64];

    for (unsigned i = 0; i < kvraild->nr_notes; i++)
        json_array_append_new(notes, json_string(kvraild->notes[i]));
    notes_settings(kvraild, notes);
    if (child->state == CHILD_READY && lately_text(kvraild, lately, sizeof(lately)))
        json_array_append_new(notes, json_sprintf("%s, the last one after: %s", lately,
                                                  kvraild->supervision.last_exit));
    for (unsigned i = 0; i < child->nr_notes; i++)
        json_array_append_new(notes, json_string(child->notes[i]));
    return notes;
}

static json_t *local_build(const struct kvraild *kvraild)
{
    const struct reclaim_stats *reclaim = &kvraild->arena.sb->reclaim;

    uint64_t scans = counter_read(&reclaim->scans);

    return json_pack(
        "{s:s, s:i, s:I, s:I, s:I, s:f}", "socket", kvraild->local_path, "clients",
        (int)kvraild->clients.nr, "held_blocks", (json_int_t)counter_read(&reclaim->held),
        "held_bytes", (json_int_t)counter_read(&reclaim->held_bytes), "scans", (json_int_t)scans,
        "scan_us", scans ? (double)counter_read(&reclaim->scan_ns) / (double)scans / 1e3 : 0.0);
}

/* In a few words; gpu-list has the figures. */
static json_t *gpu_build(const struct kvraild *kvraild)
{
    json_t *list = gpus_build(kvraild), *gpus = json_object_get(list, "gpus");
    size_t nr = json_array_size(gpus), up = 0;
    const char *backend = "";

    for (size_t i = 0; i < nr; i++) {
        json_t *gpu = json_array_get(gpus, i);

        backend = json_string_value(json_object_get(gpu, "backend"));
        up += strcmp(json_string_value(json_object_get(gpu, "state")), "up") == 0;
    }
    gpus = json_pack("{s:s, s:s, s:i, s:i}", "setting", options_text(&kvraild->options, OPT_gpu),
                     "backend", backend, "devices", (int)nr, "up", (int)up);
    json_decref(list);
    return gpus;
}

json_t *status_build(const struct kvraild *kvraild)
{
    struct stored stored = stored_sum(&kvraild->arena);
    json_t *reasons = json_array();

    reasons_fill(kvraild, reasons);
    return json_pack("{s:s, s:o, s:o, s:s, s:i, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "state", state_name(kvraild, reasons), "reasons", reasons, "notes",
                     notes_build(kvraild), "version", KVRAIL_VERSION, "pid", (int)getpid(),
                     "uptime_ms", (json_int_t)((clock_ns() - kvraild->started_ns) / NS_PER_MS),
                     "control_socket", kvraild->socket_path, "dataplane", dataplane_build(kvraild),
                     "device", device_build(kvraild), "urls", urls_build(kvraild), "cores",
                     cores_build(kvraild), "arena", arena_build(&kvraild->arena, &stored),
                     "traffic", traffic_build(kvraild, &stored), "local", local_build(kvraild),
                     "gpu", gpu_build(kvraild));
}
