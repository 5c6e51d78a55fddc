/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep goes round all places eight times within a timeout, a piece at a time. */
#include "tools/load/flights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 64u
#define ROUNDS 8u

int flights_create(struct flights *f, uint32_t nr, uint32_t ops, uint64_t timeout_ns)
{
    size_t size = sizeof(struct flight) + ops * sizeof(struct flight_op);

    size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    *f = (struct flights){.nr = nr, .size = (uint32_t)size, .timeout_ns = timeout_ns};
    f->places = aligned_alloc(CACHE_LINE, nr * size);
    f->free_places = malloc(nr * sizeof(f->free_places[0]));
    if (!f->places || !f->free_places) {
        flights_destroy(f);
        return -ENOMEM;
    }
    memset(f->places, 0, nr * size);
    for (uint32_t place = nr; place-- > 0;)
        f->free_places[f->nr_free++] = place;
    return 0;
}

void flights_destroy(struct flights *f)
{
    free(f->places);
    free(f->free_places);
    *f = (struct flights){0};
}

struct flight *flights_overdue(struct flights *f, uint64_t now_ns)
{
    while (now_ns >= f->sweep_ns) {
        struct flight *flight = flights_at(f, f->cursor);

        if (flight->id && now_ns - flight->sent_ns >= f->timeout_ns && now_ns > flight->sent_ns)
            return flight;
        f->cursor = f->cursor + 1 < f->nr ? f->cursor + 1 : 0;
        if (f->cursor % PIECE == 0) {
            uint64_t pause = f->timeout_ns / ROUNDS * PIECE / f->nr;

            f->sweep_ns =
                now_ns + (pause < f->timeout_ns / ROUNDS ? pause : f->timeout_ns / ROUNDS);
        }
    }
    return NULL;
}
