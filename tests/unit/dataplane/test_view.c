/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "dataplane/view.h"

#define VALUE 4096u

/* The definition of proto.h, word by word; false if it names a byte outside the value. */
static bool reference(const uint8_t *value, uint32_t value_len, const struct kvr_get_req *get,
                      uint8_t *out, uint32_t *out_len)
{
    *out_len = 0;
    for (uint64_t i = 0; i < get->count; i++) {
        uint64_t from = get->off + i * get->stride;
        uint64_t len = get->len;

        if (get->len == 0) {
            if (from > value_len)
                return false;
            len = value_len - from;
        }
        if (from + len > value_len)
            return false;
        memcpy(out + *out_len, value + from, len);
        *out_len += (uint32_t)len;
    }
    return true;
}

static void compare(const uint8_t *value, uint32_t value_len, struct kvr_get_req *get,
                    struct rng *rng)
{
    static uint8_t expected[VALUE * 64], got[VALUE * 64];
    uint32_t len = 0, pos, end;
    struct value_view view;

    if (!reference(value, value_len, get, expected, &len)) {
        cr_assert_not(view_make(&view, value_len, get));
        return;
    }
    cr_assert(view_make(&view, value_len, get));
    cr_assert_eq(view.len, len);
    get->skip = pos = (uint32_t)rng_below(rng, len + 1u);
    get->want = (uint32_t)rng_below(rng, len + 10u);
    end = view_window(&view, get, 1000);
    cr_assert_leq(end, len);
    cr_assert(get->want == 0 || end - pos <= get->want);
    cr_assert_leq(end - pos, 1000);
    cr_assert(end == len || end - pos == 1000 || end - pos == get->want);
    while (pos < end) {
        uint32_t piece = 1 + (uint32_t)rng_below(rng, end - pos);
        const uint8_t *bytes = view_contiguous(&view, value, pos, piece);

        if (bytes)
            memcpy(got + pos, bytes, piece);
        else
            view_copy(&view, value, pos, piece, got + pos);
        pos += piece;
    }
    cr_assert_eq(memcmp(expected + get->skip, got + get->skip, end - get->skip), 0);
}

Test(view, agrees_with_the_definition_for_random_views_and_windows)
{
    uint8_t *value = malloc(VALUE);
    struct rng rng;

    rng_seed(&rng, 1);
    for (unsigned i = 0; i < VALUE; i++)
        value[i] = (uint8_t)rng_next(&rng);
    for (unsigned turn = 0; turn < 20000; turn++) {
        uint32_t value_len = (uint32_t)rng_below(&rng, VALUE + 1);
        struct kvr_get_req get = {.off = (uint32_t)rng_below(&rng, value_len + 2u),
                                  .len = (uint32_t)rng_below(&rng, 200),
                                  .stride = (uint32_t)rng_below(&rng, 300),
                                  .count = (uint16_t)(1 + rng_below(&rng, 60))};

        if (get.len == 0)
            get.count = 1;
        if (rng_below(&rng, 4) == 0)
            get.stride = get.len;
        compare(value, value_len, &get, &rng);
    }
    free(value);
}

Test(view, refuses_numbers_that_would_overflow)
{
    static const struct kvr_get_req bad[] = {
        {.off = UINT32_MAX, .len = 1, .count = 1},
        {.off = 1, .len = UINT32_MAX, .count = 1},
        {.off = 0, .len = 1, .stride = UINT32_MAX, .count = 2},
        {.off = 0, .len = 1, .stride = 65537, .count = 65535},
        {.off = 4, .len = UINT32_MAX - 3, .count = 1},
        {.off = 0, .len = 2, .stride = UINT32_MAX, .count = 65535},
        {.off = 100, .len = 1, .count = 1},
        {.off = 101, .len = 0, .count = 1},
    };
    struct value_view view;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_not(view_make(&view, 100, &bad[i]), "view %u", i);
}

Test(view, of_overlapping_pieces_is_at_most_the_largest_value)
{
    struct kvr_get_req get = {.len = 64u << 10, .stride = 0, .count = 1024};
    struct value_view view;

    cr_assert(view_make(&view, 64u << 10, &get));
    cr_assert_eq(view.len, KVR_VALUE_MAX);
    get.count = 1025;
    cr_assert_not(view_make(&view, 64u << 10, &get));
}

Test(view, of_an_empty_value_and_at_the_end_of_one_is_empty)
{
    struct kvr_get_req get = {.count = 1};
    struct value_view view;

    cr_assert(view_make(&view, 0, &get));
    cr_assert_eq(view.len, 0);
    cr_assert_eq(view_window(&view, &get, 100), 0);
    get.off = 7;
    cr_assert(view_make(&view, 7, &get));
    cr_assert_eq(view.len, 0);
}
