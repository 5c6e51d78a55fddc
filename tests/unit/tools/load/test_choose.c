/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/hash.h"
#include "tools/content.h"
#include "tools/load/choose.h"

static struct load_settings settings = {.bench = {.keys = 1000,
                                                  .key_len = 16,
                                                  .batch = 4,
                                                  .threads = 1,
                                                  .salt = 5,
                                                  .dist = BENCH_UNIFORM,
                                                  .weights = {[BENCH_GET] = 1}}};
static struct kvr_hello_rep hello = {.nr_partitions = 4, .seed = 99};
static struct limits limits = {.datagram = 1472, .put_max = 1000, .chain_max = 80};
static struct draw_table no_table;
static struct chooser chooser;

static void create(unsigned thread)
{
    cr_assert_eq(chooser_create(&chooser, &settings, &limits, &no_table, &hello, thread, 64), 0);
}

static unsigned partition_of(const uint8_t *key)
{
    return hash_partition(hash_key(key, settings.bench.key_len, hello.seed), hello.nr_partitions);
}

static const uint8_t *key_at(const struct chosen *chosen, unsigned i)
{
    return chosen->keys + i * chooser.stride;
}

static void check_keys(const struct chosen *chosen)
{
    uint8_t key[KVR_KEY_MAX];

    for (unsigned i = 0; i < chosen->nr; i++) {
        content_key(key, settings.bench.key_len, chosen->ids[i], settings.bench.salt);
        cr_assert_arr_eq(key_at(chosen, i), key, settings.bench.key_len);
    }
}

Test(choose, a_datagram_holds_keys_of_one_partition)
{
    create(0);
    chooser_measure(&chooser, UINT64_MAX);
    for (int n = 0; n < 1000; n++) {
        struct chosen *chosen = chooser_next(&chooser);

        cr_assert_eq(chosen->nr, 4);
        check_keys(chosen);
        for (unsigned i = 0; i < 4; i++)
            cr_assert_eq(partition_of(key_at(chosen, i)), chosen->partition);
        chosen->nr = 0;
    }
    chooser_destroy(&chooser);
}

Test(choose, reads_may_be_mixed_and_go_where_the_first_belongs)
{
    unsigned strangers = 0;

    settings.mixed = true;
    create(0);
    chooser_measure(&chooser, UINT64_MAX);
    for (int n = 0; n < 100; n++) {
        struct chosen *chosen = chooser_next(&chooser);

        check_keys(chosen);
        cr_assert_eq(partition_of(key_at(chosen, 0)), chosen->partition);
        for (unsigned i = 1; i < 4; i++)
            strangers += partition_of(key_at(chosen, i)) != chosen->partition;
        chosen->nr = 0;
    }
    cr_assert(strangers > 150 && strangers < 290, "three of four: %u of 300", strangers);
    chooser_destroy(&chooser);
}

Test(choose, the_warm_up_stores_every_key_of_all_threads_once)
{
    uint8_t seen[1000] = {0};

    settings.bench.threads = 3;
    for (unsigned thread = 0; thread < 3; thread++) {
        struct chosen *chosen;

        create(thread);
        chooser_warm(&chooser, thread, 10);
        while ((chosen = chooser_next(&chooser))) {
            cr_assert_leq(chosen->nr, 10);
            cr_assert(chosen->writes);
            for (unsigned i = 0; i < chosen->nr; i++) {
                cr_assert_eq(chosen->kinds[i], BENCH_PUT);
                seen[chosen->ids[i]]++;
            }
            chosen->nr = 0;
        }
        chooser_destroy(&chooser);
    }
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(seen[i], 1, "key %d", i);
}

Test(choose, what_was_not_stored_comes_again)
{
    struct chosen *chosen;
    unsigned nr = 0;

    settings.bench.keys = 8;
    create(0);
    chooser_warm(&chooser, 0, 1);
    while ((chosen = chooser_next(&chooser))) {
        uint64_t id = chosen->ids[0];

        chosen->nr = 0;
        if (nr++ < 8)
            chooser_again(&chooser, id);
    }
    cr_assert_eq(nr, 16);
    chooser_destroy(&chooser);
}

Test(choose, the_quota_ends_with_datagrams_that_are_not_full)
{
    struct chosen *chosen;
    unsigned nr = 0;

    create(0);
    chooser_measure(&chooser, 1001);
    while ((chosen = chooser_next(&chooser))) {
        nr += chosen->nr;
        chosen->nr = 0;
    }
    cr_assert_eq(nr, 1001);
    chooser_destroy(&chooser);
}

Test(choose, kinds_come_by_their_weights)
{
    unsigned seen[BENCH_OPS] = {0};

    settings.bench.weights[BENCH_GET] = 80;
    settings.bench.weights[BENCH_PUT] = 20;
    create(0);
    chooser_measure(&chooser, UINT64_MAX);
    for (int n = 0; n < 10000; n++) {
        struct chosen *chosen = chooser_next(&chooser);
        bool writes = false;

        for (unsigned i = 0; i < chosen->nr; i++) {
            seen[chosen->kinds[i]]++;
            writes |= chosen->kinds[i] == BENCH_PUT;
        }
        cr_assert_eq(chosen->writes, writes);
        chosen->nr = 0;
    }
    cr_assert_float_eq((double)seen[BENCH_PUT], 8000, 400);
    cr_assert_eq(seen[BENCH_GET] + seen[BENCH_PUT], 40000);
    chooser_destroy(&chooser);
}

Test(choose, a_kind_that_was_asked_for_is_the_next_ones)
{
    settings.bench.weights[BENCH_PUT] = 1;
    settings.bench.batch = 1;
    create(0);
    chooser_measure(&chooser, UINT64_MAX);
    for (int n = 0; n < 100; n++) {
        enum bench_op kind = chooser_kind(&chooser);
        struct chosen *chosen;

        cr_assert_eq(chooser_kind(&chooser), kind, "it is drawn once");
        chosen = chooser_next(&chooser);
        cr_assert_eq(chosen->kinds[0], kind);
        chosen->nr = 0;
    }
    chooser_destroy(&chooser);
}

Test(choose, the_hot_partition_gets_its_share)
{
    unsigned seen[4] = {0};

    settings.bench.batch = 1;
    settings.hot = true;
    settings.hot_partition = 2;
    settings.hot_share = 0.7;
    create(0);
    chooser_measure(&chooser, UINT64_MAX);
    for (int n = 0; n < 10000; n++) {
        struct chosen *chosen = chooser_next(&chooser);

        seen[chosen->partition]++;
        chosen->nr = 0;
    }
    cr_assert_float_eq((double)seen[2], 7000, 200);
    cr_assert_float_eq((double)seen[0], 1000, 200);
    chooser_destroy(&chooser);
}

Test(choose, a_hot_partition_without_keys_ends_the_search, .timeout = 20)
{
    settings.bench.keys = 1;
    settings.bench.batch = 1;
    settings.hot = true;
    create(0);
    chooser_measure(&chooser, UINT64_MAX);
    for (settings.hot_partition = 0; settings.hot_partition < 4; settings.hot_partition++)
        for (settings.hot_share = 0; settings.hot_share <= 1; settings.hot_share++)
            chooser_next(&chooser)->nr = 0;
    chooser_destroy(&chooser);
}
