/* SPDX-License-Identifier: Apache-2.0 */
/* Hits out of the mapped arena: what is held stays, what is gone is missed, what is uncertain is
 * waited out. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "near_server.h"
#include "shm/bucket.h"
#include "shm/words.h"

static struct near_server near;

static struct kvr_client *open_near(const struct kvr_options *options)
{
    near_setup(&near);
    near_start(&near);
    return near_client(&near, options);
}

static struct kvr_options options_of(uint32_t timeout_ms)
{
    struct kvr_options options;

    kvr_options_init(&options);
    options.timeout_ms = timeout_ms;
    options.connect_ms = 20000;
    return options;
}

static void finish(struct kvr_client *client)
{
    kvr_close(client);
    near_stop(&near);
}

static enum kvr_status view_of(struct kvr_client *client, const char *key, struct kvr_view *view)
{
    return kvr_get_view(client, key, strlen(key), view);
}

static void expect_view(struct kvr_client *client, const char *key, uint32_t len, uint64_t ref,
                        struct kvr_view *view)
{
    enum kvr_status status = view_of(client, key, view);

    cr_assert_eq(status, KVR_OK, "%s: %s", key, kvr_status_name(status));
    cr_assert_eq(view->len, len);
    cr_assert_eq(view->ref, ref);
    cr_assert(near_good(view->data, len, key, ref));
    cr_assert_eq(view->crc, crc32c(0, view->data, view->len));
}

/* Makes the whole arena be reused. */
static void churn(void)
{
    char key[32];

    for (unsigned i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "churn-%u", i);
        near_put(&near, key, 16384, 0);
    }
}

Test(local, a_stored_value_is_seen_where_it_lies)
{
    struct kvr_client *client = open_near(NULL);
    uint64_t ref = near_put(&near, "here", 100000, 0);
    struct kvr_server_info info;
    struct kvr_view view;

    expect_view(client, "here", 100000, ref, &view);
    cr_assert_eq(view.ttl_ms, 0);
    cr_assert_eq(view.tier, KVR_TIER_HOST);
    kvr_release(client, &view, 1);
    cr_assert_eq(near.nr_seen[KVR_GET], 0);
    kvr_server_info(client, &info);
    cr_assert_eq(info.arena, near.arena.sb->arena_id);
    finish(client);
}

Test(local, an_absent_key_is_a_miss)
{
    struct kvr_client *client = open_near(NULL);
    struct kvr_view view;

    cr_assert_eq(view_of(client, "nowhere", &view), KVR_MISS);
    cr_assert_eq(kvr_get_view(client, "", 0, &view), KVR_INVALID);
    cr_assert_eq(kvr_get_view(client, NULL, 3, &view), KVR_INVALID);
    finish(client);
}

Test(local, long_keys_and_empty_values_are_found)
{
    struct kvr_client *client = open_near(NULL);
    char key[600];
    struct kvr_view view;
    uint64_t ref;

    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    ref = near_put(&near, key, 77, 0);
    expect_view(client, key, 77, ref, &view);
    kvr_release(client, &view, 1);
    ref = near_put(&near, "empty", 0, 0);
    expect_view(client, "empty", 0, ref, &view);
    kvr_release(client, &view, 1);
    finish(client);
}

Test(local, a_value_past_its_time_is_a_miss)
{
    struct kvr_client *client = open_near(NULL);
    struct timespec pause = {.tv_nsec = 100 * NS_PER_MS};
    struct kvr_view view;

    near_put(&near, "short", 1000, 60000);
    cr_assert_eq(view_of(client, "short", &view), KVR_OK);
    cr_assert(view.ttl_ms > 30000 && view.ttl_ms <= 60000);
    kvr_release(client, &view, 1);
    near_put(&near, "short", 1000, 50);
    nanosleep(&pause, NULL);
    cr_assert_eq(view_of(client, "short", &view), KVR_MISS);
    finish(client);
}

