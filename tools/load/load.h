/* SPDX-License-Identifier: Apache-2.0 */
/* A run of kvrail-load, and what it found. Main thread. */
#pragma once

#include "tools/bench.h"
#include "tools/cli.h"
#include "tools/load/settings.h"

struct load_thread_result {
    unsigned cpu;
    uint64_t ops, preempted;
    double busy, cycles_per_op, engine_cycles_per_op;
};

struct load_result {
    struct bench_result bench;
    char driver[32];
    bool hugepages;
    uint64_t tsc_hz;
    uint64_t tx_datagrams, rx_datagrams, lost, late, invalid, foreign;
    uint64_t rx_frames, rx_bursts, tx_frames, tx_bursts;
    uint64_t match_keys, match_found;
    uint64_t proven, overtaken, unread; /* read back after a PUT: see asker */
    struct load_thread_result threads[LOAD_THREADS_MAX];
    struct load_thread_result mean; /* of all threads: busy, cycles */
};

/* Runs it; shows progress. An exit code, after the error was shown. */
int load_run(const struct cli *cli, const struct load_settings *s, const char *url,
             struct load_result *r);
void load_report(const struct cli *cli, const struct load_settings *s, const struct load_result *r,
                 const char *url);
