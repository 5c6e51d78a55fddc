/* SPDX-License-Identifier: Apache-2.0 */
/* How much of a region the blocks of real models fill: up to the first eviction, after every block
 * was replaced three times over, and after another model's blocks had filled the region before.
 * A plain program. Values are reserved and sealed, never written, so a region takes no memory.
 * Usage: fill [REGION_MIB]; exit 1 where a model falls below FILL_MIN in a region of 4 GiB, 77
 * where the machine has no room for the region. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/partition.h"
#include "shm/reclaim.h"

#define MIB (1ull << 20)
#define FILL_MIN 0.95
#define BLOCK_BYTES 16384u /* so many a descriptor */
#define ROUNDS 3u          /* of the churn */

/* Bytes of keys and values of one token, over all layers. */
static const struct {
    const char *name;
    uint32_t token_bytes;
} models[] = {
    {"Llama-3-8B, Mistral-7B 16 bit", 32 * 2 * 8 * 128 * 2},
    {"Llama-3-8B, Mistral-7B 8 bit", 32 * 2 * 8 * 128},
    {"Llama-3-70B, Qwen2.5-72B 16 bit", 80 * 2 * 8 * 128 * 2},
    {"Llama-3-70B, Qwen2.5-72B 8 bit", 80 * 2 * 8 * 128},
    {"Qwen2.5-7B 16 bit", 28 * 2 * 4 * 128 * 2},
    {"Qwen2.5-7B 8 bit", 28 * 2 * 4 * 128},
    {"DeepSeek-V3 16 bit", 61 * 576 * 2},
    {"DeepSeek-V3 8 bit", 61 * 576},
};
static const uint32_t tokens[] = {16, 64, 256, 512};

struct bed {
    struct arena arena;
    struct reclaimer *reclaimer;
    struct partition *partition;
    uint32_t now_ms;
    uint64_t key;
};

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "fill: %s\n", what);
    exit(2);
}

static void bed_open(struct bed *bed, uint64_t region_size, uint64_t blocks_max)
{
    struct arena_spec spec = {.data_size = region_size,
                              .nr_partitions = 1,
                              .nr_cores = 1,
                              .blocks_max = blocks_max,
                              .seed = 7};
    struct partition_options options = {.policy = "lru"};
    struct partition_recovery recovery;
    int error;

    memset(bed, 0, sizeof(*bed));
    bed->now_ms = 1000;
    error = arena_create(&spec, &bed->arena);
    if (error == -ENOMEM) {
        puts("fill: skipped, the machine has less memory free than the region is large");
        exit(77);
    }
    check(!error, "no arena");
    check(!reclaimer_create(&bed->arena, &bed->reclaimer), "no reclaimer");
    options.reclaimer = bed->reclaimer;
    check(!partition_open(&bed->arena, 0, &options, &bed->partition, &recovery), "no partition");
}

static void bed_close(struct bed *bed)
{
    partition_close(bed->partition);
    reclaimer_destroy(bed->reclaimer);
    arena_close(&bed->arena);
}

static void put(struct bed *bed, uint32_t value_len)
{
    struct block_request request = {
        .key = &bed->key, .key_len = sizeof(bed->key), .value_len = value_len};
    enum kvr_status status;
    uint32_t block;
    uint64_t ref;

    bed->key++;
    request.hash = hash_key(&bed->key, sizeof(bed->key), bed->arena.sb->seed);
    do {
        status = partition_reserve(bed->partition, &request, bed->now_ms, &block);
        if (status == KVR_BUSY && !partition_poll(bed->partition, bed->now_ms))
            sched_yield();
    } while (status == KVR_BUSY);
    check(status == KVR_OK, "a block was refused");
    check(partition_seal(bed->partition, block, 0, false, bed->now_ms, &ref) == KVR_OK, "no seal");
}

static double share(const struct bed *bed)
{
    return (double)arena_part(&bed->arena, 0)->value_bytes / (double)bed->arena.region_size;
}

/* Up to the first eviction. */
static double fill_once(struct bed *bed, uint32_t value_len)
{
    const struct part_header *header = arena_part(&bed->arena, 0);
    uint64_t evictions = header->evictions;
    double before = 0;

    while (header->evictions == evictions) {
        before = share(bed);
        put(bed, value_len);
    }
    return before;
}

/* The mean over so many more puts of a full region. */
static double churn(struct bed *bed, uint32_t value_len, uint64_t puts)
{
    double sum = 0;

    for (uint64_t i = 0; i < puts; i++) {
        put(bed, value_len);
        sum += share(bed);
    }
    return sum / (double)puts;
}

static double least_of(uint64_t region_size, unsigned model, uint32_t nr_tokens, uint32_t other)
{
    uint32_t value_len = models[model].token_bytes * nr_tokens;
    uint64_t blocks = region_size / value_len, round = blocks * ROUNDS;
    double once, turned, moved;
    struct bed bed;

    bed_open(&bed, region_size, region_size / BLOCK_BYTES);
    once = fill_once(&bed, value_len);
    turned = churn(&bed, value_len, round);
    bed_close(&bed);
    bed_open(&bed, region_size, region_size / BLOCK_BYTES);
    (void)fill_once(&bed, other);
    (void)churn(&bed, value_len, round);
    moved = churn(&bed, value_len, blocks);
    check(!partition_audit(bed.partition), "the audit found a contradiction");
    bed_close(&bed);
    printf("%-33s %4u %8.2f %7.4f %7.4f %7.4f\n", models[model].name, nr_tokens,
           (double)value_len / (double)MIB, once, turned, moved);
    once = once < turned ? once : turned;
    return once < moved ? once : moved;
}

int main(int argc, char **argv)
{
    uint64_t region_size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 4096) * MIB;
    bool good = true;

    check(region_size >= 64 * MIB, "usage: fill [REGION_MIB], at least 64");
    printf("region of %.0f MiB              tokens      MiB    once   churn   moved\n",
           (double)region_size / (double)MIB);
    for (unsigned model = 0; model < sizeof(models) / sizeof(models[0]); model++)
        for (unsigned i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
            uint32_t value_len = models[model].token_bytes * tokens[i];
            /* Another block of a size that has nothing to do with it. */
            uint32_t other = models[(model + 3) % 8].token_bytes * 16;

            if (value_len > KVR_VALUE_MAX || value_len > region_size / 16)
                continue;
            good &= least_of(region_size, model, tokens[i], other) >= FILL_MIN;
        }
    return good || region_size < 4096 * MIB ? 0 : 1;
}
