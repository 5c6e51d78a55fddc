/* SPDX-License-Identifier: Apache-2.0 */
/* The poll loop: start reading here. A turn takes a burst from the transport, runs it through
 * parse, dispatch, op and reply to its end (engine.c), does the background work, sends, and is
 * then quiescent for RCU. Nothing in a turn waits; only an idle core under `sleep` does. */
#include <sys/prctl.h>
#include <time.h>

#include "base/cacheline.h"
#include "base/clock.h"
#include "dataplane/core.h"
#include "dataplane/reply.h"
#include "shm/reclaim.h"

#define EMPTY_BEFORE_SLEEP 256u /* turns */
#define SLACK_NS 1000ul         /* of sleeps: the kernel's own is 50 us */
#define SLEEP_MIN_NS 20000u
#define SLEEP_MAX_NS 1000000u  /* soon reached */
#define SLEEP_LONG_NS 3000000u /* reached after some seconds without work */
#define SLEEP_LONGER_NS 500u
#define SLEEP_LOCAL_NS 20000u    /* while a client on this host was heard of in LOCAL_RECENT_NS: */
#define LOCAL_RECENT_NS NS_PER_S /* its rings wake nobody */

static bool turn(struct core *core, uint64_t now_ns)
{
    struct transport *transport = core->transport;
    struct request *requests[BURST];
    unsigned n, lost;
    bool any;

    core_tick(core, now_ns);
    n = transport->ops->rx(transport, now_ns, requests, BURST);
    engine_burst(core, requests, n);
    any = engine_turn(core);
    lost = transport->ops->flush(transport);
    if (unlikely(lost > 0))
        counter_add(&core->stats->tx_failed, lost);
    counter_add(&core->stats->loops, 1);
    counter_set(&core->stats->heartbeat_ns, now_ns);
    return n > 0 || any;
}

/* After an empty turn. A sleeping core holds no block: nobody waits for it. Returns the time. */
static uint64_t rest(enum idle_policy idle, unsigned empty, uint64_t now_ns, uint64_t local_ns,
                     uint64_t *sleep_ns)
{
    struct timespec ts;

    if (idle == IDLE_SPIN)
        return now_ns;
    cpu_relax();
    if (idle != IDLE_SLEEP || empty < EMPTY_BEFORE_SLEEP)
        return now_ns;
    if (now_ns - local_ns < LOCAL_RECENT_NS)
        *sleep_ns = SLEEP_LOCAL_NS;
    ts = (struct timespec){.tv_nsec = (long)*sleep_ns};
    rcu_reader_offline();
    nanosleep(&ts, NULL);
    rcu_reader_online();
    if (*sleep_ns < SLEEP_MAX_NS)
        *sleep_ns *= 2;
    else if (*sleep_ns < SLEEP_LONG_NS)
        *sleep_ns += SLEEP_LONGER_NS;
    return clock_ns();
}

void loop_run(struct core *core)
{
    uint64_t now_ns = clock_ns(), sleep_ns = SLEEP_MIN_NS;
    unsigned empty = 0;

    rcu_reader_register();
    (void)prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
    while (!__atomic_load_n(&core->stop, __ATOMIC_RELAXED)) {
        uint64_t before_ns = now_ns;
        bool busy = turn(core, now_ns);
        enum idle_policy idle = core->now->idle; /* core->now may be freed from here on */

        rcu_reader_quiescent();
        now_ns = clock_ns();
        if (busy) {
            counter_add(&core->stats->busy_ns, now_ns - before_ns);
            empty = 0;
            sleep_ns = SLEEP_MIN_NS;
        } else {
            empty++;
            now_ns = rest(idle, empty, now_ns, core->local_ns, &sleep_ns);
        }
    }
    answer_latency(core, now_ns);
    rcu_reader_unregister();
}
