/* SPDX-License-Identifier: Apache-2.0 */
/* Values that are written where they will lie, or copied out of the client's segment. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "near_server.h"
#include "shm/words.h"

static struct near_server near;

static struct kvr_client *open_near(uint32_t rights, uint32_t timeout_ms)
{
    struct kvr_options options;

    kvr_options_init(&options);
    options.timeout_ms = timeout_ms;
    options.connect_ms = 20000;
    near_setup(&near);
    near.rights = rights;
    near_start(&near);
    return near_client(&near, &options);
}

static void finish(struct kvr_client *client)
{
    kvr_close(client);
    near_stop(&near);
}

/* A value of so many bytes, put and read back. */
static void round_trip(struct kvr_client *client, const char *key, uint32_t len)
{
    uint8_t *bytes = malloc(len);
    enum kvr_status status;
    struct kvr_view view;

    near_fill(bytes, len, key, len);
    status = kvr_put(client, key, strlen(key), bytes, len, 0);
    cr_assert_eq(status, KVR_OK, "%u bytes: %s", len, kvr_status_name(status));
    cr_assert_eq(kvr_get_view(client, key, strlen(key), &view), KVR_OK);
    cr_assert(view.len == len && near_good(view.data, len, key, len));
    cr_assert_eq(view.crc, crc32c(0, bytes, len));
    kvr_release(client, &view, 1);
    free(bytes);
}

static const uint32_t sizes[] = {1, 100, 3900, 4000, 4088, 5000, 65536, 1000001, 4u << 20};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

Test(local_place, large_values_are_written_in_place_with_the_right_to_do_so)
{
    struct kvr_client *client = open_near(ATTACH_WRITE, 20000);

    for (unsigned i = 0; i < 3 * SIZES; i++)
        round_trip(client, "key", sizes[i % SIZES]);
    cr_assert(near.nr_seen[KVR_PLACE] > 0 && near.nr_seen[KVR_SEAL] > 0);
    cr_assert_eq(near.nr_seen[KVR_STORE], 0);
    cr_assert_eq(near.nr_seen[KVR_WRITE], 0);
    finish(client);
}

Test(local_place, and_by_the_servers_worker_without_it)
{
    struct kvr_client *client = open_near(ATTACH_READ, 20000);
    struct kvr_call put = {.op = KVR_CALL_PUT, .key = {"key", 3}, .value_len = 5000};
    struct kvr_place place;

    for (unsigned i = 0; i < 3 * SIZES; i++)
        round_trip(client, "key", sizes[i % SIZES]);
    cr_assert_gt(near.nr_seen[KVR_STORE], 0);
    cr_assert_eq(near.nr_seen[KVR_PLACE], 0);
    cr_assert_eq(kvr_reserve(client, &put, &place), KVR_DENIED);
    finish(client);
}

Test(local_place, many_large_values_at_once_wait_for_room)
{
    struct kvr_client *client = open_near(ATTACH_READ, 20000);
    static struct kvr_call calls[100];
    static char names[100][16];
    uint8_t *bytes = malloc(100000);

    memset(bytes, 7, 100000);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(names[i], sizeof(names[i]), "key-%u", i);
        calls[i] = (struct kvr_call){.op = KVR_CALL_PUT,
                                     .key = {names[i], (uint32_t)strlen(names[i])},
                                     .value = bytes,
                                     .value_len = 50000 + i};
    }
    cr_assert_eq(kvr_do_batch(client, calls, 100), KVR_OK);
    for (unsigned i = 0; i < 100; i++) {
        struct kvr_view view;

        cr_assert_eq(kvr_get_view(client, names[i], strlen(names[i]), &view), KVR_OK);
        cr_assert_eq(view.len, 50000 + i);
    }
    free(bytes);
    finish(client);
}

