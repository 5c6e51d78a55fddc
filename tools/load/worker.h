/* SPDX-License-Identifier: Apache-2.0 */
/* A load thread: bursts of frames in and out of the port's queues, turn after turn, around an
 * asker. The main thread sets a phase up, launches it and reads counters meanwhile. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/spsc.h"
#include "tools/load/asker.h"
#include "tools/load/head.h"
#include "tools/load/port.h"
#include "tools/load/ticks.h"
#include "tools/schedule.h"

struct rte_mbuf;

#define WORKER_BURST 64u /* frames received at once */
#define WORKER_SEND 32u  /* datagrams written before they are sent */

/* Frames on their way into a queue of the port; more than one thread may send to it. */
struct outbox {
    unsigned nr;
    struct rte_mbuf *frames[2 * WORKER_SEND];
};

enum worker_phase { WORKER_GREET, WORKER_WARM, WORKER_MEASURE };

/* What a thread did in a phase. */
struct account {
    uint64_t cycles, busy, device; /* all; of turns that did work; of them, inside the driver */
    uint64_t rx_bursts, rx_frames, tx_bursts, tx_frames;
    uint64_t unstarted; /* open loop: due by the end, but not sent */
    uint64_t foreign;   /* frames that no thread awaits */
    uint64_t preempted; /* times that the kernel gave the CPU to somebody else */
};

/* What all threads share. */
struct crew {
    const struct load_settings *settings;
    const struct load_port *port;
    struct frame_self self; /* for those who ask for our address */
    struct ticks ticks;
    uint16_t server_port, first_port, nr_workers; /* thread i has UDP port first_port + i */
    struct worker *workers;
    uint32_t tx_locks[LOAD_QUEUES_MAX]; /* spin locks, used from two threads on */
    bool stop;                          /* atomic: the main thread wants an end */
    uint32_t nr_working;                /* atomic: threads whose own part is not done */
};

struct worker {
    struct crew *crew;
    unsigned index;
    enum worker_phase phase;
    struct asker asker;
    struct head head;
    struct schedule schedule;
    uint64_t start_ns, end_ns, quota;
    struct outbox outboxes[LOAD_QUEUES_MAX];
    unsigned nr_waiting; /* frames in outboxes */
    struct rte_mbuf *spare[WORKER_SEND];
    unsigned nr_spare;
    struct spsc inboxes[LOAD_THREADS_MAX]; /* frames that thread i received for this one */

    struct account account;
    bool failed; /* nothing was answered for seconds */
};

/* hello: see asker_create. peer: the server, as seen from thread 0. -ENOMEM. */
[[nodiscard]] int worker_create(struct worker *w, struct crew *crew, unsigned index,
                                const struct draw_table *table, const struct kvr_hello_rep *hello,
                                const struct peer *peer);
void worker_destroy(struct worker *w);
/* One phase; for load_eal_launch. */
int worker_run(void *worker);
