/* SPDX-License-Identifier: Apache-2.0 */
/* One real poll core with everything that boot.c gives it, over a net_ring port: what is sent into
 * the port's ring is received from it, and the replies come back by the same ring. One thread. */
#pragma once

#include <stdint.h>

#include "dataplane/core.h"
#include "dataplane/eth/fault.h"
#include "dataplane/eth/port.h"

struct rte_ring;

struct poll_core_spec {
    uint64_t keys; /* that must fit */
    uint32_t value_len;
    unsigned mtu;
};

struct poll_core {
    struct settings settings;
    struct arena arena;
    struct port port;
    struct reclaimer *reclaimer;
    struct handoff *handoff;
    struct cookie_keys *cookies;
    struct transport *transport;
    struct core *core;
    struct rte_ring *wire; /* both ways */
};

/* -errno and the fault's text. */
[[nodiscard]] int poll_core_open(struct poll_core *poll, const struct poll_core_spec *spec,
                                 struct fault *fault);
void poll_core_close(struct poll_core *poll);

/* Stores a value, as PUT does. -ENOMEM: it does not fit. */
[[nodiscard]] int poll_core_put(struct poll_core *poll, const void *key, uint32_t key_len,
                                const void *value, uint32_t value_len);
