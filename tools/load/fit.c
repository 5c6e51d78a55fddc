/* SPDX-License-Identifier: Apache-2.0 */
/* What settings demand of each other and of the server. No DPDK. */
#include <stdio.h>

#include "client/build.h"
#include "tools/load/chain.h"
#include "tools/load/compose.h"
#include "tools/load/settings.h"
#include "tools/units.h"

#define KEYS_MAX (1ull << 32)
#define BUFFERS_MAX (8ull << 30)

static bool writes(const struct bench_settings *b)
{
    return b->weights[BENCH_PUT] || b->weights[BENCH_DEL] || b->weights[BENCH_TOUCH];
}

bool settings_fit_each_other(const struct load_settings *s, char *text, size_t size)
{
    const struct bench_settings *b = &s->bench;
    uint64_t most = writes(b) ? KVR_MUTATIONS_MAX : KVR_OPS_MAX;

    text[0] = 0;
    if (!s->device)
        snprintf(text, size, "--device is needed: net_memif0,role=client,socket=PATH or another");
    else if (!s->ipv4 && !s->ipv6)
        snprintf(text, size, "--ipv4 or --ipv6 is needed: an own address beside the server's");
    else if (b->batch > most)
        snprintf(text, size, "--batch %u: a datagram holds at most %u ops%s", (unsigned)b->batch,
                 (unsigned)most, writes(b) ? " where some of them write" : "");
    else if (s->mixed && writes(b))
        snprintf(text, size, "--mixed: ops that write must be of one partition");
    else if (b->depth > LOAD_DEPTH_MAX)
        snprintf(text, size, "--depth %u: at most %u", (unsigned)b->depth, LOAD_DEPTH_MAX);
    else if (b->threads > LOAD_THREADS_MAX)
        snprintf(text, size, "--threads %u: at most %u", (unsigned)b->threads, LOAD_THREADS_MAX);
    else if (b->keys > KEYS_MAX)
        snprintf(text, size, "--keys: at most %s", units_count((double)KEYS_MAX).s);
    else if (b->verify && b->weights[BENCH_GET] && b->sizes.largest > KVR_DATAGRAM_MAX &&
             b->threads * b->depth * b->batch * b->sizes.largest > BUFFERS_MAX)
        snprintf(text, size, "--verify: %u ops in flight need more than %s of buffers",
                 (unsigned)(b->threads * b->depth * b->batch), units_bytes(BUFFERS_MAX).s);
    return !text[0];
}

bool settings_fit_server(const struct load_settings *s, const struct kvr_hello_rep *hello,
                         uint32_t max_datagram, char *text, size_t size)
{
    const struct bench_settings *b = &s->bench;
    struct limits limits;

    compose_limits(s, max_datagram, &limits);
    text[0] = 0;
    if (compose_size(s, &limits, b->batch) > max_datagram)
        snprintf(text, size,
                 "--batch %u: the requests need %llu bytes, a datagram has %u here (--mtu)",
                 (unsigned)b->batch, (unsigned long long)compose_size(s, &limits, b->batch),
                 max_datagram);
    else if (b->rate && b->batch > 1 && (limits.long_puts || limits.long_chains))
        snprintf(text, size,
                 "--batch %u: with --rate every op must fit a datagram of %u bytes together with "
                 "others",
                 (unsigned)b->batch, max_datagram);
    else if (limits.long_chains && b->threads * chains_memory(b) > BUFFERS_MAX)
        snprintf(text, size, "--chain %u: so many --keys and --depth need more than %s of memory",
                 (unsigned)b->chain, units_bytes(BUFFERS_MAX).s);
    else if (b->sizes.largest > hello->max_value)
        snprintf(text, size, "--size %s: the server takes values of %u bytes at most",
                 b->sizes_text, hello->max_value);
    else if (b->weights[BENCH_GET] && b->sizes.largest > hello->train_max)
        snprintf(text, size, "--size %s: the server answers a GET with %u bytes at most",
                 b->sizes_text, hello->train_max);
    else if (b->batch > hello->max_ops)
        snprintf(text, size, "--batch %u: the server takes at most %u ops a datagram",
                 (unsigned)b->batch, hello->max_ops);
    else if (s->hot && s->hot_partition >= hello->nr_partitions)
        snprintf(text, size, "--hot-partition %u: the server has partitions 0 to %u",
                 (unsigned)s->hot_partition, hello->nr_partitions - 1u);
    return !text[0];
}
