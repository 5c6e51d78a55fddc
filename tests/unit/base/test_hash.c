/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "base/hash.h"

Test(hash, depends_on_every_byte_the_length_and_the_seed)
{
    char key[64] = {0};
    struct key_hash base = hash_key(key, 32, 1);

    for (int i = 0; i < 32; i++) {
        key[i] = 1;
        cr_assert_neq(hash_key(key, 32, 1).lo, base.lo);
        key[i] = 0;
    }
    cr_assert_neq(hash_key(key, 33, 1).lo, base.lo);
    cr_assert_neq(hash_key(key, 32, 2).lo, base.lo);
    cr_assert_eq(hash_key(key, 32, 1).hi, base.hi);
}

Test(hash, spreads_keys_evenly_over_partitions)
{
    unsigned counts[7] = {0};

    for (uint64_t i = 0; i < 70000; i++)
        counts[hash_partition(hash_key(&i, sizeof(i), 42), 7)]++;
    for (int p = 0; p < 7; p++)
        cr_assert(counts[p] > 9500 && counts[p] < 10500, "partition %d holds %u", p, counts[p]);
}

/* Clients and servers of other builds must agree. */
Test(hash, is_xxh3_whatever_the_compiler_knows_of_the_length)
{
    char key[64];

    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (char)(i * 7 + 1);
    for (volatile size_t len = 1; len <= sizeof(key); len++) {
        XXH128_hash_t wanted = XXH3_128bits_withSeed(key, len, 0x1234567890abcdef);
        struct key_hash hash = hash_key(key, len, 0x1234567890abcdef);

        cr_assert(hash.lo == wanted.low64 && hash.hi == wanted.high64, "%zu bytes", len);
        if (len == HASH_SHORT)
            cr_assert_eq(hash_key_of(key, HASH_SHORT, 0x1234567890abcdef).lo, wanted.low64);
        if (len == HASH_LONG)
            cr_assert_eq(hash_key_of(key, HASH_LONG, 0x1234567890abcdef).lo, wanted.low64);
    }
}

Test(hash, of_one_partition_every_key_is_in_it)
{
    for (uint64_t i = 0; i < 1000; i++)
        cr_assert_eq(hash_partition(hash_key(&i, sizeof(i), 42), 1), 0);
}
