/* SPDX-License-Identifier: Apache-2.0 */
/* What the clients of a capture ask: a stream of request frames, one after the other, by the rules
 * of `kvrail bench`: the same keys, value sizes and contents for the same numbers. One thread. */
#pragma once

#include <stdint.h>

#include "base/random.h"
#include "perf/pktgen/flows.h"
#include "tools/sizes.h"

enum request_kind { REQUEST_GET, REQUEST_PUT, REQUEST_MATCH, REQUEST_KINDS };
extern const char *const request_names[REQUEST_KINDS];

enum request_order { ORDER_ZIPF, ORDER_UNIFORM, ORDER_SEQUENTIAL };

struct requests_spec {
    uint64_t weights[REQUEST_KINDS];
    uint64_t keys; /* ids 0 .. keys - 1 */
    uint32_t key_len;
    struct sizes sizes; /* of the values of PUTs */
    enum request_order order;
    double exponent;
    uint64_t salt, seed;
    unsigned batch; /* ops of a datagram */
    unsigned chain; /* keys of a MATCH */
    unsigned mtu;
};

struct requests {
    const struct requests_spec *spec;
    struct flows *flows;
    struct rng rng;
    struct zipf zipf;
    uint64_t weights, next_id, number; /* sum; of ORDER_SEQUENTIAL; of the next frame, from 1 */
    uint32_t *seqs;                    /* last one used, by flow and partition */
    uint8_t *value;
    uint32_t room;               /* bytes of a datagram */
    uint64_t ops[REQUEST_KINDS]; /* written so far */
};

/* flows: with cookies. 0, -EINVAL (does not fit a datagram, too few keys for so many partitions),
 * -ENOMEM; logged. Both must outlive the stream. */
[[nodiscard]] int requests_open(struct requests *requests, const struct requests_spec *spec,
                                struct flows *flows);
void requests_close(struct requests *requests);

/* The next frame, flow after flow; frame has CAPTURE_FRAME_MAX bytes. Returns its length. */
uint32_t requests_next(struct requests *requests, uint8_t *frame);