Test(local_place, lost_answers_are_asked_for_again)
{
    struct kvr_client *client = open_near(ATTACH_WRITE, 20000);

    for (unsigned i = 0; i < 5; i++) {
        near.lose[KVR_PLACE] = 2;
        round_trip(client, "place", 100000);
        near.lose[KVR_SEAL] = 2;
        round_trip(client, "seal", 100000 + i);
    }
    finish(client);
}

Test(local_place, a_place_is_filled_and_sealed)
{
    struct kvr_client *client = open_near(ATTACH_WRITE, 20000);
    struct kvr_call put = {.op = KVR_CALL_PUT, .key = {"key", 3}, .value_len = 300000};
    struct kvr_place place;
    struct kvr_view view;
    uint32_t crc;

    cr_assert_eq(kvr_reserve(client, &put, &place), KVR_OK);
    cr_assert_eq(place.len, 300000);
    near_fill(place.data, place.len, "key", 1);
    cr_assert_eq(kvr_get_view(client, "key", 3, &view), KVR_MISS);
    cr_assert_eq(kvr_seal(client, &place, NULL), KVR_OK);
    cr_assert_eq(kvr_get_view(client, "key", 3, &view), KVR_OK);
    cr_assert(view.len == 300000 && near_good(view.data, view.len, "key", 1));
    cr_assert_eq(view.ref, place.ref);
    cr_assert_eq(kvr_seal(client, &place, NULL), KVR_NO_UPLOAD);
    cr_assert_eq(kvr_abort(client, &place), KVR_NO_UPLOAD);
    cr_assert_eq(kvr_reserve(client, &put, &place), KVR_OK);
    near_fill(place.data, place.len, "key", 2);
    crc = crc32c(0, place.data, place.len);
    cr_assert_eq(kvr_seal(client, &place, &crc), KVR_OK);
    finish(client);
}

Test(local_place, an_aborted_place_stores_nothing)
{
    struct kvr_client *client = open_near(ATTACH_WRITE, 20000);
    struct kvr_call put = {.op = KVR_CALL_PUT, .key = {"key", 3}, .value_len = 300000};
    struct kvr_place place;
    struct kvr_view view;

    for (unsigned i = 0; i < 200; i++) { /* together more than the arena */
        cr_assert_eq(kvr_reserve(client, &put, &place), KVR_OK);
        cr_assert_eq(kvr_abort(client, &place), KVR_OK);
    }
    cr_assert_eq(kvr_get_view(client, "key", 3, &view), KVR_MISS);
    finish(client);
}

Test(local_place, no_more_places_than_tickets)
{
    struct kvr_client *client = open_near(ATTACH_WRITE, 20000);
    struct kvr_call put = {.op = KVR_CALL_PUT, .key = {"key", 3}, .value_len = 64};
    struct kvr_place places[NEAR_PLACES], more;

    for (unsigned i = 0; i < NEAR_PLACES; i++)
        cr_assert_eq(kvr_reserve(client, &put, &places[i]), KVR_OK);
    put.timeout_ms = 100;
    cr_assert_eq(kvr_reserve(client, &put, &more), KVR_LIMIT);
    for (unsigned i = 0; i < NEAR_PLACES; i++)
        cr_assert_eq(kvr_abort(client, &places[i]), KVR_OK);
    put.value_len = (size_t)KVR_VALUE_MAX + 1;
    cr_assert_eq(kvr_reserve(client, &put, &more), KVR_TOO_LARGE);
    put.key.len = 0;
    put.value_len = 10;
    cr_assert_eq(kvr_reserve(client, &put, &more), KVR_INVALID);
    finish(client);
}

static void *restart(void *arg)
{
    struct timespec pause = {.tv_nsec = 100 * NS_PER_MS};

    (void)arg;
    nanosleep(&pause, NULL);
    near_start_owner(&near);
    return NULL;
}

