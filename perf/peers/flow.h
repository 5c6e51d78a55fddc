/* SPDX-License-Identifier: Apache-2.0 */
/* A closed loop against a peer: every slot sends its next request when its last one was answered.
 * One thread that never sleeps; a slot is a TCP connection, or a request in flight on one UDP
 * socket. */
#pragma once

#include <netinet/in.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/random.h"
#include "protocol.h"

struct flow_spec {
    const struct protocol *protocol;
    struct sockaddr_in peer;
    uint64_t keys;
    uint32_t value_len;
    unsigned batch, slots;
    double exponent; /* of zipf; 0 = uniform */
    uint64_t run_ns, warm_ns;
};

struct flow_result {
    uint64_t ops, requests, wrong, lost;
    uint64_t ns;
    struct histogram latency;
};

/* 0 or -errno; -EPROTO: the peer does not answer as expected. */
[[nodiscard]] int flow_store_all(const struct flow_spec *spec);
[[nodiscard]] int flow_run_tcp(const struct flow_spec *spec, struct flow_result *result);
/* memcached only, batch 1. */
[[nodiscard]] int flow_run_udp(const struct flow_spec *spec, struct flow_result *result);
