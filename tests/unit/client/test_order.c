/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "base/random.h"
#include "client/order.h"

Test(order, numbers_count_from_one_and_the_floor_follows_what_is_finished)
{
    struct order order;

    order_reset(&order);
    cr_assert_eq(order.floor, 1);
    cr_assert_eq(order_take(&order), 1);
    cr_assert_eq(order_take(&order), 2);
    cr_assert_eq(order_take(&order), 3);
    order_finish(&order, 2, false);
    cr_assert_eq(order.floor, 1, "1 is unfinished");
    order_finish(&order, 1, false);
    cr_assert_eq(order.floor, 3);
    order_finish(&order, 3, false);
    cr_assert_eq(order.floor, 4);
    order_finish(&order, 3, false);
    order_finish(&order, 9, true);
    cr_assert_eq(order.floor, 4, "numbers that are not open change nothing");
    cr_assert_not(order_fenced(&order));
}

Test(order, is_full_before_the_servers_window_is)
{
    struct order order;

    order_reset(&order);
    while (!order_full(&order))
        order_take(&order);
    cr_assert_eq(order.next - order.floor, ORDER_OPEN_MAX);
    cr_assert_lt(order.next - order.floor, KVR_WINDOW);
    for (uint32_t seq = 2; seq < order.next; seq++)
        order_finish(&order, seq, false);
    cr_assert(order_full(&order), "the first holds the floor");
    order_finish(&order, 1, false);
    cr_assert_not(order_full(&order));
    cr_assert_eq(order.floor, order.next);
}

Test(order, reads_wait_after_a_given_up_write_until_the_server_knows)
{
    struct order order;
    uint32_t lost, next;

    order_reset(&order);
    order_finish(&order, order_take(&order), false);
    cr_assert_not(order_fenced(&order), "an answered write needs no fence");
    lost = order_take(&order);
    order_finish(&order, lost, true);
    cr_assert(order_fenced(&order));
    order_heard(&order, lost);
    cr_assert(order_fenced(&order), "that floor does not yet exclude it");
    next = order_take(&order);
    order_heard(&order, order.floor);
    cr_assert_not(order_fenced(&order));
    order_finish(&order, next, false);
}

Test(order, disbelieves_a_floor_that_was_never_sent)
{
    struct order order;

    order_reset(&order);
    order_finish(&order, order_take(&order), true);
    order_heard(&order, 1000);
    cr_assert(order_fenced(&order));
}

Test(order, wraps_around_and_leaves_out_zero)
{
    struct order order;
    struct rng rng;

    order_reset(&order);
    order.next = order.floor = order.known = order.fence = UINT32_MAX - 500;
    rng_seed(&rng, 3);
    for (int i = 0; i < 4; i++) {
        uint32_t open[200];

        for (unsigned n = 0; n < 200; n++) {
            open[n] = order_take(&order);
            cr_assert_neq(open[n], 0);
        }
        for (unsigned n = 200; n > 0; n--) {
            uint64_t pick = rng_below(&rng, n);
            order_finish(&order, open[pick], pick % 7 == 0);
            open[pick] = open[n - 1];
        }
        cr_assert_eq(order.floor, order.next);
    }
    cr_assert_lt(order.next, 1000, "it has wrapped");
    order_heard(&order, order.floor);
    cr_assert_not(order_fenced(&order));
}
