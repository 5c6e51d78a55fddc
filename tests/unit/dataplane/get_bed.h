/* SPDX-License-Identifier: Apache-2.0 */
/* A rig, bytes to store in it, and trains put together: for the tests of GET. */
#pragma once

#include "tests/fixture/rig.h"

#define VALUE 200000u

extern struct rig rig;
extern uint8_t value[VALUE]; /* random */

void get_bed_open(const struct rig_options *options);
void get_bed_close(void);

/* Stores value[0, len) under the key, however large. ref may be NULL. */
void get_bed_store(const char *key, uint32_t len, uint64_t *ref);

struct fetched {
    uint8_t *bytes; /* the view, zeroes where nothing came */
    uint32_t from, to, records, datagrams, largest;
    struct kvr_get_rep first;
};

/* Puts a train together; every byte of the window must come exactly once and in order. The bytes
 * are the caller's to free. */
void get_bed_fetch(const char *key, const struct kvr_get_req *like, unsigned flags,
                   uint8_t reply_max, struct fetched *fetched);
