/* SPDX-License-Identifier: Apache-2.0 */
/* The one event loop of kvraild: descriptors and timers, poll(2). Main thread only; callbacks may
 * watch, unwatch, arm and disarm anything, themselves included. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LOOP_WATCHES_MAX 256u

struct watch {
    int fd;
    short events;
    uint64_t serial; /* tells a watch from a later one on the same descriptor */
    void (*ready)(void *owner, short revents);
    void *owner;
};

struct timer {
    uint64_t at_ns;
    void (*fire)(void *owner);
    void *owner;
    struct timer *next;
    bool armed;
};

struct loop {
    struct watch watches[LOOP_WATCHES_MAX];
    unsigned nr_watches;
    uint64_t serial;
    struct timer *timers;
    bool stop;
};

/* 0, or -ENOSPC. */
[[nodiscard]] int loop_watch(struct loop *loop, int fd, short events,
                             void (*ready)(void *owner, short revents), void *owner);
/* Other events for a watched descriptor; 0 = only errors and hang-up. */
void loop_watch_for(struct loop *loop, int fd, short events);
void loop_unwatch(struct loop *loop, int fd);

/* The timer belongs to the caller and fires once, after after_ms. Arming again moves it. */
void loop_arm(struct loop *loop, struct timer *timer, uint64_t after_ms, void (*fire)(void *owner),
              void *owner);
void loop_disarm(struct loop *loop, struct timer *timer);

/* One round: waits at most max_wait_ms (-1 = until something happens), runs what is due. */
void loop_turn(struct loop *loop, int max_wait_ms);
