/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that clients hold by hazard slots, as the owner and the reclaimer see them. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/random.h"
#include "fixture.h"
#include "shm/hazard.h"
#include "shm/partition_state.h"

#define SLOTS 8192u
#define VALUE 1000u

static struct fixture f;

struct reader {
    struct segment segment;
    struct hazards hazards;
    uint32_t id;
};

static void reader_open(struct reader *reader, uint32_t id)
{
    static const struct segment_spec spec = {.nr_slots = SLOTS, .nr_partitions = 1};

    reader->id = id;
    cr_assert_eq(segment_create(&spec, f.arena.sb->arena_id, &reader->segment), 0);
    cr_assert_eq(hazards_open(&reader->hazards, &reader->segment, hazards_register()), 0);
    cr_assert_eq(reclaim_client_add(f.reclaimer, id, &reader->segment), 0);
}

static void reader_close(struct reader *reader)
{
    reclaim_client_remove(f.reclaimer, reader->id);
    hazards_close(&reader->hazards);
    segment_close(&reader->segment);
}

/* Fills the slot number in and returns the block's index. */
static uint32_t holds(struct reader *reader, uint64_t number, uint32_t *slot)
{
    struct block_view view;

    cr_assert(fixture_find(&f, &number, sizeof(number), &view));
    *slot = hazard_publish(&reader->hazards, view.ref);
    cr_assert_neq(*slot, HAZARD_NONE);
    hazard_fence(&reader->hazards);
    cr_assert(hazard_holds(&f.arena, view.ref));
    return view.block;
}

static bool scanned_within(uint64_t scans, uint32_t ms)
{
    struct timespec pause = {.tv_nsec = 1000000};
    uint64_t target = counter_read(&f.arena.sb->reclaim.scans) + scans;

    for (uint64_t end = clock_ns() + ms * NS_PER_MS; clock_ns() < end; nanosleep(&pause, NULL))
        if (counter_read(&f.arena.sb->reclaim.scans) >= target)
            return true;
    return false;
}

static bool held_becomes(uint64_t nr)
{
    struct timespec pause = {.tv_nsec = 1000000};

    for (uint64_t end = clock_ns() + NS_PER_S; clock_ns() < end; nanosleep(&pause, NULL))
        if (counter_read(&f.arena.sb->reclaim.held) == nr)
            return true;
    return false;
}

static void fill(uint64_t first, uint64_t nr)
{
    for (uint64_t i = first; i < first + nr; i++)
        cr_assert_eq(fixture_put_number(&f, i, VALUE), KVR_OK);
}

static void create(void)
{
    fixture_create(&f, 4 << 20, 8192, "lru");
    fill(0, 1000);
}

static void destroy(void)
{
    cr_assert_eq(partition_audit(f.partition), 0);
    fixture_destroy(&f);
}

TestSuite(scan, .init = create, .fini = destroy);

Test(scan, held_block_is_reused_only_after_its_slot_is_empty)
{
    struct reader reader;
    uint32_t slot, block;
    uint64_t seven = 7;
    const struct block_desc *desc;

    reader_open(&reader, 1);
    block = holds(&reader, seven, &slot);
    desc = &f.arena.maps[0].descs[block];
    cr_assert_eq(fixture_del(&f, &seven, sizeof(seven)), KVR_OK);
    fill(5000, 3000);
    cr_assert(scanned_within(3, 2000));
    fixture_turn(&f);
    cr_assert_eq(desc->state, BLOCK_UNLINKED);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked - f.partition->nr_grace, 1);
    hazard_release(&reader.hazards, slot);
    fixture_settle(&f);
    cr_assert_eq(desc->state, BLOCK_FREE);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    reader_close(&reader);
}

static void forbid_membarrier(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = rules};

    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

Test(scan, client_without_fences_is_refused_where_nobody_can_fence_for_it)
{
    static const struct segment_spec spec = {.nr_slots = 64, .nr_partitions = 1};
    struct reclaimer *reclaimer;
    struct segment segment;
    struct hazards hazards;

    forbid_membarrier();
    cr_assert_not(hazards_register());
    cr_assert_eq(reclaimer_create(&f.arena, &reclaimer), 0);
    cr_assert_eq(segment_create(&spec, f.arena.sb->arena_id, &segment), 0);
    cr_assert_eq(hazards_open(&hazards, &segment, true), 0);
    cr_assert_eq(reclaim_client_add(reclaimer, 1, &segment), -EOPNOTSUPP);
    hazards_close(&hazards);
    cr_assert_eq(hazards_open(&hazards, &segment, false), 0);
    cr_assert_eq(reclaim_client_add(reclaimer, 1, &segment), 0);
    reclaim_client_remove(reclaimer, 1);
    reclaimer_destroy(reclaimer);
    hazards_close(&hazards);
    segment_close(&segment);
}