Test(local, what_is_held_survives_overwriting_deletion_and_eviction)
{
    struct kvr_client *client = open_near(NULL);
    struct kvr_view overwritten, deleted, evicted, fresh;
    uint64_t refs[4];

    refs[0] = near_put(&near, "overwritten", 16384, 0);
    refs[1] = near_put(&near, "deleted", 16384, 0);
    refs[2] = near_put(&near, "evicted", 16384, 0);
    expect_view(client, "overwritten", 16384, refs[0], &overwritten);
    expect_view(client, "deleted", 16384, refs[1], &deleted);
    expect_view(client, "evicted", 16384, refs[2], &evicted);
    refs[3] = near_put(&near, "overwritten", 16384, 0);
    near_del(&near, "deleted");
    churn();
    near_poll(&near);
    churn();
    cr_assert(near_good(overwritten.data, 16384, "overwritten", refs[0]));
    cr_assert(near_good(deleted.data, 16384, "deleted", refs[1]));
    cr_assert(near_good(evicted.data, 16384, "evicted", refs[2]));
    cr_assert_eq(view_of(client, "deleted", &fresh), KVR_MISS);
    kvr_release(client, &overwritten, 1);
    kvr_release(client, &deleted, 1);
    kvr_release(client, &evicted, 1);
    near_poll(&near);
    churn();
    cr_assert_eq(partition_audit(near.partition), 0);
    finish(client);
}

Test(local, a_second_view_of_an_overwritten_key_is_the_new_value)
{
    struct kvr_client *client = open_near(NULL);
    uint64_t first = near_put(&near, "twice", 500, 0), second;
    struct kvr_view old, fresh;

    expect_view(client, "twice", 500, first, &old);
    second = near_put(&near, "twice", 700, 0);
    expect_view(client, "twice", 700, second, &fresh);
    cr_assert(near_good(old.data, 500, "twice", first));
    kvr_release(client, &old, 1);
    kvr_release(client, &fresh, 1);
    finish(client);
}

Test(local, no_more_than_max_held_values_are_held)
{
    struct kvr_options options = options_of(20000);
    struct kvr_view views[101];
    struct kvr_client *client;
    char bytes[100];
    size_t len;

    options.max_held = 100;
    client = open_near(&options);
    near_put(&near, "many", 100, 0);
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(view_of(client, "many", &views[i]), KVR_OK);
    cr_assert_eq(view_of(client, "many", &views[100]), KVR_LIMIT);
    /* A copy holds its value only while it copies. */
    cr_assert_eq(kvr_get(client, "many", 4, bytes, sizeof(bytes), &len), KVR_OK);
    kvr_release(client, views, 1);
    cr_assert_eq(view_of(client, "many", &views[0]), KVR_OK);
    kvr_release(client, views, 100);
    kvr_release(client, views, 100); /* twice is once */
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(view_of(client, "many", &views[i]), KVR_OK);
    cr_assert_eq(view_of(client, "many", &views[100]), KVR_LIMIT);
    finish(client);
}

Test(local, no_more_bytes_are_held_than_the_server_allows)
{
    struct kvr_view views[4];
    struct kvr_client *client;

    near_setup(&near);
    near.pinned_max = 250000;
    near_start(&near);
    client = near_client(&near, NULL);
    near_put(&near, "big", 100000, 0);
    cr_assert_eq(view_of(client, "big", &views[0]), KVR_OK);
    cr_assert_eq(view_of(client, "big", &views[1]), KVR_OK);
    cr_assert_eq(view_of(client, "big", &views[2]), KVR_LIMIT);
    kvr_release(client, views, 1);
    cr_assert_eq(view_of(client, "big", &views[2]), KVR_OK);
    finish(client);
}

Test(local, a_chain_is_held_up_to_its_first_gap)
{
    struct kvr_client *client = open_near(NULL);
    char names[100][16];
    struct kvr_key keys[100];
    struct kvr_view views[100];
    uint64_t refs[100];
    uint32_t prefix;

    for (unsigned i = 0; i < 100; i++) {
        snprintf(names[i], sizeof(names[i]), "link-%u", i);
        keys[i] = (struct kvr_key){names[i], (uint32_t)strlen(names[i])};
        refs[i] = near_put(&near, names[i], 1000 + i, 0);
    }
    cr_assert_eq(kvr_match_views(client, keys, 100, views, &prefix), KVR_OK);
    cr_assert_eq(prefix, 100);
    for (unsigned i = 0; i < 100; i++)
        cr_assert(views[i].ref == refs[i] && near_good(views[i].data, 1000 + i, names[i], refs[i]));
    kvr_release(client, views, prefix);
    near_del(&near, "link-77");
    cr_assert_eq(kvr_match_views(client, keys, 100, views, &prefix), KVR_OK);
    cr_assert_eq(prefix, 77);
    kvr_release(client, views, prefix);
    near_del(&near, "link-0");
    cr_assert_eq(kvr_match_views(client, keys, 100, views, &prefix), KVR_OK);
    cr_assert_eq(prefix, 0);
    cr_assert_eq(kvr_match_views(client, keys, 0, NULL, &prefix), KVR_OK);
    finish(client);
}

