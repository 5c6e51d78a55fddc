/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tools/content.h"

static const size_t lens[] = {0,  1,  7,   8,   9,   15,  16,   17,   23,   24,   63,
                              64, 65, 511, 512, 513, 520, 1023, 4096, 4099, 65536};
#define NR_LENS (sizeof(lens) / sizeof(lens[0]))

static unsigned char buffer[65536 + 64], other[65536 + 64];

Test(content, passes_its_own_check_at_every_length_and_alignment)
{
    for (size_t i = 0; i < NR_LENS; i++)
        for (size_t shift = 0; shift < 8; shift++) {
            uint64_t version;

            content_fill(buffer + shift, lens[i], 42, 7);
            cr_assert(content_check(buffer + shift, lens[i], 42, &version), "length %zu", lens[i]);
            cr_assert_eq(version, lens[i] >= CONTENT_VERSIONED ? 7 : 0);
        }
}

Test(content, writes_no_byte_beyond_its_length)
{
    for (size_t i = 0; i < NR_LENS; i++) {
        memset(buffer, 0xa5, sizeof(buffer));
        content_fill(buffer, lens[i], 42, 7);
        for (size_t k = lens[i]; k < lens[i] + 16; k++)
            cr_assert_eq(buffer[k], 0xa5, "length %zu", lens[i]);
    }
}

Test(content, notices_every_single_flipped_bit)
{
    for (size_t i = 0; i < NR_LENS && lens[i] <= 4099; i++) {
        content_fill(buffer, lens[i], 42, 7);
        for (size_t bit = 0; bit < 8 * lens[i]; bit++) {
            buffer[bit / 8] ^= (unsigned char)(1u << bit % 8);
            cr_assert_not(content_check(buffer, lens[i], 42, NULL), "length %zu, bit %zu", lens[i],
                          bit);
            buffer[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
    }
}

Test(content, tells_ids_versions_and_lengths_apart)
{
    content_fill(buffer, 4096, 42, 7);
    cr_assert_not(content_check(buffer, 4096, 43, NULL));
    cr_assert_not(content_check(buffer, 4095, 42, NULL), "a cut value is not the value");
    cr_assert_not(content_check_part(buffer, 4096, 0, 4096, 42, 8));
    content_fill(buffer, 8, 42, 0);
    cr_assert_not(content_check(buffer, 8, 41, NULL));
}

Test(content, notices_torn_and_shifted_values)
{
    content_fill(buffer, 4096, 42, 7);
    content_fill(other, 4096, 42, 8);
    memcpy(buffer + 2048, other + 2048, 2048);
    cr_assert_not(content_check(buffer, 4096, 42, NULL), "half old, half new");
    content_fill(buffer, 4096, 42, 7);
    memmove(buffer + 1024, buffer + 1032, 1024);
    cr_assert_not(content_check(buffer, 4096, 42, NULL), "moved by a word");
    memset(buffer, 0, 4096);
    cr_assert_not(content_check(buffer, 4096, 42, NULL), "zeroes");
}

Test(content, is_the_same_written_in_parts)
{
    for (size_t i = 0; i < NR_LENS; i++)
        for (size_t step = 8; step <= 1024; step *= 2) {
            content_fill(buffer, lens[i], 11, 5);
            memset(other, 0xa5, sizeof(other));
            for (size_t off = 0; off < lens[i]; off += step)
                content_fill_part(other + off, lens[i] - off < step ? lens[i] - off : step, off,
                                  lens[i], 11, 5);
            cr_assert_arr_eq(other, buffer, lens[i], "length %zu in steps of %zu", lens[i], step);
            cr_assert_eq(other[lens[i]], 0xa5);
        }
}

Test(content, checks_any_part)
{
    struct rng rng;

    rng_seed(&rng, 1);
    for (size_t i = 0; i < NR_LENS; i++) {
        content_fill(buffer, lens[i], 9, 3);
        for (int n = 0; n < 2000; n++) {
            size_t off = rng_below(&rng, lens[i] + 1), len = rng_below(&rng, lens[i] - off + 1);

            cr_assert(content_check_part(buffer + off, len, off, lens[i], 9, 3),
                      "[%zu, +%zu) of %zu", off, len, lens[i]);
            if (len > 0) {
                size_t at = off + rng_below(&rng, len);

                buffer[at] ^= 1;
                cr_assert_not(content_check_part(buffer + off, len, off, lens[i], 9, 3),
                              "[%zu, +%zu) of %zu, byte %zu", off, len, lens[i], at);
                buffer[at] ^= 1;
            }
        }
        cr_assert_not(content_check_part(buffer, 1, lens[i], lens[i], 9, 3), "beyond the end");
        cr_assert_not(content_check_part(buffer, lens[i] + 1, 0, lens[i], 9, 3));
    }
}

Test(content, makes_keys_of_any_length_that_differ_by_id_and_salt)
{
    unsigned char a[100], b[100];

    content_key(a, sizeof(a), 1, 0);
    content_key(b, sizeof(b), 2, 0);
    cr_assert(memcmp(a, b, 8) != 0);
    content_key(b, sizeof(b), 1, 1);
    cr_assert(memcmp(a, b, 8) != 0);
    content_key(b, 9, 1, 0);
    cr_assert(memcmp(a, b, 9) == 0);
}
