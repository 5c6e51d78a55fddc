/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "client/flow.h"

#define DATAGRAM 1472u
#define WINDOW (1u << 20)
#define US NS_PER_US

Test(flow, the_timer_starts_cautious_and_learns)
{
    struct flow flow;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    cr_assert_eq(flow_rto_ns(&flow, 1), FLOW_RTO_FIRST_NS);
    for (int i = 0; i < 100; i++)
        flow_sample(&flow, 10 * NS_PER_MS, (uint64_t)i * NS_PER_MS);
    cr_assert(flow.srtt_ns > 99 * NS_PER_MS / 10 && flow.srtt_ns <= 10 * NS_PER_MS);
    cr_assert_geq(flow_rto_ns(&flow, 1), flow.srtt_ns, "never below the round trip");
    cr_assert_lt(flow_rto_ns(&flow, 1), 15 * NS_PER_MS, "a steady path needs little reserve");
    for (int i = 0; i < 200; i++)
        flow_sample(&flow, 20 * US, NS_PER_S);
    cr_assert_eq(flow_rto_ns(&flow, 1), FLOW_RTO_MIN_NS);
}

Test(flow, backs_off_with_every_send_and_further_when_nothing_comes_back)
{
    struct flow flow;
    uint64_t last = 0;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    flow_sample(&flow, NS_PER_MS, 0);
    for (unsigned n = 1; n < 10; n++) {
        cr_assert_geq(flow_rto_ns(&flow, n), last);
        last = flow_rto_ns(&flow, n);
    }
    cr_assert_gt(last, flow_rto_ns(&flow, 1));
    for (int i = 0; i < 100000; i++)
        flow_lost(&flow, NS_PER_S);
    cr_assert_gt(flow_rto_ns(&flow, 1), last);
    cr_assert_leq(flow_rto_ns(&flow, 255), FLOW_RTO_MAX_NS);
    flow_delivered(&flow, 100, NS_PER_MS, NS_PER_S);
    cr_assert_leq(flow_rto_ns(&flow, 10), last, "one answer ends the silence");
}

Test(flow, the_window_grows_to_its_limit_while_the_delay_is_short)
{
    struct flow flow;
    uint64_t now_ns = 0;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    for (int i = 0; i < 2000; i++) {
        now_ns += 100 * US;
        flow_sample(&flow, 100 * US, now_ns);
        flow_delivered(&flow, 65536, 100 * US, now_ns);
    }
    cr_assert_eq(flow.window, WINDOW);
}

Test(flow, the_window_shrinks_as_the_delay_rises_but_not_below_two_datagrams)
{
    struct flow flow;
    uint64_t now_ns = 0;
    uint32_t before;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    flow_sample(&flow, 100 * US, 0);
    flow_delivered(&flow, 65536, 100 * US, 0);
    before = flow.window;
    for (int i = 0; i < 10; i++) {
        now_ns += 100 * NS_PER_MS;
        flow_sample(&flow, 10 * NS_PER_MS, now_ns);
        flow_delivered(&flow, 65536, 10 * NS_PER_MS, now_ns);
    }
    cr_assert_lt(flow.window, before);
    /* The shortest delay is remembered for some seconds only, so keep showing it. */
    for (int i = 0; i < 200; i++) {
        now_ns += 100 * NS_PER_MS;
        flow_sample(&flow, 100 * US, now_ns);
        flow_sample(&flow, 10 * NS_PER_MS, now_ns);
        flow_delivered(&flow, 1, 10 * NS_PER_MS, now_ns);
    }
    cr_assert_eq(flow.window, 2 * DATAGRAM);
    cr_assert(flow_has_room(&flow, 10 * DATAGRAM), "something always may fly");
    flow.flying = DATAGRAM;
    cr_assert(flow_has_room(&flow, DATAGRAM));
    cr_assert_not(flow_has_room(&flow, DATAGRAM + 1));
}

