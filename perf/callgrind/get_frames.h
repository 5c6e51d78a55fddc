/* SPDX-License-Identifier: Apache-2.0 */
/* The client of the measured path: makes frames with GETs of known keys and checks every value
 * that comes back. Works on frames in packet buffers of the port; never measured itself. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "poll_core.h"

#define GET_KEY_LEN 16u

struct rte_mbuf;

struct get_frames {
    struct poll_core *poll;
    struct peer server; /* as the client addresses it */
    uint64_t cookie;
    uint64_t next_id;
    uint64_t keys;
    uint32_t value_len;
    unsigned ops; /* of a datagram */
    bool uniform;
    struct zipf zipf;
    struct rng rng;
    uint32_t max_datagram;
    uint64_t first_id;                  /* of the burst in flight */
    uint64_t asked[BURST][KVR_OPS_MAX]; /* key ids of the burst in flight */
    uint64_t replies, hits, wrong;      /* datagrams; values that were right; everything else */
    unsigned request_len, reply_len;    /* frames, of the last burst */
};

/* Stores all keys and proves the client's address: runs `turn` after putting the HELLO on the wire.
 * -errno. */
[[nodiscard]] int get_frames_open(struct get_frames *frames, struct poll_core *poll,
                                  void (*turn)(struct core *core));

/* Puts a burst of n requests on the wire; how many it could. */
unsigned get_frames_send(struct get_frames *frames, unsigned n);

/* Takes the replies off the wire and checks them. */
void get_frames_receive(struct get_frames *frames);
