/* SPDX-License-Identifier: Apache-2.0 */
/* A plain reference of what a few keys may hold, and random calls checked against it. Every value
 * ever written names its key and version, so any byte that is not one of the possible values'
 * shows. One tester belongs to one thread and has its own keys and client handle; the shared keys
 * hold one value for ever. A cache may lose values at any time, so a miss is always allowed. */
#pragma once

#include <stdint.h>

#include "base/random.h"
#include "kvrail/client.h"

#define MODEL_KEYS 24u
#define MODEL_SHARED 8u
#define MODEL_POSSIBLE 24u
#define MODEL_VALUE_MAX (200u << 10)

struct model_key {
    uint64_t id;
    char name[40];
    uint32_t name_len;
    uint32_t next_version;
    uint32_t possible[MODEL_POSSIBLE]; /* versions that may be stored; absent always may be */
    uint32_t nr_possible;
};

struct tester {
    struct kvr_client *client;
    struct rng rng;
    uint32_t timeout_ms, slack_ms;
    struct model_key keys[MODEL_KEYS], shared[MODEL_SHARED];
    uint8_t *buffer, *wanted; /* MODEL_VALUE_MAX each */
    uint64_t puts, put_oks, gets, hits, misses, matches, others, timeouts, refused;
    uint64_t worst_ns; /* longest call */
    char wrong[256];   /* first contradiction; empty = none */
};

/* number: of the tester, so that its keys and its randomness differ from the others'. 0 or -ENOMEM.
 */
[[nodiscard]] int tester_setup(struct tester *tester, struct kvr_client *client, unsigned number,
                               uint64_t seed, uint32_t timeout_ms);
void tester_teardown(struct tester *tester);
/* Writes the shared keys; by one tester before the others read them. */
void tester_share(struct tester *tester);
/* One random call. False: something was wrong, see tester->wrong. */
bool tester_step(struct tester *tester);
