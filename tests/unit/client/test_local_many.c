/* SPDX-License-Identifier: Apache-2.0 */
/* Many keys in one call, of every length: what they are told of each other, and what is said of
 * each. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "near_server.h"

static struct near_server near;

static struct kvr_client *open_near(const struct kvr_options *options)
{
    near_setup(&near);
    near_start(&near);
    return near_client(&near, options);
}

static void finish(struct kvr_client *client)
{
    kvr_close(client);
    near_stop(&near);
}

static void expect_view(struct kvr_client *client, const char *key, uint32_t len, uint64_t ref,
                        struct kvr_view *view)
{
    enum kvr_status status = kvr_get_view(client, key, strlen(key), view);

    cr_assert_eq(status, KVR_OK, "%s: %s", key, kvr_status_name(status));
    cr_assert_eq(view->len, len);
    cr_assert_eq(view->ref, ref);
    cr_assert(near_good(view->data, len, key, ref));
    cr_assert_eq(view->crc, crc32c(0, view->data, view->len));
}

/* Of len bytes that no other number has. */
static void number_key(char *key, unsigned number, unsigned len)
{
    for (unsigned i = 0; i < len; i++, number /= 10)
        key[len - 1 - i] = (char)('0' + number % 10);
    key[len] = 0;
}

static void hold_chain(struct kvr_client *client, const struct kvr_key *keys, const uint64_t *refs,
                       unsigned nr)
{
    struct kvr_view views[200];
    uint32_t prefix;

    cr_assert_eq(kvr_match_views(client, keys, nr, views, &prefix), KVR_OK);
    cr_assert_eq(prefix, nr);
    for (unsigned i = 0; i < nr; i++) {
        const struct kvr_view *view = &views[i];

        cr_assert_eq(view->ref, refs[i], "key %u of %u bytes", i, keys[i].len);
        cr_assert(view->len == 100 + i && view->ttl_ms == 0 && view->layout == 0 &&
                  view->tier == KVR_TIER_HOST && view->zero == 0);
        cr_assert_eq(view->crc, crc32c(0, view->data, view->len));
        cr_assert(near_good(view->data, view->len, keys[i].data, refs[i]));
    }
    kvr_release(client, views, prefix);
}

Test(local_many, keys_of_every_length_are_found_alone_and_in_chains)
{
    struct kvr_client *client = open_near(NULL);
    char names[200][KVR_KEY_MAX + 1];
    struct kvr_key keys[200];
    uint64_t refs[200];
    struct kvr_view view;

    for (unsigned round = 0; round < 4; round++) {
        /* many lengths; both usual ones; all but one as most are */
        for (unsigned i = 0; i < 200; i++) {
            unsigned len = round == 0              ? 3 + i % 62
                           : round == 1            ? 32
                           : round == 2 && i == 99 ? 15
                                                   : 16;

            number_key(names[i], i + 200 * round, len);
            keys[i] = (struct kvr_key){names[i], len};
            refs[i] = near_put(&near, names[i], 100 + i, 0);
        }
        hold_chain(client, keys, refs, 200);
        for (unsigned i = 0; i < 200; i++) {
            expect_view(client, names[i], 100 + i, refs[i], &view);
            kvr_release(client, &view, 1);
        }
    }
    finish(client);
}

Test(local_many, a_key_that_differs_in_one_byte_is_another)
{
    struct kvr_client *client = open_near(NULL);
    struct kvr_view views[2];
    uint32_t prefix;

    for (unsigned len = 1; len <= 48; len++) {
        char names[2][64] = {0};
        struct kvr_key keys[2] = {{names[0], len}, {names[1], len}};

        memset(names[0], 'a' + (int)(len % 20), len);
        near_put(&near, names[0], 10, 0);
        for (unsigned i = 0; i < len; i++) {
            memcpy(names[1], names[0], len);
            names[1][i] ^= 0x40;
            cr_assert_eq(kvr_match_views(client, keys, 2, views, &prefix), KVR_OK);
            cr_assert_eq(prefix, 1, "byte %u of %u", i, len);
            kvr_release(client, views, prefix);
        }
    }
    finish(client);
}

Test(local_many, a_time_to_live_shows_in_a_chain_and_ends_it)
{
    struct kvr_client *client = open_near(NULL);
    struct kvr_key keys[3] = {{"first", 5}, {"short", 5}, {"third", 5}};
    struct kvr_view views[3];
    struct timespec pause = {.tv_nsec = 60 * NS_PER_MS};
    uint32_t prefix;

    near_put(&near, "first", 10, 3600000);
    near_put(&near, "short", 10, 50);
    near_put(&near, "third", 10, 0);
    cr_assert_eq(kvr_match_views(client, keys, 1, views, &prefix), KVR_OK);
    cr_assert(prefix == 1 && views[0].ttl_ms > 3500000 && views[0].ttl_ms <= 3600000);
    kvr_release(client, views, prefix);
    nanosleep(&pause, NULL);
    cr_assert_eq(kvr_match_views(client, keys, 3, views, &prefix), KVR_OK);
    cr_assert_eq(prefix, 1);
    kvr_release(client, views, prefix);
    finish(client);
}

static void name_of(char *name, struct kvr_key *key, unsigned i)
{
    number_key(name, i, i % 5 == 4 ? 20 : 16);
    *key = (struct kvr_key){name, (uint32_t)strlen(name)};
}