Test(local, a_chain_longer_than_the_limit_is_held_as_far_as_it_goes)
{
    struct kvr_options options = options_of(20000);
    char names[100][16];
    struct kvr_key keys[100];
    struct kvr_view views[100];
    struct kvr_client *client;
    uint32_t prefix;

    options.max_held = 64;
    client = open_near(&options);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(names[i], sizeof(names[i]), "link-%u", i);
        keys[i] = (struct kvr_key){names[i], (uint32_t)strlen(names[i])};
        near_put(&near, names[i], 1000, 0);
    }
    cr_assert_eq(kvr_match_views(client, keys, 100, views, &prefix), KVR_LIMIT);
    cr_assert_eq(prefix, 64);
    kvr_release(client, views, prefix);
    finish(client);
}

Test(local, match_needs_no_server_either)
{
    struct kvr_client *client = open_near(NULL);
    char names[70][16];
    struct kvr_key keys[70];
    struct kvr_match matches[70];
    uint32_t prefix;

    for (unsigned i = 0; i < 70; i++) {
        snprintf(names[i], sizeof(names[i]), "link-%u", i);
        keys[i] = (struct kvr_key){names[i], (uint32_t)strlen(names[i])};
        if (i != 40 && i != 50)
            near_put(&near, names[i], 10 + i, 0);
    }
    cr_assert_eq(kvr_match(client, keys, 70, matches, &prefix), KVR_OK);
    cr_assert_eq(prefix, 40);
    for (unsigned i = 0; i < 70; i++) {
        cr_assert_eq(matches[i].present, i != 40 && i != 50);
        cr_assert_eq(matches[i].value_len, matches[i].present ? 10 + i : 0);
    }
    cr_assert_eq(near.nr_seen[KVR_MATCH], 0);
    finish(client);
}

Test(local, get_copies_views_of_a_value)
{
    struct kvr_client *client = open_near(NULL);
    uint64_t ref = near_put(&near, "value", 10000, 0);
    uint8_t value[10000], bytes[10000];
    struct kvr_call call = {
        .op = KVR_CALL_GET, .key = {"value", 5}, .buffer = bytes, .buffer_len = sizeof(bytes)};

    near_fill(value, sizeof(value), "value", ref);
    cr_assert_eq(kvr_do(client, &call), KVR_OK);
    cr_assert(call.result_len == 10000 && memcmp(bytes, value, 10000) == 0);
    cr_assert(call.ref == ref && call.stored_len == 10000 && call.tier == KVR_TIER_HOST);
    cr_assert_gt(call.latency_ns, 0);
    call.off = 9000;
    cr_assert_eq(kvr_do(client, &call), KVR_OK);
    cr_assert(call.result_len == 1000 && memcmp(bytes, value + 9000, 1000) == 0);
    call.off = 100;
    call.len = 10;
    call.stride = 1000;
    call.count = 9;
    cr_assert_eq(kvr_do(client, &call), KVR_OK);
    cr_assert_eq(call.result_len, 90);
    for (unsigned i = 0; i < 9; i++)
        cr_assert_eq(memcmp(bytes + 10 * i, value + 100 + 1000 * i, 10), 0);
    call.count = 11;
    cr_assert_eq(kvr_do(client, &call), KVR_BAD_RANGE);
    call = (struct kvr_call){
        .op = KVR_CALL_GET, .key = {"value", 5}, .buffer = bytes, .buffer_len = 9999};
    cr_assert_eq(kvr_do(client, &call), KVR_BUFFER_TOO_SMALL);
    cr_assert_eq(call.result_len, 10000);
    call.meta_only = 1;
    cr_assert_eq(kvr_do(client, &call), KVR_OK);
    cr_assert(call.stored_len == 10000 && call.result_len == 0);
    call.if_ref = ref + (1ull << 32);
    cr_assert_eq(kvr_do(client, &call), KVR_STALE);
    call.key.data = "other";
    cr_assert_eq(kvr_do(client, &call), KVR_MISS);
    cr_assert_eq(near.nr_seen[KVR_GET], 0);
    finish(client);
}

static unsigned nr_done;

static void count_done(struct kvr_call *call)
{
    cr_assert_eq(call->status, KVR_OK);
    nr_done++;
}

