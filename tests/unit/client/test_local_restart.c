/* SPDX-License-Identifier: Apache-2.0 */
/* What a handle does when its server restarts, goes away, or is replaced. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "near_server.h"
#include "shm/words.h"

static struct near_server near;

static struct kvr_client *open_near(uint32_t timeout_ms)
{
    struct kvr_options options;

    kvr_options_init(&options);
    options.timeout_ms = timeout_ms;
    options.connect_ms = 20000;
    near_setup(&near);
    near_start(&near);
    return near_client(&near, &options);
}

static void pause_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * (long)NS_PER_MS};

    nanosleep(&pause, NULL);
}

static enum kvr_status view_of(struct kvr_client *client, const char *key, struct kvr_view *view)
{
    return kvr_get_view(client, key, strlen(key), view);
}

static void *start_later(void *arg)
{
    (void)arg;
    pause_ms(100);
    near_start_owner(&near);
    return NULL;
}

Test(local_restart, calls_ride_over_a_restart_of_the_dataplane)
{
    struct kvr_client *client = open_near(20000);
    struct kvr_view view;
    pthread_t thread;

    cr_assert_eq(kvr_put(client, "before", 6, "value", 5, 0), KVR_OK);
    for (unsigned i = 0; i < 5; i++) {
        near_kill_owner(&near);
        /* Hits do not even notice. */
        cr_assert_eq(view_of(client, "before", &view), KVR_OK);
        cr_assert_eq(memcmp(view.data, "value", 5), 0);
        kvr_release(client, &view, 1);
        pthread_create(&thread, NULL, start_later, NULL);
        cr_assert_eq(kvr_put(client, "during", 6, &i, sizeof(i), 0), KVR_OK);
        pthread_join(thread, NULL);
        cr_assert_eq(view_of(client, "during", &view), KVR_OK);
        cr_assert_eq(memcmp(view.data, &i, sizeof(i)), 0);
        kvr_release(client, &view, 1);
    }
    kvr_close(client);
    near_stop(&near);
}

Test(local_restart, calls_end_at_their_deadline_while_nobody_answers)
{
    struct kvr_client *client = open_near(200);
    struct kvr_view view;
    uint64_t start_ns;

    cr_assert_eq(kvr_put(client, "key", 3, "value", 5, 0), KVR_OK);
    near.silent = true;
    start_ns = clock_ns();
    cr_assert_eq(kvr_put(client, "key", 3, "other", 5, 0), KVR_TIMEOUT);
    cr_assert_lt(clock_ns() - start_ns, 2 * NS_PER_S);
    /* Whether that happened must be known before the key is read again. */
    cr_assert_eq(view_of(client, "key", &view), KVR_TIMEOUT);
    near.silent = false;
    while (view_of(client, "key", &view) == KVR_TIMEOUT)
        ;
    cr_assert_eq(view.len, 5);
    kvr_release(client, &view, 1);
    kvr_close(client);
    near_stop(&near);
}

Test(local_restart, hits_go_on_while_a_heart_beats_and_nobody_keeps_the_socket)
{
    struct kvr_client *client = open_near(1000);
    struct kvr_view view;

    near_put(&near, "key", 1000, 0);
    near_kill_keeper(&near);
    for (unsigned i = 0; i < 10; i++) {
        pause_ms(50);
        cr_assert_eq(view_of(client, "key", &view), KVR_OK);
        kvr_release(client, &view, 1);
        cr_assert_eq(kvr_ping(client, NULL), KVR_OK);
    }
    near_start_keeper(&near);
    while (__atomic_load_n(&near.nr_clients, __ATOMIC_ACQUIRE) < 2) {
        pause_ms(20); /* attaches again by itself, to be missed if it dies */
        cr_assert_eq(view_of(client, "key", &view), KVR_OK);
        kvr_release(client, &view, 1);
    }
    cr_assert_eq(kvr_put(client, "more", 4, "x", 1, 0), KVR_OK);
    kvr_close(client);
    near_stop(&near);
}

Test(local_restart, without_a_server_hits_are_refused_and_what_is_held_stays)
{
    struct kvr_client *client = open_near(1000);
    uint64_t ref = near_put(&near, "key", 100000, 0);
    struct kvr_view view, more;
    enum kvr_status status;
    uint64_t start_ns;

    cr_assert_eq(view_of(client, "key", &view), KVR_OK);
    near_kill_owner(&near);
    near_kill_keeper(&near);
    start_ns = clock_ns();
    while ((status = view_of(client, "key", &more)) == KVR_OK) {
        kvr_release(client, &more, 1);
        pause_ms(10);
        cr_assert_lt(clock_ns() - start_ns, 5 * NS_PER_S);
    }
    cr_assert_eq(status, KVR_UNREACHABLE);
    cr_assert_eq(kvr_get(client, "key", 3, &more, sizeof(more), NULL), KVR_UNREACHABLE);
    cr_assert_eq(kvr_put(client, "key", 3, "x", 1, 0), KVR_UNREACHABLE);
    cr_assert(near_good(view.data, 100000, "key", ref));
    kvr_release(client, &view, 1);
    kvr_close(client);
    near_start_owner(&near);
    near_start_keeper(&near);
    near_stop(&near);
}

Test(local_restart, another_arena_is_mapped_and_views_of_the_old_one_stay)
{
    struct kvr_client *client = open_near(2000);
    uint64_t ref = near_put(&near, "key", 100000, 0), fresh;
    struct kvr_view old, view;
    struct kvr_server_info info;
    enum kvr_status status;

    cr_assert_eq(view_of(client, "key", &old), KVR_OK);
    near_replace(&near);
    fresh = near_put(&near, "key", 5000, 0);
    do {
        status = view_of(client, "key", &view);
        if (status == KVR_OK && view.len == 100000)
            kvr_release(client, &view, 1);
        pause_ms(5);
    } while (status != KVR_OK || view.len == 100000);
    cr_assert(near_good(view.data, 5000, "key", fresh));
    cr_assert(near_good(old.data, 100000, "key", ref));
    cr_assert_eq(kvr_put(client, "put", 3, "value", 5, 0), KVR_OK);
    kvr_server_info(client, &info);
    cr_assert_eq(info.arena, near.arena.sb->arena_id);
    kvr_release(client, &view, 1);
    cr_assert(near_good(old.data, 100000, "key", ref));
    kvr_release(client, &old, 1);
    cr_assert_eq(view_of(client, "put", &view), KVR_OK);
    kvr_close(client);
    near_stop(&near);
}

Test(local_restart, a_second_before_a_server_starts_is_waited_for)
{
    struct kvr_client *client = NULL;
    struct kvr_options options;

    kvr_options_init(&options);
    options.connect_ms = 300;
    near_setup(&near);
    cr_assert_eq(kvr_open(near.url, &options, &client), KVR_UNREACHABLE);
    cr_assert_null(client);
    near_start(&near);
    client = near_client(&near, NULL);
    kvr_close(client);
    near_stop(&near);
}
