/* SPDX-License-Identifier: Apache-2.0 */
/* What `kvrail replay` does with a trace, and what it counts. Threads take requests in order from a
 * common cursor; each owns its client, slots and counts; the main thread reads counts meanwhile. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include <kvrail/client.h>

#include "tools/tally.h"
#include "tools/trace.h"

/* What happens to a block that is stored, but beyond the stored prefix. */
enum replay_beyond { REPLAY_TOUCH, REPLAY_GET, REPLAY_PUT };

struct replay_settings {
    uint64_t block_bytes, depth, threads, salt, ttl_ms;
    double speed; /* of the trace's timestamps; 0 = as fast as possible */
    enum replay_beyond beyond;
    bool verify, hints;
};

struct replay_counts {
    uint64_t requests, blocks; /* done */
    uint64_t hits;             /* blocks of stored prefixes that were delivered */
    uint64_t lost;             /* of stored prefixes, but gone before they were fetched */
    uint64_t beyond;           /* stored beyond the prefix */
    uint64_t late;             /* requests that began more than 10 ms after they were due */
    uint64_t bytes_in, bytes_out;
    struct tally match, get, put, touch;
    struct tally prefix;  /* of requests with hits: until the whole prefix was delivered */
    struct tally request; /* until its last block was dealt with */
};

struct replay_run {
    const struct replay_settings *settings;
    const struct trace *trace;
    uint64_t cursor; /* next request; atomic */
    uint64_t start_ns;
};

struct replay_thread {
    struct replay_run *run;
    struct kvr_client *client;
    struct replay_counts counts;
    int error; /* -ENOMEM: the thread could not run */
};

/* Takes requests until there are none left; a pthread start routine. */
void *replay_thread_run(void *thread);

void replay_merge(struct replay_counts *dst, const struct replay_counts *src);
uint64_t replay_corrupt(const struct replay_counts *c);
uint64_t replay_errors(const struct replay_counts *c);
json_t *replay_json(const struct replay_counts *c, double seconds);
void replay_print(const struct replay_counts *c, double seconds);