Test(local, submitted_gets_end_in_kvr_poll)
{
    struct kvr_client *client = open_near(NULL);
    uint64_t ref = near_put(&near, "value", 1000, 0);
    uint8_t bytes[1000];
    struct kvr_call get = {.op = KVR_CALL_GET,
                           .key = {"value", 5},
                           .buffer = bytes,
                           .buffer_len = sizeof(bytes),
                           .done = count_done},
                    ping = {.op = KVR_CALL_PING, .done = count_done};
    struct pollfd fd = {.fd = kvr_fd(client), .events = POLLIN};

    cr_assert_eq(kvr_submit(client, &get), KVR_OK);
    cr_assert_eq(kvr_submit(client, &ping), KVR_OK);
    cr_assert_eq(nr_done, 0);
    while (nr_done < 2) {
        cr_assert_eq(poll(&fd, 1, 10000), 1);
        kvr_poll(client, 0);
    }
    cr_assert(near_good(bytes, 1000, "value", ref));
    finish(client);
}

Test(local, a_lease_is_asked_of_the_server_and_the_bytes_are_not)
{
    struct kvr_client *client = open_near(NULL);
    uint64_t ref = near_put(&near, "value", 100000, 0);
    static uint8_t bytes[100000];
    struct kvr_call call = {.op = KVR_CALL_GET,
                            .key = {"value", 5},
                            .buffer = bytes,
                            .buffer_len = sizeof(bytes),
                            .lease_ms = 1000};

    cr_assert_eq(kvr_do(client, &call), KVR_OK);
    cr_assert(call.pinned && call.result_len == 100000);
    cr_assert(near_good(bytes, 100000, "value", ref));
    cr_assert_eq(near.nr_seen[KVR_GET], 1);
    finish(client);
}

/* The owner is in the middle of a change, for as long as the test wants. */
static uint32_t *version_of(const char *key)
{
    const struct part_map *map = &near.arena.maps[0];

    return &map->buckets[hash_bucket(near_hash(&near, key), map->nr_buckets)].version;
}

static void *undo_later(void *arg)
{
    struct timespec pause = {.tv_nsec = 50 * NS_PER_MS};
    uint32_t *version = arg;

    nanosleep(&pause, NULL);
    shared_store(version, *version + 1);
    return NULL;
}

/* A key that long is compared outside its descriptor, so it is never found by the short way. */
#define LONG_KEY "a-key-of-more-than-the-thirty-two-bytes-that-a-descriptor-takes"

Test(local, a_bucket_that_is_being_changed_is_waited_for)
{
    struct kvr_client *client = open_near(NULL);
    uint64_t ref = near_put(&near, LONG_KEY, 1000, 0);
    uint32_t *version = version_of(LONG_KEY);
    struct kvr_view view;
    pthread_t thread;
    uint8_t bytes[1000];

    shared_store(version, *version + 1);
    pthread_create(&thread, NULL, undo_later, version);
    expect_view(client, LONG_KEY, 1000, ref, &view);
    pthread_join(thread, NULL);
    kvr_release(client, &view, 1);
    shared_store(version, *version + 1);
    pthread_create(&thread, NULL, undo_later, version);
    cr_assert_eq(kvr_get(client, LONG_KEY, strlen(LONG_KEY), bytes, sizeof(bytes), NULL), KVR_OK);
    pthread_join(thread, NULL);
    finish(client);
}

Test(local, a_miss_in_a_bucket_that_stays_undecided_is_none)
{
    struct kvr_options options = options_of(100);
    struct kvr_client *client = open_near(&options);
    uint32_t *version = version_of("absent"), prefix;
    struct kvr_key keys[2] = {{"value", 5}, {"absent", 6}};
    struct kvr_view views[2];
    uint64_t start_ns;
    uint8_t bytes[1000];

    near_put(&near, "value", 1000, 0);
    shared_store(version, *version + 1);
    start_ns = clock_ns();
    cr_assert_eq(view_of(client, "absent", views), KVR_TIMEOUT);
    cr_assert_eq(kvr_match_views(client, keys, 2, views, &prefix), KVR_TIMEOUT);
    cr_assert_eq(kvr_get(client, "absent", 6, bytes, sizeof(bytes), NULL), KVR_TIMEOUT);
    cr_assert_eq(kvr_match(client, keys, 2, NULL, &prefix), KVR_TIMEOUT);
    cr_assert_geq(clock_ns() - start_ns, 400 * NS_PER_MS);
    shared_store(version, *version + 1);
    cr_assert_eq(view_of(client, "absent", views), KVR_MISS);
    finish(client);
}

static void *end_recovery(void *arg)
{
    struct timespec pause = {.tv_nsec = 50 * NS_PER_MS};

    (void)arg;
    nanosleep(&pause, NULL);
    near_put(&near, "late", 500, 0);
    __atomic_add_fetch(&near.arena.sb->recovery, 1, __ATOMIC_RELEASE);
    return NULL;
}