Test(flow, one_burst_of_loss_costs_one_cut)
{
    struct flow flow;
    uint32_t before;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    flow_sample(&flow, NS_PER_MS, 0);
    before = flow.window;
    for (int i = 0; i < 50; i++)
        flow_lost(&flow, NS_PER_S);
    cr_assert_lt(flow.window, before);
    cr_assert_geq(flow.window, before / 10 * 7);
}

Test(flow, loss_without_delay_leaves_enough_to_go_on_and_silence_does_not)
{
    struct flow flow;
    uint64_t now_ns = 0;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    flow_sample(&flow, NS_PER_MS, 0);
    for (int i = 0; i < 60; i++)
        flow_lost(&flow, now_ns += 10 * NS_PER_MS);
    cr_assert_gt(flow.window, 10 * DATAGRAM);
    for (int i = 0; i < 60; i++)
        flow_lost(&flow, now_ns += 10 * NS_PER_MS);
    cr_assert_eq(flow.window, 2 * DATAGRAM);
}

Test(flow, loss_at_random_leaves_the_window_and_much_of_it_does_not)
{
    struct flow flow;
    uint64_t now_ns = 0;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    for (int i = 1; i < 20000; i++) {
        now_ns += 10 * US;
        flow_sample(&flow, 100 * US, now_ns);
        flow_delivered(&flow, DATAGRAM, 100 * US, now_ns);
        if (i % 50 == 0)
            flow_missed(&flow, 1, now_ns);
    }
    cr_assert_eq(flow.window, WINDOW, "two percent are no congestion");
    for (int i = 1; i < 200; i++) {
        now_ns += 10 * US;
        flow_delivered(&flow, DATAGRAM, 0, now_ns);
        if (i % 3 == 0)
            flow_missed(&flow, 1, now_ns);
    }
    cr_assert_lt(flow.window, WINDOW / 2, "a queue that overflows is");
}

Test(flow, a_timer_that_was_wrong_takes_longer_for_a_while)
{
    struct flow flow;
    uint64_t before;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    for (int i = 0; i < 100; i++)
        flow_sample(&flow, 20 * US, (uint64_t)i * US);
    before = flow_rto_ns(&flow, 1);
    flow_misjudged(&flow, true);
    cr_assert_gt(flow_rto_ns(&flow, 1), before);
    for (int i = 0; i < 100; i++)
        flow_misjudged(&flow, true);
    cr_assert_leq(flow_rto_ns(&flow, 1), FLOW_FLOOR_MAX_NS);
    for (int i = 0; i < 10000; i++)
        flow_sample(&flow, 20 * US, NS_PER_MS);
    cr_assert_lt(flow_rto_ns(&flow, 1), before * 11 / 10, "and is forgiven");
}

Test(flow, the_order_of_answers_is_trusted_less_when_it_was_wrong)
{
    struct flow flow;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    cr_assert_eq(flow.reorder, FLOW_REORDER_LEAST);
    for (int i = 0; i < 20; i++)
        flow_misjudged(&flow, false);
    cr_assert_eq(flow.reorder, FLOW_REORDER_MOST);
    for (uint64_t s = 1; s < 60; s++)
        flow_sample(&flow, 20 * US, 2 * s * NS_PER_S);
    cr_assert_eq(flow.reorder, FLOW_REORDER_LEAST);
}

Test(flow, a_full_buffer_of_our_own_shrinks_the_window_once_a_round_trip)
{
    struct flow flow;
    uint32_t before;

    flow_setup(&flow, WINDOW, DATAGRAM, 0);
    flow_sample(&flow, NS_PER_MS, 0);
    before = flow.window;
    for (int i = 0; i < 10; i++)
        flow_overflowed(&flow, NS_PER_S);
    cr_assert_lt(flow.window, before);
    cr_assert_geq(flow.window, before / 10 * 7);
    flow_overflowed(&flow, NS_PER_S + 2 * NS_PER_MS);
    cr_assert_lt(flow.window, before / 10 * 7);
}