Test(scan, counts_what_each_client_holds)
{
    struct reader one, two;
    uint32_t slots[8];
    uint64_t blocks, bytes;

    reader_open(&one, 11);
    reader_open(&two, 12);
    holds(&one, 1, &slots[0]);
    holds(&one, 2, &slots[1]);
    holds(&one, 2, &slots[2]); /* twice the same */
    holds(&two, 2, &slots[3]);
    holds(&two, 3, &slots[4]);
    cr_assert(scanned_within(2, 2000));
    cr_assert(reclaim_client_held(f.reclaimer, 11, &blocks, &bytes));
    cr_assert_eq(blocks, 2);
    cr_assert_eq(bytes, 2 * VALUE);
    cr_assert(reclaim_client_held(f.reclaimer, 12, &blocks, &bytes));
    cr_assert_eq(blocks, 2);
    cr_assert_not(reclaim_client_held(f.reclaimer, 13, &blocks, &bytes));
    cr_assert_eq(f.arena.sb->reclaim.held, 3);
    cr_assert_eq(f.arena.sb->reclaim.held_bytes, 3 * VALUE);
    cr_assert_gt(f.arena.sb->reclaim.slots, 0);
    cr_assert_gt(f.arena.sb->reclaim.heartbeat_ns, 0);
    reader_close(&one);
    cr_assert(held_becomes(2));
    reader_close(&two);
    cr_assert(held_becomes(0));
    cr_assert_not(reclaim_holds_any(f.reclaimer));
}

Test(scan, client_that_is_removed_holds_nothing)
{
    struct reader reader;
    uint32_t slot;

    reader_open(&reader, 1);
    for (uint64_t i = 0; i < 500; i++) {
        holds(&reader, i, &slot);
        cr_assert_eq(fixture_del(&f, &i, sizeof(i)), KVR_OK);
    }
    for (int i = 0; i < 2000; i++)
        fixture_turn(&f);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 500);
    reader_close(&reader);
    fixture_settle(&f);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    cr_assert(held_becomes(0));
}

/* Whatever a client writes costs only itself. */
Test(scan, slots_full_of_noise_are_harmless)
{
    struct reader reader;
    uint64_t blocks, bytes;
    struct rng rng;

    rng_seed(&rng, 4);
    reader_open(&reader, 1);
    for (int round = 0; round < 30; round++) {
        reader.segment.header->slots_used = round % 2 ? SLOTS : UINT32_MAX;
        for (uint32_t i = 0; i < SLOTS; i++) {
            uint64_t block = rng_below(&rng, 9000), generation = rng_below(&rng, 4);

            reader.segment.slots[i] = round % 3 ? generation << 32 | block : rng_next(&rng);
        }
        fill(5000 + (uint64_t)round * 300, 300);
        cr_assert_eq(partition_audit(f.partition), 0);
    }
    cr_assert(reclaim_client_held(f.reclaimer, 1, &blocks, &bytes));
    cr_assert_leq(blocks, SLOTS);
    memset(reader.segment.slots, 0, SLOTS * sizeof(uint64_t));
    fixture_settle(&f);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    reader_close(&reader);
}

Test(scan, stale_slot_holds_nothing)
{
    struct reader reader;
    struct block_view view;
    uint32_t slot, block;
    uint64_t seven = 7;

    reader_open(&reader, 1);
    cr_assert(fixture_find(&f, &seven, sizeof(seven), &view));
    cr_assert_eq(fixture_del(&f, &seven, sizeof(seven)), KVR_OK);
    fixture_settle(&f);
    cr_assert_eq(fixture_put_number(&f, 9999, VALUE), KVR_OK);
    slot = hazard_publish(&reader.hazards, view.ref);
    block = holds(&reader, 9999, &slot);
    cr_assert_eq(block, view.block, "the same descriptor");
    hazard_release(&reader.hazards, slot);
    cr_assert_eq(fixture_del(&f, &(uint64_t){9999}, 8), KVR_OK);
    fixture_settle(&f);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
    cr_assert_not(reclaim_held(f.reclaimer, view.block));
    reader_close(&reader);
}

