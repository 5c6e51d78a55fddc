/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/random.h"

static uint32_t reference(const uint8_t *bytes, size_t len)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

Test(crc32c, known_answers_of_rfc_3720)
{
    uint8_t bytes[32];

    cr_assert_eq(crc32c(0, "123456789", 9), 0xe3069283u);
    memset(bytes, 0, sizeof(bytes));
    cr_assert_eq(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aau);
    memset(bytes, 0xff, sizeof(bytes));
    cr_assert_eq(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43u);
}

Test(crc32c, equals_the_bitwise_reference_at_any_length_and_alignment)
{
    uint8_t bytes[1100];
    struct rng rng;

    rng_seed(&rng, 7);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    for (size_t len = 0; len < 1000; len += 13)
        for (size_t at = 0; at < 9; at++)
            cr_assert_eq(crc32c(0, bytes + at, len), reference(bytes + at, len));
}

Test(crc32c, continues_where_it_stopped)
{
    const char text[] = "a value in several fragments";
    uint32_t whole = crc32c(0, text, sizeof(text));

    for (size_t cut = 0; cut <= sizeof(text); cut++)
        cr_assert_eq(crc32c(crc32c(0, text, cut), text + cut, sizeof(text) - cut), whole);
}

Test(crc32c, a_blank_counts_as_zeroes_wherever_it_lies)
{
    uint8_t bytes[600], blanked[600];
    struct rng rng;

    rng_seed(&rng, 8);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    for (size_t len = 4; len <= sizeof(bytes); len += len < 300 ? 1 : 37)
        for (size_t at = 0; at + 4 <= len && at < 280; at += 4) {
            memcpy(blanked, bytes, len);
            memset(blanked + at, 0, 4);
            cr_assert_eq(crc32c_blank(bytes, len, at), crc32c(0, blanked, len), "%zu at %zu", len,
                         at);
        }
}

Test(crc32c, a_datagrams_own_field_counts_as_zeroes)
{
    uint8_t bytes[600], blanked[600];
    struct rng rng;

    rng_seed(&rng, 9);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    memcpy(blanked, bytes, sizeof(bytes));
    memset(blanked + 12, 0, 4);
    for (size_t len = 16; len <= sizeof(bytes); len++)
        cr_assert_eq(crc32c_datagram(bytes, len), reference(blanked, len), "%zu", len);
}

Test(crc32c, of_two_parts_makes_that_of_both_together)
{
    static uint8_t bytes[70000];
    static const size_t lengths[] = {0, 1, 7, 8, 255, 4096, 8192, 65536, 69000};
    struct rng rng;

    rng_seed(&rng, 9);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    for (size_t b = 0; b < sizeof(lengths) / sizeof(lengths[0]); b++)
        for (size_t a = 0; a <= 1000; a += 125) {
            size_t len = lengths[b];
            uint32_t first = crc32c(0, bytes, a), second = crc32c(0, bytes + a, len);
            uint32_t both = crc32c(0, bytes, a + len), shift = crc32c_shift(len);

            cr_assert_eq(crc32c_join(first, second, shift), both, "%zu and %zu", a, len);
            /* And the other way: what lies behind a part that is known. */
            cr_assert_eq(crc32c_join(first, both, shift), second, "%zu of %zu", len, a + len);
        }
}
