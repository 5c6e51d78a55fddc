/* SPDX-License-Identifier: Apache-2.0 */
/* The byte ranges of a value that are still missing (GET) or not yet acknowledged (PUT): a sorted
 * array of disjoint, non-touching, non-empty ranges. Starts inline, grows on the heap to GAPS_MAX;
 * a fill that would need more is refused, as if the bytes had been lost. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define GAPS_INLINE 4u
#define GAPS_MAX 4096u

struct range {
    uint32_t lo, hi; /* [lo, hi) */
};

struct gaps {
    struct range *ranges; /* first, or on the heap */
    uint32_t nr, room;
    struct range first[GAPS_INLINE];
};

void gaps_setup(struct gaps *gaps);
void gaps_teardown(struct gaps *gaps);

/* Forgets everything; then [0, len) is missing. */
void gaps_reset(struct gaps *gaps, uint32_t len);

/* [lo, hi) is missing as well: lo at or after the end of every range so far. False: no room. */
bool gaps_append(struct gaps *gaps, uint32_t lo, uint32_t hi);

struct kvr_range;

/* Forgets everything; then the fragments are missing that a server's nr ranges touch, up to the
 * first range that is out of order or outside [0, total). */
void gaps_of_fragments(struct gaps *gaps, const struct kvr_range *ranges, uint32_t nr,
                       uint32_t frag, uint32_t total);

/* [lo, hi) arrived. False: nothing changed, because there is no room for one more range. */
bool gaps_fill(struct gaps *gaps, uint32_t lo, uint32_t hi);

/* The first missing range of [lo, hi), cut to it. False: nothing is missing there. */
bool gaps_next(const struct gaps *gaps, uint32_t lo, uint32_t hi, struct range *range);

static inline bool gaps_none(const struct gaps *gaps)
{
    return gaps->nr == 0;
}
