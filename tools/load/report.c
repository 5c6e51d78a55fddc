/* SPDX-License-Identifier: Apache-2.0 */
/* The result as bench's table and JSON, and what is the engine's own beside it. */
#include <stdio.h>

#include "tools/load/load.h"
#include "tools/table.h"
#include "tools/units.h"

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static bool was_read_back(const struct load_result *r)
{
    return r->proven + r->overtaken + r->unread > 0;
}

static json_t *thread_json(const struct load_thread_result *t)
{
    return json_pack("{s:i,s:I,s:I,s:f,s:f,s:f}", "cpu", (int)t->cpu, "ops", (json_int_t)t->ops,
                     "preempted", (json_int_t)t->preempted, "busy", t->busy, "cycles_per_op",
                     t->cycles_per_op, "engine_cycles_per_op", t->engine_cycles_per_op);
}

static json_t *engine_json(const struct load_settings *s, const struct load_result *r)
{
    json_t *threads = json_array(), *object;

    for (uint64_t i = 0; i < s->bench.threads; i++)
        json_array_append_new(threads, thread_json(&r->threads[i]));
    object = json_pack(
        "{s:o,s:s,s:b,s:I,s:s,s:I,s:I,s:I,s:f,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:I,s:I,s:f,s:o}",
        "device", cli_json_text(s->device), "driver", r->driver, "hugepages", r->hugepages,
        "queues", (json_int_t)s->queues, "steer", s->steer_first ? "first" : "owner",
        "tx_datagrams", (json_int_t)r->tx_datagrams, "rx_datagrams", (json_int_t)r->rx_datagrams,
        "lost", (json_int_t)r->lost, "loss", ratio(r->lost, r->tx_datagrams), "late",
        (json_int_t)r->late, "invalid", (json_int_t)r->invalid, "foreign", (json_int_t)r->foreign,
        "rx_per_burst", ratio(r->rx_frames, r->rx_bursts), "tx_per_burst",
        ratio(r->tx_frames, r->tx_bursts), "busy", r->mean.busy, "cycles_per_op",
        r->mean.cycles_per_op, "engine_cycles_per_op", r->mean.engine_cycles_per_op, "tsc_hz",
        (json_int_t)r->tsc_hz, "order_seed", (json_int_t)s->bench.seed, "timeout_ms",
        (double)s->timeout_ns / 1e6, "threads", threads);
    json_object_set_new(object, "preempted", json_integer((json_int_t)r->mean.preempted));
    if (r->match_keys)
        json_object_set_new(object, "match_found", json_real(ratio(r->match_found, r->match_keys)));
    if (was_read_back(r))
        json_object_set_new(object, "read_back",
                            json_pack("{s:I,s:I,s:I}", "proven", (json_int_t)r->proven, "overtaken",
                                      (json_int_t)r->overtaken, "unread", (json_int_t)r->unread));
    if (s->hot)
        json_object_set_new(object, "hot",
                            json_pack("{s:I,s:f}", "partition", (json_int_t)s->hot_partition,
                                      "share", s->hot_share));
    return object;
}

static void print_engine(const struct load_settings *s, const struct load_result *r)
{
    printf(
        "%s: %llu datagrams sent, %llu received, %llu lost (%.4f %%), %.1f a burst in, %.1f out\n",
        r->driver, (unsigned long long)r->tx_datagrams, (unsigned long long)r->rx_datagrams,
        (unsigned long long)r->lost, 100 * ratio(r->lost, r->tx_datagrams),
        ratio(r->rx_frames, r->rx_bursts), ratio(r->tx_frames, r->tx_bursts));
    for (uint64_t i = 0; i < s->bench.threads; i++)
        printf("thread %llu on CPU %u: busy %.1f %%, %.0f cycles an op, %.0f of them not the "
               "driver's, preempted %llu times\n",
               (unsigned long long)i, r->threads[i].cpu, 100 * r->threads[i].busy,
               r->threads[i].cycles_per_op, r->threads[i].engine_cycles_per_op,
               (unsigned long long)r->threads[i].preempted);
    if (r->match_keys)
        printf("match: %.4f of the keys lay in the stored prefix\n",
               ratio(r->match_found, r->match_keys));
    if (was_read_back(r))
        printf("read back: %llu values proven, %llu overtaken by others, %llu not answered\n",
               (unsigned long long)r->proven, (unsigned long long)r->overtaken,
               (unsigned long long)r->unread);
}

void load_report(const struct cli *cli, const struct load_settings *s, const struct load_result *r,
                 const char *url)
{
    json_t *object;

    if (!cli->json) {
        bench_print(&s->bench, &r->bench, url);
        print_engine(s, r);
        return;
    }
    object = bench_json("load", &s->bench, &r->bench, url);
    json_object_set_new(object, "engine", engine_json(s, r));
    cli_print_json(object);
}
