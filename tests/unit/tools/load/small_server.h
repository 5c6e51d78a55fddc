/* SPDX-License-Identifier: Apache-2.0 */
/* A server of a few lines and a wire that loses, doubles and reorders datagrams, for tests of what
 * an asker says. Values are kept in memory; statuses are remembered by seq. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/proto.h"
#include "tools/load/asker.h"

#define SMALL_KEYS 200u
#define SMALL_COOKIE 4711u

struct small_server {
    const struct load_settings *settings;
    struct kvr_hello_rep hello;
    uint64_t cookie;
    unsigned loss, doubles; /* of 1,000 datagrams each way */
    bool reorders;
    bool lies;          /* flips a byte of what a GET brings */
    bool forgets;       /* drops every upload at once */
    bool mute;          /* answers HELLO only */
    bool names_nothing; /* misses fragments, but does not say which */
    uint8_t busy;       /* header status of the next datagrams .. */
    unsigned nr_busy;   /* .. so many */
    uint64_t writes, quiet, commits, incompletes, aborts, matches, gets, lost;
    uint64_t present; /* of MATCH: ids below are stored */
};

void small_server_setup(struct small_server *s, const struct load_settings *settings);
void small_server_teardown(struct small_server *s);
/* Lets the asker say all it wants to now (new ops too if told so), the server answer, and the
 * asker hear it. */
void small_server_turn(struct small_server *s, struct asker *a, bool starts, uint64_t now_ns);
/* Whether the stored value of id is whole and of one version; false also where none is stored. */
bool small_server_holds(const struct small_server *s, uint64_t id);
/* Uploads that are open. */
unsigned small_server_open(const struct small_server *s);
