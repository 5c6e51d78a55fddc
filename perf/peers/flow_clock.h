/* SPDX-License-Identifier: Apache-2.0 */
/* The shared insides of flow.c, flow_tcp.c and flow_udp.c. */
#pragma once

#include <stdbool.h>

#include "base/clock.h"
#include "flow.h"

struct flow_clock {
    const struct flow_spec *spec;
    uint64_t begin_ns, end_ns; /* what is asked and answered between them counts */
    struct rng rng;
    struct zipf zipf;
};

void flow_clock_start(struct flow_clock *clock, const struct flow_spec *spec);
/* The keys of the next request. */
void flow_keys(struct flow_clock *clock, uint64_t *ids);
/* Counts an answered request. */
void flow_answered(struct flow_clock *clock, struct flow_result *result, uint64_t sent_ns,
                   uint64_t now_ns, bool right);

/* A connected socket of the type, or -errno. */
int flow_connect(const struct flow_spec *spec, int type);
/* All bytes, however long it takes. */
int flow_send_all(int fd, const char *bytes, size_t len);
