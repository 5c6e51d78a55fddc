/* SPDX-License-Identifier: Apache-2.0 */
/* Interval arithmetic of gaps.h. */
#include "client/gaps.h"

#include <stdlib.h>
#include <string.h>

#include "kvrail/proto.h"

void gaps_setup(struct gaps *gaps)
{
    gaps->ranges = gaps->first;
    gaps->nr = 0;
    gaps->room = GAPS_INLINE;
}

void gaps_teardown(struct gaps *gaps)
{
    if (gaps->ranges != gaps->first)
        free(gaps->ranges);
    gaps_setup(gaps);
}

void gaps_reset(struct gaps *gaps, uint32_t len)
{
    gaps->nr = len > 0;
    gaps->ranges[0] = (struct range){0, len};
}

static bool grow(struct gaps *gaps)
{
    uint32_t room = gaps->room * 4;
    struct range *ranges;

    if (room > GAPS_MAX)
        return false;
    ranges = malloc(room * sizeof(*ranges));
    if (!ranges)
        return false;
    memcpy(ranges, gaps->ranges, gaps->nr * sizeof(*ranges));
    if (gaps->ranges != gaps->first)
        free(gaps->ranges);
    gaps->ranges = ranges;
    gaps->room = room;
    return true;
}

/* Index of the first range that ends after at. */
static uint32_t find(const struct gaps *gaps, uint32_t at)
{
    uint32_t lo = 0, hi = gaps->nr;

    if (hi > 0 && gaps->ranges[0].hi > at)
        return 0;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (gaps->ranges[mid].hi > at)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static void remove_ranges(struct gaps *gaps, uint32_t at, uint32_t n)
{
    memmove(gaps->ranges + at, gaps->ranges + at + n, (gaps->nr - at - n) * sizeof(*gaps->ranges));
    gaps->nr -= n;
}

bool gaps_append(struct gaps *gaps, uint32_t lo, uint32_t hi)
{
    if (lo >= hi)
        return true;
    if (gaps->nr > 0 && gaps->ranges[gaps->nr - 1].hi == lo) {
        gaps->ranges[gaps->nr - 1].hi = hi;
        return true;
    }
    if (gaps->nr == gaps->room && !grow(gaps))
        return false;
    gaps->ranges[gaps->nr++] = (struct range){lo, hi};
    return true;
}

void gaps_of_fragments(struct gaps *gaps, const struct kvr_range *ranges, uint32_t nr,
                       uint32_t frag, uint32_t total)
{
    uint64_t at = 0;

    gaps_reset(gaps, 0);
    for (uint32_t i = 0; i < nr; i++) {
        uint32_t lo = ranges[i].off / frag * frag;
        uint64_t hi = ((uint64_t)ranges[i].off + ranges[i].len + frag - 1) / frag * frag;

        if (lo < at || lo >= total || !gaps_append(gaps, lo, hi < total ? (uint32_t)hi : total))
            return;
        at = hi;
    }
}

static bool split(struct gaps *gaps, uint32_t at, uint32_t lo, uint32_t hi)
{
    struct range *range;

    if (gaps->nr == gaps->room && !grow(gaps))
        return false;
    range = gaps->ranges + at;
    memmove(range + 1, range, (gaps->nr - at) * sizeof(*range));
    gaps->nr++;
    range[0].hi = lo;
    range[1].lo = hi;
    return true;
}

bool gaps_fill(struct gaps *gaps, uint32_t lo, uint32_t hi)
{
    uint32_t at = find(gaps, lo), end;

    if (lo >= hi || at == gaps->nr)
        return true;
    if (gaps->ranges[at].lo < lo && gaps->ranges[at].hi > hi)
        return split(gaps, at, lo, hi);
    if (gaps->ranges[at].lo < lo)
        gaps->ranges[at++].hi = lo;
    for (end = at; end < gaps->nr && gaps->ranges[end].hi <= hi; end++)
        ;
    if (end < gaps->nr && gaps->ranges[end].lo < hi)
        gaps->ranges[end].lo = hi;
    remove_ranges(gaps, at, end - at);
    return true;
}

bool gaps_next(const struct gaps *gaps, uint32_t lo, uint32_t hi, struct range *range)
{
    uint32_t at = find(gaps, lo);

    if (at == gaps->nr || gaps->ranges[at].lo >= hi)
        return false;
    range->lo = gaps->ranges[at].lo > lo ? gaps->ranges[at].lo : lo;
    range->hi = gaps->ranges[at].hi < hi ? gaps->ranges[at].hi : hi;
    return range->lo < range->hi;
}
