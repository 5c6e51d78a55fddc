/* SPDX-License-Identifier: Apache-2.0 */
/* What kvrail-load is told: the load itself as `kvrail bench` is told it, and the port it comes
 * from. Constant while threads run. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/eth/cpus.h"
#include "tools/bench.h"

#define LOAD_THREADS_MAX 32u
#define LOAD_QUEUES_MAX 32u
#define LOAD_DEPTH_MAX 32768u

enum load_pages { LOAD_PAGES_AUTO, LOAD_PAGES_OFF, LOAD_PAGES_REQUIRE };

struct load_settings {
    struct bench_settings bench; /* batch: ops of a datagram; depth: datagrams in flight */
    const char *device, *ipv4, *ipv6, *cpus, *eal;
    struct cpu_plan plan;
    uint64_t queues, mtu, ring, packet_memory; /* packet_memory: MiB, 0 = what is needed */
    enum load_pages pages;
    bool steer_first; /* all datagrams to the server's first queue */
    bool mixed;       /* reads of several partitions share a datagram */
    bool hot;         /* hot_share of the ops go to keys of hot_partition */
    uint64_t hot_partition;
    double hot_share; /* 0 .. 1 */
    uint64_t timeout_ns;
};

/* What a datagram of the path to the server holds at most. */
struct limits {
    uint32_t datagram;           /* bytes of UDP payload, both ways */
    uint32_t put_max;            /* bytes of the value of a PUT */
    uint32_t frag;               /* bytes of a WRITE */
    uint32_t chain_max;          /* keys of a MATCH */
    bool long_puts, long_chains; /* the settings ask for larger ones, which take several */
};

/* What options allow alone, but not together, or not of this server; false: text says why. */
bool settings_fit_each_other(const struct load_settings *s, char *text, size_t size);
struct kvr_hello_rep;
/* max_datagram: of the path, both ways. */
bool settings_fit_server(const struct load_settings *s, const struct kvr_hello_rep *hello,
                         uint32_t max_datagram, char *text, size_t size);
