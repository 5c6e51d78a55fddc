/* SPDX-License-Identifier: Apache-2.0 */
/* The poll loop on a thread of its own. The mem transport is filled before it starts. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "guest.h"
#include "rig.h"
#include "shm/reclaim.h"

static struct rig rig;
static pthread_t thread;

static void open_rig(void)
{
    struct rig_options options;

    rig_defaults(&options);
    options.live.idle = IDLE_SLEEP;
    options.local = true;
    rig_open(&rig, &options);
    rig_hello(&rig);
    rcu_reader_offline(); /* this thread only waits from here on */
}

static void close_rig(void)
{
    rcu_reader_online();
    rig_close(&rig);
}

TestSuite(loop, .init = open_rig, .fini = close_rig);

static void *run(void *core)
{
    loop_run(core);
    return NULL;
}

static void start(void)
{
    cr_assert_eq(pthread_create(&thread, NULL, run, rig.cores[0]), 0);
}

static void stop(void)
{
    __atomic_store_n(&rig.cores[0]->stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* Waits for a counter to reach n, ten seconds at the most. */
static void await(const uint64_t *counter, uint64_t n)
{
    for (unsigned i = 0; i < 10000 && counter_read(counter) < n; i++)
        nap();
    cr_assert_geq(counter_read(counter), n);
}

Test(loop, serves_what_arrives_beats_and_ends_when_told)
{
    struct core_stats *stats = rig.cores[0]->stats;
    uint64_t before = counter_read(&stats->tx_datagrams);
    struct replies replies;

    for (unsigned i = 0; i < 100; i++) {
        struct message m;

        rig_begin(&rig, &m);
        m.hdr.id = i;
        message_get(&m, "nothing", NULL, 0);
        rig_inject(&rig, &m);
    }
    start();
    await(&stats->tx_datagrams, before + 100);
    await(&stats->loops, 300); /* asleep by now, and still turning */
    cr_assert_gt(counter_read(&stats->heartbeat_ns), rig.now_ns);
    stop();
    rig_replies(&rig, &replies);
    cr_assert_eq(replies.nr, 100);
    replies_free(&replies);
    cr_assert_gt(counter_read(&stats->busy_ns), 0);
    cr_assert_eq(stats->latency[KVR_GET].count, 100);
}

Test(loop, takes_new_settings_while_running_or_asleep)
{
    static const char *const policies[] = {"lfu", "fifo", "lru"};
    struct core *core = rig.cores[0];
    struct live_settings live = *core->live;

    start();
    for (unsigned i = 0; i < 30; i++) {
        snprintf(live.policy, sizeof(live.policy), "%s", policies[i % 3]);
        live.idle = (enum idle_policy)(i % 3);
        live.train_max = 1000 + i;
        cr_assert_eq(live_publish(&core, 1, &live), 0);
        if (i % 8 == 0)
            nap();
    }
    await(&core->stats->loops, counter_read(&core->stats->loops) + 3); /* it may have slept */
    stop();
    cr_assert_str_eq(core->policy, policies[29 % 3]);
    cr_assert_eq(core->now->train_max, 1029);
}

Test(loop, keeps_the_policy_it_has_when_the_new_one_is_unknown)
{
    struct core *core = rig.cores[0];
    struct live_settings live = *core->live;

    snprintf(live.policy, sizeof(live.policy), "nonsense");
    start();
    cr_assert_eq(live_publish(&core, 1, &live), 0);
    await(&core->stats->loops, 100);
    stop();
    cr_assert_eq(partition_audit(core->partitions[0]), 0);
}

/* Turns of the loop in a fifth of a second. */
static uint64_t turns(void)
{
    const uint64_t *loops = &rig.cores[0]->stats->loops;
    uint64_t before = counter_read(loops);

    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    return counter_read(loops) - before;
}

Test(loop, looks_more_often_for_a_while_after_a_client_on_this_host_asked)
{
    struct message message;
    struct guest guest;
    uint64_t alone;

    guest_open(&guest, &rig, 7, false);
    guest.waits = true;
    start();
    nap();
    (void)turns();
    alone = turns();
    guest_begin(&guest, &message);
    message_ping(&message, 1);
    cr_assert_eq(guest_status(&guest, &message, NULL, NULL), KVR_OK);
    cr_assert_gt(turns(), 2 * alone);
    stop();
    guest_close(&guest);
}