Test(local, nothing_is_a_miss_while_the_arena_is_recovered)
{
    struct kvr_client *client = open_near(NULL);
    uint64_t ref = near_put(&near, "there", 500, 0);
    struct kvr_view view;
    pthread_t thread;

    __atomic_add_fetch(&near.arena.sb->recovery, 1, __ATOMIC_RELEASE);
    pthread_create(&thread, NULL, end_recovery, NULL);
    expect_view(client, "there", 500, ref, &view); /* a hit is a hit */
    cr_assert_eq(view_of(client, "late", &view), KVR_OK);
    pthread_join(thread, NULL);
    cr_assert_eq(view_of(client, "never", &view), KVR_MISS);
    finish(client);
}

Test(local, hits_are_told_to_the_owner)
{
    struct kvr_client *client = open_near(NULL);
    uint64_t ref = near_put(&near, "value", 10, 0);
    struct segment_rings rings = segment_rings_of(&near.segments[0], 0);
    struct kvr_view view;

    for (unsigned i = 0; i < 3000; i++) {
        expect_view(client, "value", 10, ref, &view);
        kvr_release(client, &view, 1);
    }
    cr_assert_eq(shared_load(&rings.group->access_tail), 3000);
    for (unsigned i = 0; i < SEGMENT_ACCESSES; i++)
        cr_assert_eq(rings.accesses[i], ref);
    cr_assert_eq(near.segments[0].header->hits, 3000);
    cr_assert_eq(near.segments[0].header->hit_bytes, 30000);
    finish(client);
}

Test(local, a_damaged_value_is_reported_and_deleted)
{
    struct kvr_client *client = open_near(NULL);
    uint8_t bytes[1000];
    struct kvr_view view;
    size_t len;

    near_put(&near, "value", 1000, 0);
    cr_assert_eq(view_of(client, "value", &view), KVR_OK);
    near.arena.data[(const uint8_t *)view.data - (const uint8_t *)view.data +
                    (uint64_t)near.arena.maps[0].descs[(uint32_t)view.ref].place * DATA_UNIT] ^= 1;
    cr_assert_eq(kvr_get_copy(client, "value", 5, bytes, sizeof(bytes), 0, &len), KVR_OK);
    cr_assert_eq(kvr_get_copy(client, "value", 5, bytes, sizeof(bytes), 1, &len), KVR_CORRUPT);
    cr_assert_eq(len, 0);
    cr_assert_eq(kvr_ping(client, NULL), KVR_OK); /* it goes by the same ring, after the DEL */
    cr_assert_eq(kvr_get_copy(client, "value", 5, bytes, sizeof(bytes), 1, &len), KVR_MISS);
    kvr_release(client, &view, 1);
    finish(client);
}

Test(local, a_child_of_fork_does_no_harm)
{
    struct kvr_client *client = open_near(NULL);
    uint64_t ref = near_put(&near, "value", 10000, 0);
    struct kvr_view view, other;
    uint8_t bytes[10000];
    int status;
    pid_t pid;

    expect_view(client, "value", 10000, ref, &view);
    pid = fork();
    if (pid == 0) {
        bool refused = view_of(client, "value", &other) == KVR_INVALID &&
                       kvr_get(client, "value", 5, bytes, sizeof(bytes), NULL) == KVR_INVALID &&
                       kvr_put(client, "value", 5, "x", 1, 0) == KVR_INVALID &&
                       kvr_poll(client, 0) == 0;

        kvr_release(client, &view, 1);
        kvr_close(client);
        _exit(refused ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    near_del(&near, "value");
    churn();
    near_poll(&near);
    churn();
    cr_assert(near_good(view.data, 10000, "value", ref));
    cr_assert_eq(near.segments[0].header->closed, 0);
    kvr_release(client, &view, 1);
    finish(client);
}

Test(local, closing_says_so_in_the_segment)
{
    struct kvr_client *client = open_near(NULL);

    kvr_close(client);
    cr_assert_eq(shared_load(&near.segments[0].header->closed), 1);
    near_stop(&near);
}

Test(local, several_handles_hold_independently)
{
    struct kvr_client *a = open_near(NULL), *b = near_client(&near, NULL);
    uint64_t ref = near_put(&near, "value", 10000, 0);
    struct kvr_view of_a, of_b;

    expect_view(a, "value", 10000, ref, &of_a);
    expect_view(b, "value", 10000, ref, &of_b);
    kvr_release(a, &of_a, 1);
    kvr_close(a);
    near_del(&near, "value");
    churn();
    near_poll(&near);
    churn();
    cr_assert(near_good(of_b.data, 10000, "value", ref));
    finish(b);
}
