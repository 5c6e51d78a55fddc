/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "tools/load/flights.h"

#define TIMEOUT 8000u

static struct flights flights;

static void create(uint32_t nr)
{
    cr_assert_eq(flights_create(&flights, nr, 16, TIMEOUT), 0);
}

TestSuite(flights, .timeout = 20);

Test(flights, an_answer_finds_its_flight_once)
{
    struct flight *first, *second;
    uint64_t id;

    create(4);
    first = flights_take(&flights);
    id = first->id;
    cr_assert_eq(flights_find(&flights, id), first);
    cr_assert_eq(flights_busy(&flights), 1);
    flights_end(&flights, first);
    cr_assert_null(flights_find(&flights, id), "it has ended");
    second = flights_take(&flights);
    cr_assert_eq(second, first, "the place used last comes first");
    cr_assert_neq(second->id, id, "no id comes twice");
    cr_assert_null(flights_find(&flights, id));
    flights_destroy(&flights);
}

Test(flights, ids_of_no_place_or_of_places_that_are_not_there_find_nothing)
{
    create(4);
    flights_take(&flights);
    cr_assert_null(flights_find(&flights, 0));
    cr_assert_null(flights_find(&flights, flights_id(&flights, FLIGHT_NONE)));
    for (uint32_t place = 0; place < 70000; place++)
        cr_assert_null(flights_find(&flights, 77ull << FLIGHT_BITS | place));
    flights_destroy(&flights);
}

Test(flights, all_places_can_be_used_at_once)
{
    uint64_t ids[100];

    create(100);
    for (int i = 0; i < 100; i++) {
        struct flight *flight = flights_take(&flights);

        flight->ops[15].id = (uint64_t)i;
        ids[i] = flight->id;
    }
    cr_assert_eq(flights.nr_free, 0);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(flights_find(&flights, ids[i])->ops[15].id, (uint64_t)i);
    flights_destroy(&flights);
}

/* Every turn of a loop looks, as a thread does. */
static unsigned expire(uint64_t from, uint64_t to)
{
    unsigned nr = 0;

    for (uint64_t now = from; now <= to; now += 10) {
        struct flight *flight;

        while ((flight = flights_overdue(&flights, now))) {
            cr_assert_geq(now - flight->sent_ns, TIMEOUT);
            flights_end(&flights, flight);
            nr++;
        }
    }
    return nr;
}

Test(flights, what_is_overdue_is_found_soon_and_nothing_else_is)
{
    for (uint32_t nr = 1; nr < 1000; nr = nr * 3 + 1) {
        create(nr);
        for (uint32_t i = 0; i < nr; i++)
            flights_take(&flights)->sent_ns = i % 2 ? 1000 : 21000;
        cr_assert_eq(expire(0, 1000 + TIMEOUT - 1), 0);
        cr_assert_eq(expire(1000 + TIMEOUT, 1000 + TIMEOUT + TIMEOUT / 4), nr / 2,
                     "%u places, within a quarter of the timeout", nr);
        cr_assert_eq(flights_busy(&flights), nr - nr / 2);
        cr_assert_eq(expire(21000 + TIMEOUT, 21000 + TIMEOUT + TIMEOUT / 4), nr - nr / 2);
        flights_destroy(&flights);
    }
}
