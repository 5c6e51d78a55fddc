/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "shm/reclaim.h"

static bool take_within(struct reclaim_lane *lane, uint64_t *word, uint32_t ms)
{
    struct timespec pause = {.tv_nsec = 100000};

    for (uint64_t end = clock_ns() + ms * NS_PER_MS; clock_ns() < end; nanosleep(&pause, NULL))
        if (reclaim_take(lane, word))
            return true;
    return false;
}

Test(reclaim, gives_words_back_in_order_when_there_are_no_readers)
{
    struct reclaimer *reclaimer;
    struct reclaim_lane *lane;
    uint64_t word;

    cr_assert_eq(reclaimer_create(NULL, &reclaimer), 0);
    cr_assert_eq(reclaim_lane_create(reclaimer, 100, &lane), 0);
    cr_assert_not(reclaim_take(lane, &word));
    for (uint64_t i = 0; i < 100; i++)
        cr_assert(reclaim_defer(lane, i));
    for (uint64_t i = 0; i < 100; i++) {
        cr_assert(take_within(lane, &word, 2000));
        cr_assert_eq(word, i);
    }
    reclaim_lane_destroy(lane);
    reclaimer_destroy(reclaimer);
}

Test(reclaim, takes_no_more_than_the_lane_holds)
{
    struct reclaimer *reclaimer;
    struct reclaim_lane *lane;
    uint64_t word;

    cr_assert_eq(reclaimer_create(NULL, &reclaimer), 0);
    cr_assert_eq(reclaim_lane_create(reclaimer, 5, &lane), 0);
    for (uint64_t i = 0; i < 8; i++)
        cr_assert(reclaim_defer(lane, i));
    cr_assert_not(reclaim_defer(lane, 8));
    cr_assert(take_within(lane, &word, 2000));
    cr_assert(reclaim_defer(lane, 8));
    reclaim_lane_destroy(lane);
    reclaimer_destroy(reclaimer);
}

struct reader_state {
    bool in, leave; /* atomic */
    bool offline;   /* leaves by going offline, else by a quiescent state */
};

static void *reader_main(void *arg)
{
    struct reader_state *state = arg;

    rcu_reader_register();
    __atomic_store_n(&state->in, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&state->leave, __ATOMIC_ACQUIRE))
        ;
    if (state->offline)
        rcu_reader_offline();
    else
        rcu_reader_quiescent();
    __atomic_store_n(&state->in, false, __ATOMIC_RELEASE);
    while (__atomic_load_n(&state->leave, __ATOMIC_ACQUIRE)) {
        if (!state->offline)
            rcu_reader_quiescent();
    }
    if (state->offline)
        rcu_reader_online();
    rcu_reader_unregister();
    return NULL;
}

static void reader_holds(bool offline)
{
    struct reader_state state = {.offline = offline};
    struct reclaimer *reclaimer;
    struct reclaim_lane *lane;
    pthread_t thread;
    uint64_t word;

    cr_assert_eq(reclaimer_create(NULL, &reclaimer), 0);
    cr_assert_eq(reclaim_lane_create(reclaimer, 8, &lane), 0);
    cr_assert_eq(pthread_create(&thread, NULL, reader_main, &state), 0);
    while (!__atomic_load_n(&state.in, __ATOMIC_ACQUIRE))
        ;
    cr_assert(reclaim_defer(lane, 7));
    cr_assert_not(take_within(lane, &word, 50), "a reader still looks");
    __atomic_store_n(&state.leave, true, __ATOMIC_RELEASE);
    cr_assert(take_within(lane, &word, 2000));
    cr_assert_eq(word, 7);
    __atomic_store_n(&state.leave, false, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    reclaim_lane_destroy(lane);
    reclaimer_destroy(reclaimer);
}

Test(reclaim, waits_for_a_reader_until_it_is_quiescent)
{
    reader_holds(false);
}

Test(reclaim, waits_for_a_reader_until_it_is_offline)
{
    reader_holds(true);
}

/* An online reader that opens and closes lanes must not wait for a grace period that waits for it.
 */
Test(reclaim, lets_an_online_reader_close_a_lane_that_is_in_use)
{
    struct reclaimer *reclaimer;
    struct reclaim_lane *lane;

    cr_assert_eq(reclaimer_create(NULL, &reclaimer), 0);
    rcu_reader_register();
    for (int i = 0; i < 200; i++) {
        cr_assert_eq(reclaim_lane_create(reclaimer, 8, &lane), 0);
        cr_assert(reclaim_defer(lane, 1));
        if (i % 10 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
        reclaim_lane_destroy(lane);
        rcu_reader_quiescent();
    }
    rcu_reader_unregister();
    reclaimer_destroy(reclaimer);
}