Test(scan, eviction_passes_by_what_clients_hold)
{
    struct reader reader;
    uint32_t slot;

    reader_open(&reader, 1);
    for (uint64_t i = 0; i < 700; i++) /* the coldest ones */
        holds(&reader, i, &slot);
    cr_assert(scanned_within(2, 2000));
    fill(5000, 6000);
    for (uint64_t i = 0; i < 700; i++)
        cr_assert(fixture_has(&f, i), "%lu", (unsigned long)i);
    cr_assert_not(fixture_has(&f, 900));
    reader_close(&reader);
    cr_assert(held_becomes(0));
    /* Then they are blocks like any. */
    for (int i = 0; i < 30; i++) {
        f.now_ms += 100;
        fixture_turn(&f);
    }
    fill(20000, 8000);
    for (uint64_t i = 0; i < 700; i++)
        cr_assert_not(fixture_has(&f, i), "%lu", (unsigned long)i);
}

/* Reserves until the answer is final, as time goes by. */
static enum kvr_status reserve_patiently(const char *key, uint32_t value_len)
{
    struct block_request request = {.key = key,
                                    .key_len = (uint32_t)strlen(key),
                                    .hash = fixture_hash(&f, key, strlen(key)),
                                    .value_len = value_len};
    enum kvr_status status = KVR_BUSY;
    uint32_t block;

    for (uint64_t end = clock_ns() + 3 * NS_PER_S; status == KVR_BUSY && clock_ns() < end;) {
        f.now_ms = arena_ms(&f.arena, clock_ns());
        status = partition_reserve(f.partition, &request, f.now_ms, &block);
        if (status == KVR_BUSY)
            fixture_turn(&f);
    }
    if (status == KVR_OK)
        partition_abort(f.partition, block);
    return status;
}

Test(scan, where_clients_hold_everything_there_is_no_space)
{
    struct reader reader;
    struct block_view view;
    uint32_t slot;
    uint64_t nr = 0, more = 0;

    fill(0, 6000);
    reader_open(&reader, 1);
    for (uint64_t i = 0; i < 6000; i++)
        if (fixture_find(&f, &i, sizeof(i), &view)) {
            holds(&reader, i, &slot);
            nr++;
        }
    cr_assert_gt(nr, 3000);
    cr_assert(scanned_within(2, 2000));
    for (; more < 500 && reserve_patiently("same", VALUE) == KVR_OK; more++) {
        cr_assert_eq(fixture_put_number(&f, 10000 + more, VALUE), KVR_OK); /* kept free ahead */
        holds(&reader, 10000 + more, &slot);
    }
    cr_assert(scanned_within(2, 2000));
    cr_assert_eq(reserve_patiently("same", VALUE), KVR_NO_SPACE);
    cr_assert_eq(reserve_patiently("larger", 100000), KVR_NO_SPACE);
    for (uint32_t i = 0; i < SLOTS; i++)
        reader.segment.slots[i] = 0;
    cr_assert(held_becomes(0));
    cr_assert_eq(reserve_patiently("same", VALUE), KVR_OK);
    cr_assert_eq(reserve_patiently("larger", 100000), KVR_OK);
    reader_close(&reader);
}

Test(scan, parked_blocks_cost_a_turn_nothing_until_something_changes)
{
    struct reader reader;
    static uint32_t slots[1000];

    reader_open(&reader, 1);
    for (uint64_t i = 0; i < 1000; i++) {
        holds(&reader, i, &slots[i]);
        cr_assert_eq(fixture_del(&f, &i, sizeof(i)), KVR_OK);
    }
    for (uint64_t end = clock_ns() + NS_PER_S;
         clock_ns() < end && (f.partition->nr_grace || f.partition->held_ones.left);)
        fixture_turn(&f);
    cr_assert_eq(f.partition->held_ones.nr, 1000);
    partition_poll(f.partition, f.now_ms);
    cr_assert_eq(f.partition->held_ones.left, 0, "nobody looks at them");
    hazard_release(&reader.hazards, slots[999]);
    for (uint64_t end = clock_ns() + NS_PER_S;
         clock_ns() < end && f.partition->held_ones.nr == 1000;)
        fixture_turn(&f);
    cr_assert_eq(f.partition->held_ones.nr, 999, "the last one is found behind 999 others");
    reader_close(&reader);
    fixture_settle(&f);
    cr_assert_eq(arena_part(&f.arena, 0)->unlinked, 0);
}
