/* SPDX-License-Identifier: Apache-2.0 */
/* What an item of 64 bytes costs beyond its key and value: resident memory of a process that
 * stores so many of them, less what it had before, in every segment and in private memory; again
 * after each was replaced by another. A plain program: exit 1 where keys of 32 bytes cost more
 * than OVERHEAD_MAX, 77 under sanitizers, which need memory of their own.
 * Usage: footprint [ITEMS] */
#include <inttypes.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/partition.h"
#include "shm/reclaim.h"

#define VALUE_LEN 64u
#define KEY_MAX 48u
#define OVERHEAD_MAX 64.0

extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "footprint: %s\n", what);
    exit(2);
}

static uint64_t resident(void)
{
    FILE *status = fopen("/proc/self/status", "re");
    uint64_t kib = 0;
    char line[128];

    check(status != NULL, "no /proc/self/status");
    while (fgets(line, sizeof(line), status) && sscanf(line, "VmRSS: %" SCNu64, &kib) != 1)
        ;
    fclose(status);
    check(kib, "no VmRSS");
    return kib << 10;
}

static void put(struct arena *arena, struct partition *partition, uint64_t number, uint32_t key_len)
{
    uint8_t key[KEY_MAX] = {0};
    struct block_request request = {.key = key, .key_len = key_len, .value_len = VALUE_LEN};
    enum kvr_status status;
    uint32_t block;
    uint64_t ref;

    memcpy(key, &number, sizeof(number));
    request.hash = hash_key(key, key_len, arena->sb->seed);
    do {
        status = partition_reserve(partition, &request, 1, &block);
        if (status == KVR_BUSY && !partition_poll(partition, 1))
            sched_yield();
    } while (status == KVR_BUSY);
    check(status == KVR_OK, "an item was refused");
    memset(partition_value(partition, block), (int)number, VALUE_LEN);
    check(partition_seal(partition, block, 0, false, 1, &ref) == KVR_OK, "no seal");
}

/* Bytes an item beyond key and value, when it holds as many as it can. */
static double overhead(uint64_t before, const struct part_header *header, uint32_t key_len)
{
    return (double)(resident() - before) / (double)header->items - key_len - VALUE_LEN;
}

static double item(uint64_t items, uint32_t key_len, const char *policy)
{
    /* Data for all of them and a chunk more, so that descriptors run out first. */
    struct arena_spec spec = {.data_size = items * VALUE_LEN + (8 << 20),
                              .nr_partitions = 1,
                              .nr_cores = 1,
                              .blocks_max = items,
                              .seed = 7};
    struct partition_options options = {.policy = policy};
    struct partition_recovery recovery;
    struct partition *partition;
    const struct part_header *header;
    struct arena arena;
    uint64_t before = resident(), number = 0;
    double once, turned;

    if (key_len > KEY_INLINE)
        spec.data_size += items * DATA_UNIT;
    check(!arena_create(&spec, &arena), "no arena");
    check(!reclaimer_create(&arena, &options.reclaimer), "no reclaimer");
    check(!partition_open(&arena, 0, &options, &partition, &recovery), "no partition");
    header = arena_part(&arena, 0);
    while (!header->evictions)
        put(&arena, partition, number++, key_len);
    once = overhead(before, header, key_len);
    for (uint64_t i = 0; i < items; i++)
        put(&arena, partition, number++, key_len);
    turned = overhead(before, header, key_len);
    printf("%-6s %4u %9" PRIu64 " %8.1f %8.1f\n", policy, key_len, header->items, once, turned);
    partition_close(partition);
    reclaimer_destroy(options.reclaimer);
    arena_close(&arena);
    return once > turned ? once : turned;
}

int main(int argc, char **argv)
{
    uint64_t items = argc > 1 ? strtoull(argv[1], NULL, 10) : 500000;
    bool good = true;

    if (&__asan_init || &__tsan_init) {
        puts("footprint: skipped, sanitizers add memory of their own");
        return 77;
    }
    (void)mallopt(M_PERTURB, 0); /* meson asks for it, and it touches all memory */
    check(items >= 100000, "usage: footprint [ITEMS], at least 100000");
    puts("policy  key     items     once    churn  (B an item beyond key and 64 B of value)");
    good &= item(items, 32, "lru") <= OVERHEAD_MAX;
    (void)item(items, 16, "lru");
    (void)item(items, 8, "lru");
    (void)item(items, 48, "lru");
    good &= item(items, 32, "fifo") <= OVERHEAD_MAX;
    good &= item(items, 32, "lfu") <= OVERHEAD_MAX;
    return good ? 0 : 1;
}
