/* SPDX-License-Identifier: Apache-2.0 */
/* poll(2) over a small table; timers in a list, since there are a few dozen at the most. */
#include "controlplane/loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>

#include "base/clock.h"

static struct watch *watch_of(struct loop *loop, int fd)
{
    for (unsigned i = 0; i < loop->nr_watches; i++)
        if (loop->watches[i].fd == fd)
            return &loop->watches[i];
    return NULL;
}

int loop_watch(struct loop *loop, int fd, short events, void (*ready)(void *owner, short revents),
               void *owner)
{
    if (loop->nr_watches == LOOP_WATCHES_MAX)
        return -ENOSPC;
    loop->watches[loop->nr_watches++] = (struct watch){
        .fd = fd, .events = events, .serial = ++loop->serial, .ready = ready, .owner = owner};
    return 0;
}

void loop_watch_for(struct loop *loop, int fd, short events)
{
    struct watch *watch = watch_of(loop, fd);

    if (watch)
        watch->events = events;
}

void loop_unwatch(struct loop *loop, int fd)
{
    struct watch *watch = watch_of(loop, fd);

    if (watch)
        *watch = loop->watches[--loop->nr_watches];
}

void loop_disarm(struct loop *loop, struct timer *timer)
{
    struct timer **at = &loop->timers;

    while (*at && *at != timer)
        at = &(*at)->next;
    if (*at)
        *at = timer->next;
    timer->armed = false;
}

void loop_arm(struct loop *loop, struct timer *timer, uint64_t after_ms, void (*fire)(void *owner),
              void *owner)
{
    loop_disarm(loop, timer);
    *timer = (struct timer){.at_ns = clock_ns() + after_ms * NS_PER_MS,
                            .fire = fire,
                            .owner = owner,
                            .next = loop->timers,
                            .armed = true};
    loop->timers = timer;
}

static int wait_ms(const struct loop *loop, int max_wait_ms)
{
    uint64_t now = clock_ns(), first = UINT64_MAX, left;

    for (const struct timer *timer = loop->timers; timer; timer = timer->next)
        if (timer->at_ns < first)
            first = timer->at_ns;
    if (first == UINT64_MAX)
        return max_wait_ms;
    left = first > now ? (first - now + NS_PER_MS - 1) / NS_PER_MS : 0;
    if (left > INT_MAX)
        left = INT_MAX;
    return max_wait_ms >= 0 && (uint64_t)max_wait_ms < left ? max_wait_ms : (int)left;
}

static struct timer *timer_due(const struct loop *loop, uint64_t now)
{
    struct timer *timer = loop->timers;

    while (timer && timer->at_ns > now)
        timer = timer->next;
    return timer;
}

static void timers_run(struct loop *loop)
{
    uint64_t now = clock_ns();
    struct timer *timer;

    while ((timer = timer_due(loop, now))) {
        loop_disarm(loop, timer);
        timer->fire(timer->owner);
    }
}

static void dispatch(struct loop *loop, const struct pollfd *fd, uint64_t serial)
{
    const struct watch *watch = watch_of(loop, fd->fd);

    if (fd->revents && watch && watch->serial == serial)
        watch->ready(watch->owner, fd->revents);
}

void loop_turn(struct loop *loop, int max_wait_ms)
{
    struct pollfd fds[LOOP_WATCHES_MAX];
    uint64_t serials[LOOP_WATCHES_MAX];
    unsigned n = loop->nr_watches;

    for (unsigned i = 0; i < n; i++) {
        fds[i] = (struct pollfd){.fd = loop->watches[i].fd, .events = loop->watches[i].events};
        serials[i] = loop->watches[i].serial;
    }
    if (poll(fds, n, wait_ms(loop, max_wait_ms)) > 0)
        for (unsigned i = 0; i < n; i++)
            dispatch(loop, &fds[i], serials[i]);
    timers_run(loop);
}
