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

    for (unsigned round = 0; round < 3; round++) {
        /* one batch of many lengths, then long ones; all as most are; all but one as most are */
        for (unsigned i = 0; i < 200; i++) {
            unsigned len = round == 0 ? 3 + i % 62 : round == 2 && i == 99 ? 15 : 16;

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