/* The owner ends once it has sealed, without having said so. */
static void *restart_sealed(void *arg)
{
    unsigned seen = 0;

    while (seen == 0) {
        pthread_mutex_lock(&near.lock);
        seen = near.nr_seen[KVR_SEAL];
        pthread_mutex_unlock(&near.lock);
    }
    near_kill_owner(&near);
    near.lose[KVR_SEAL] = 0;
    near_start_owner(&near);
    return arg;
}

Test(local_place, a_seal_whose_answer_died_with_the_dataplane_was_done)
{
    struct kvr_client *client = open_near(ATTACH_WRITE, 20000);
    struct kvr_call put = {.op = KVR_CALL_PUT, .key = {"key", 3}, .value_len = 30000};
    struct kvr_place place;
    struct kvr_view view;
    pthread_t thread;

    cr_assert_eq(kvr_reserve(client, &put, &place), KVR_OK);
    near_fill(place.data, place.len, "key", 1);
    near.lose[KVR_SEAL] = 1000;
    pthread_create(&thread, NULL, restart_sealed, NULL);
    cr_assert_eq(kvr_seal(client, &place, NULL), KVR_OK);
    pthread_join(thread, NULL);
    cr_assert_eq(kvr_get_view(client, "key", 3, &view), KVR_OK);
    cr_assert(near_good(view.data, view.len, "key", 1));
    finish(client);
}

Test(local_place, a_place_outlives_the_dataplane)
{
    struct kvr_client *client = open_near(ATTACH_WRITE, 20000);
    struct kvr_call put = {.op = KVR_CALL_PUT, .key = {"key", 3}, .value_len = 30000};
    struct kvr_place place;
    struct kvr_view view;

    cr_assert_eq(kvr_reserve(client, &put, &place), KVR_OK);
    near_kill_owner(&near);
    near_fill(place.data, place.len, "key", 1);
    near_start_owner(&near);
    cr_assert_eq(kvr_seal(client, &place, NULL), KVR_OK);
    cr_assert_eq(kvr_get_view(client, "key", 3, &view), KVR_OK);
    cr_assert(near_good(view.data, view.len, "key", 1));
    finish(client);
}

Test(local_place, a_place_that_the_dataplane_took_back_cannot_be_sealed)
{
    struct kvr_client *client = open_near(ATTACH_WRITE, 20000);
    struct kvr_call put = {.op = KVR_CALL_PUT, .key = {"key", 3}, .value_len = 30000};
    struct kvr_place place;
    struct kvr_view view;

    cr_assert_eq(kvr_reserve(client, &put, &place), KVR_OK);
    near.forgets = true;
    near_kill_owner(&near);
    near_start_owner(&near);
    cr_assert_eq(kvr_seal(client, &place, NULL), KVR_NO_UPLOAD);
    cr_assert_eq(kvr_get_view(client, "key", 3, &view), KVR_MISS);
    finish(client);
}

Test(local_place, puts_ride_over_restarts_with_the_right_bytes)
{
    struct kvr_client *client = open_near(ATTACH_WRITE, 20000);
    pthread_t thread;

    for (unsigned i = 0; i < 5; i++) {
        near_kill_owner(&near);
        pthread_create(&thread, NULL, restart, NULL);
        round_trip(client, "key", 100000 + i);
        pthread_join(thread, NULL);
        round_trip(client, "key", 200000 + i);
    }
    finish(client);
}

Test(local_place, a_value_too_large_for_anything_fails_clearly)
{
    struct kvr_client *client = open_near(ATTACH_READ, 20000);
    uint8_t *bytes = calloc(1, (size_t)KVR_VALUE_MAX + 1);

    cr_assert_eq(kvr_put(client, "key", 3, bytes, (size_t)KVR_VALUE_MAX + 1, 0), KVR_TOO_LARGE);
    cr_assert_eq(kvr_put(client, "key", 3, bytes, KVR_VALUE_MAX, 0), KVR_TOO_LARGE);
    free(bytes);
    finish(client);
}
