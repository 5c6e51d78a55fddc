/* SPDX-License-Identifier: Apache-2.0 */
/* One thread of a local client, and what it is to do. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/random.h"
#include "kvrail/client.h"

#define KEY_SIZE_MAX 256u
#define BATCH_MAX 1024u

struct work {
    struct kvr_client *client;
    uint64_t nr_keys;
    uint32_t key_size, size, chain, batch;
    double seconds, zipf; /* zipf 0: uniform */
    struct rng rng;
    struct zipf ranks;
    double ns_per_tick;
};

/* The number of the next key. */
uint64_t work_draw(struct work *work);

/* The key of a number: the number, then bytes that are the same in all keys. */
static inline const uint8_t *work_key(const struct work *work, uint64_t number, uint8_t *key)
{
    memcpy(key, &number, sizeof(number));
    memset(key + sizeof(number), 0x6b, work->key_size - sizeof(number));
    return key;
}

/* The measured loops: each adds its figures to report. False: something was wrong, and told. */
bool mode_hit(struct work *work, json_t *report);
bool mode_hits(struct work *work, json_t *report);
bool mode_match(struct work *work, json_t *report);
bool mode_copy(struct work *work, json_t *report);
bool mode_count(struct work *work, json_t *report);
