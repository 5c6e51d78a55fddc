/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for datagrams and times: one epoll set with every socket and, for those who wait on
 * kvr_fd themselves, a timer. */
#include "client/poll.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client/datagram.h"
#include "client/link.h"
#include "client/local.h"
#include "client/pack.h"
#include "client/session.h"
#include "client/task.h"

#define TIMER_EVENT UINT32_MAX
#define EVENTS_MAX 16
#define LINGER_BYTES 16384u
#define LINGER_TRIES 8u
#define LINGER_NS (100 * NS_PER_US)
#define GLANCE_NS (100 * NS_PER_US) /* at rings, for those who wait on kvr_fd */
#define ROUNDS_MAX 8u    /* of IN_MAX datagrams before timers and sending get their turn */
#define DRAIN_ROUNDS 64u /* before anything counts as lost */

bool wake_create(struct kvr_client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = TIMER_EVENT};
    struct wake *wake = calloc(1, sizeof(*wake));

    client->wake = wake;
    if (!wake)
        return false;
    wake->armed_ns = NEVER;
    wake->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    wake->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return wake->timer_fd >= 0 && wake->epoll_fd >= 0 &&
           epoll_ctl(wake->epoll_fd, EPOLL_CTL_ADD, wake->timer_fd, &event) == 0;
}

void wake_destroy(struct kvr_client *client)
{
    if (!client->wake)
        return;
    if (client->wake->timer_fd >= 0)
        close(client->wake->timer_fd);
    if (client->wake->epoll_fd >= 0)
        close(client->wake->epoll_fd);
    free(client->wake);
}

/* Whether anything came. */
static bool receive(struct link *link, unsigned rounds)
{
    bool any = false;

    for (unsigned round = 0; round < rounds; round++) {
        unsigned n = link_receive(link);

        any |= n > 0;
        if (n < IN_MAX)
            break;
    }
    return any;
}

static bool expects(const struct link *link)
{
    return link->flow.flying > 0 || link->hello_id != 0;
}

/* Whoever was away for long finds the answers waiting: they are not lost. */
static void drain(struct kvr_client *client)
{
    for (uint32_t p = 0; p < client->nr_links; p++)
        if (client->links[p] && expects(client->links[p]))
            receive(client->links[p], DRAIN_ROUNDS);
}

static void look_at_time(struct kvr_client *client)
{
    client->now_ns = clock_ns();
    if (client->local)
        local_follow(client);
    session_follow(client);
    if (client->now_ns >= client->next_due_ns) {
        drain(client);
        datagrams_expire(client);
        sessions_expire(client);
    }
    tasks_expire(client);
}

void poll_turn(struct kvr_client *client)
{
    look_at_time(client);
    pack_all(client);
}

static uint64_t next_time(const struct kvr_client *client)
{
    uint64_t next = client->next_due_ns;

    if (client->next_deadline_ns < next)
        next = client->next_deadline_ns;
    return client->next_delayed_ns < next ? client->next_delayed_ns : next;
}

static void set_timer(struct wake *wake, uint64_t at_ns)
{
    struct itimerspec when = {0};

    if (at_ns == wake->armed_ns)
        return;
    wake->armed_ns = at_ns;
    if (at_ns != NEVER) {
        when.it_value.tv_sec = (time_t)(at_ns / NS_PER_S);
        when.it_value.tv_nsec = (long)(at_ns % NS_PER_S);
    }
    (void)timerfd_settime(wake->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void poll_arm(struct kvr_client *client)
{
    if (!client->wake->watched)
        return;
    if (client->wake->asked || !TAILQ_EMPTY(&client->completed) || client->nr_ended > 0)
        set_timer(client->wake, 1);
    else if (client->local && !TAILQ_EMPTY(&client->tasks))
        set_timer(client->wake, client->now_ns + GLANCE_NS);
    else
        set_timer(client->wake, next_time(client));
}

static void drain_timer(struct wake *wake)
{
    uint64_t times;

    (void)!read(wake->timer_fd, &times, sizeof(times));
    wake->armed_ns = NEVER;
}

static void take_events(struct kvr_client *client, const struct epoll_event *events, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t p = events[i].data.u32;

        if (p == TIMER_EVENT) {
            drain_timer(client->wake);
            continue;
        }
        receive(client->links[p], ROUNDS_MAX);
    }
}

static int wait_events(const struct kvr_client *client, struct epoll_event *events,
                       uint64_t until_ns)
{
    uint64_t wait_ns = until_ns > client->now_ns ? until_ns - client->now_ns : 0;
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / NS_PER_S),
                            .tv_nsec = (long)(wait_ns % NS_PER_S)};
    int n = epoll_pwait2(client->wake->epoll_fd, events, EVENTS_MAX,
                         until_ns == NEVER ? NULL : &wait, NULL);

    if (n < 0 && errno == ENOSYS) {
        uint64_t wait_ms = (wait_ns + NS_PER_MS - 1) / NS_PER_MS;
        n = epoll_wait(client->wake->epoll_fd, events, EVENTS_MAX,
                       wait_ms > 1000 ? 1000 : (int)wait_ms);
    }
    return n;
}

/* While long values are on their way the next datagram is a few microseconds off: sooner here than
 * by going to sleep and being woken. Whoever else wants this core gets it in between; where
 * somebody does, sleep is better: who yields comes back when all others had their share, perhaps
 * behind the deadlines of calls. */
static bool linger(struct kvr_client *client)
{
    uint64_t until_ns = clock_ns() + LINGER_NS;

    for (unsigned i = 0; i < LINGER_TRIES && client->flying_bytes >= LINGER_BYTES; i++) {
        for (uint32_t p = 0; p < client->nr_links; p++) {
            struct link *link = client->links[p];

            if (link && link->flow.flying > 0 && receive(link, ROUNDS_MAX))
                return true;
        }
        sched_yield();
        if (clock_ns() > until_ns)
            return false;
    }
    return false;
}

void poll_wait(struct kvr_client *client, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX] = {0};
    uint64_t next = next_time(client);

    if (client->local) {
        if (client->wake->watched)
            drain_timer(client->wake);
        ring_wait(client, next < until_ns ? next : until_ns);
        poll_turn(client);
        return;
    }
    if (until_ns > client->now_ns && linger(client)) {
        poll_turn(client);
        return;
    }
    take_events(client, events, wait_events(client, events, next < until_ns ? next : until_ns));
    poll_turn(client);
}

enum kvr_status poll_call(struct kvr_client *client, struct kvr_call *call,
                          const struct task_kind *kind)
{
    enum kvr_status status;
    uint32_t waited = 1;

    client->now_ns = clock_ns();
    status = task_start_as(client, call, kind, &waited);
    if (status != KVR_OK)
        return status;
    poll_until(client, &waited);
    return call->status;
}

void poll_until(struct kvr_client *client, const uint32_t *waited)
{
    poll_turn(client);
    while (*waited > 0)
        poll_wait(client, NEVER);
    poll_arm(client);
}