/* What is held stays, whatever else is stored. */
static void churn_hold(const struct kvr_view *views, char (*names)[32], const uint64_t *refs)
{
    char key[32];

    for (unsigned i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "other-%u", i);
        near_put(&near, key, 20000, 0);
    }
    for (unsigned i = 0; i < 100; i++)
        cr_assert(!refs[i] || near_good(views[i].data, 500 + i, names[i], refs[i]), "key %u", i);
}

Test(local_many, keys_that_are_stored_are_held_and_others_are_not)
{
    struct kvr_client *client = open_near(NULL);
    char names[100][32];
    struct kvr_key keys[100];
    struct kvr_view views[100];
    uint64_t refs[100] = {0};
    size_t found;

    for (unsigned i = 0; i < 100; i++) {
        name_of(names[i], &keys[i], i);
        if (i % 7 != 3 && i < 90)
            refs[i] = near_put(&near, names[i], 500 + i, 0);
    }
    memset(views, 0xff, sizeof(views));
    cr_assert_eq(kvr_get_views(client, keys, 100, views, &found), KVR_OK);
    cr_assert_eq(found, 77);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(views[i].ref, refs[i], "key %u", i);
        if (refs[i])
            cr_assert(views[i].len == 500 + i &&
                      near_good(views[i].data, 500 + i, names[i], refs[i]));
        else
            cr_assert(!views[i].data && views[i].len == 0 && views[i].mount == 0);
    }
    churn_hold(views, names, refs);
    kvr_release(client, views, 100);
    kvr_release(client, views, 100);
    cr_assert_eq(kvr_get_views(client, keys, 100, views, NULL), KVR_OK);
    kvr_release(client, views, 100);
    finish(client);
}

Test(local_many, the_same_key_twice_is_held_twice)
{
    struct kvr_client *client = open_near(NULL);
    struct kvr_key keys[40];
    struct kvr_view views[40];
    size_t found;
    uint64_t ref = near_put(&near, "0000000000000001", 10, 0);

    for (unsigned i = 0; i < 40; i++)
        keys[i] = (struct kvr_key){"0000000000000001", 16};
    cr_assert_eq(kvr_get_views(client, keys, 40, views, &found), KVR_OK);
    cr_assert_eq(found, 40);
    for (unsigned i = 0; i < 40; i++)
        cr_assert(views[i].ref == ref && (i == 0 || views[i].slot != views[i - 1].slot));
    kvr_release(client, views, 39);
    near_del(&near, "0000000000000001");
    near_poll(&near);
    cr_assert(near_good(views[39].data, 10, "0000000000000001", ref));
    kvr_release(client, &views[39], 1);
    cr_assert_eq(kvr_get_views(client, keys, 40, views, &found), KVR_OK);
    cr_assert_eq(found, 0);
    finish(client);
}

Test(local_many, what_does_not_fit_the_limit_is_not_held)
{
    struct kvr_options options;
    struct kvr_client *client;
    char names[100][32];
    struct kvr_key keys[100];
    struct kvr_view views[100];
    size_t found;
    unsigned held = 0;

    kvr_options_init(&options);
    options.connect_ms = 20000;
    options.max_held = 64;
    client = open_near(&options);
    for (unsigned i = 0; i < 100; i++) {
        name_of(names[i], &keys[i], i);
        if (i != 5)
            near_put(&near, names[i], 10, 0);
    }
    for (unsigned round = 0; round < 2; round++) {
        memset(views, 0xff, sizeof(views));
        cr_assert_eq(kvr_get_views(client, keys, 100, views, &found), KVR_LIMIT);
        cr_assert_eq(found, 64);
        for (unsigned i = held = 0; i < 100; i++)
            held += views[i].ref != 0;
        cr_assert_eq(held, 64);
        cr_assert(views[5].ref == 0 && views[4].ref != 0 && views[99].ref == 0);
        kvr_release(client, views, 100);
    }
    finish(client);
}

Test(local_many, no_key_may_be_none)
{
    struct kvr_client *client = open_near(NULL);
    struct kvr_key keys[3] = {{"here", 4}, {"x", 1}, {"here", 4}};
    struct kvr_view views[3];
    size_t found = 9;
    uint32_t prefix;

    near_put(&near, "here", 10, 0);
    for (unsigned i = 0; i < 4; i++) {
        keys[1] = i == 0   ? (struct kvr_key){NULL, 4}
                  : i == 1 ? (struct kvr_key){"x", 0}
                  : i == 2 ? (struct kvr_key){"x", KVR_KEY_MAX + 1}
                           : (struct kvr_key){NULL, 16};
        cr_assert_eq(kvr_get_views(client, keys, 3, views, &found), KVR_INVALID);
        cr_assert_eq(kvr_match_views(client, keys, 3, views, &prefix), KVR_INVALID);
        cr_assert(found == 0 && prefix == 0);
    }
    keys[0] = keys[2] = (struct kvr_key){"0123456789abcdef", 16};
    keys[1] = (struct kvr_key){NULL, 16};
    cr_assert_eq(kvr_get_views(client, keys, 3, views, &found), KVR_INVALID);
    cr_assert_eq(kvr_get_views(client, NULL, 3, views, &found), KVR_INVALID);
    cr_assert_eq(kvr_get_views(client, keys, 3, NULL, &found), KVR_INVALID);
    cr_assert_eq(kvr_get_views(client, NULL, 0, NULL, &found), KVR_OK);
    finish(client);
}
