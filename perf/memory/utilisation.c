/* SPDX-License-Identifier: Apache-2.0 */
/* How much of the data segment holds values once it is full: seals blocks of given sizes in a
 * partition until it has evicted as many as fit, and prints bytes of values over bytes of the
 * segment. Values are reserved and sealed but not written, so no memory is touched. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "shm/partition.h"
#include "shm/reclaim.h"
#include "tools/sizes.h"
#include "tools/units.h"

#define TRIES 100000u /* of a reservation that waits for evicted blocks to become free */

struct filled {
    uint64_t sealed, refused;
};

static struct key_hash key_of(uint64_t id, uint64_t seed)
{
    return hash_key(&id, sizeof(id), seed);
}

/* BUSY: evicted blocks are on their way. */
static enum kvr_status reserve(struct partition *partition, const struct block_request *request,
                               uint32_t *block)
{
    enum kvr_status status = partition_reserve(partition, request, 0, block);

    for (unsigned tries = 0; status == KVR_BUSY && tries < TRIES; tries++) {
        (void)partition_poll(partition, 0);
        rcu_reader_quiescent();
        if (tries > 64) {
            struct timespec pause = {.tv_nsec = 20000};

            nanosleep(&pause, NULL);
        }
        status = partition_reserve(partition, request, 0, block);
    }
    return status;
}

static void fill(const struct arena *arena, struct partition *partition, const struct sizes *sizes,
                 struct filled *filled)
{
    const struct part_header *part = arena_part(arena, 0);
    uint64_t goal = UINT64_MAX;

    for (uint64_t id = 1; id < goal; id++) {
        struct block_request request = {.key = &id,
                                        .key_len = sizeof(id),
                                        .hash = key_of(id, arena->sb->seed),
                                        .value_len = sizes_of(sizes, id)};
        uint32_t block;
        uint64_t ref;

        if (reserve(partition, &request, &block) != KVR_OK ||
            partition_seal(partition, block, 0, false, 0, &ref) != KVR_OK) {
            filled->refused++;
            if (filled->refused > 1000 + filled->sealed)
                break;
            continue;
        }
        filled->sealed++;
        (void)partition_poll(partition, 0);
        rcu_reader_quiescent();
        /* Once full: as many again as there are. */
        if (goal == UINT64_MAX && counter_read(&part->evictions) > 0)
            goal = 2 * id + 16;
    }
}

static int measure(uint64_t data_size, uint64_t blocks_max, const struct sizes *sizes)
{
    struct arena_spec spec = {.data_size = data_size,
                              .nr_partitions = 1,
                              .nr_cores = 1,
                              .blocks_max = blocks_max,
                              .seed = 1};
    struct partition_options options = {.policy = "lru"};
    struct partition_recovery recovery;
    const struct part_header *part;
    struct partition *partition;
    struct filled filled = {0};
    struct arena arena;
    int rc = arena_create(&spec, &arena);

    if (rc)
        return rc;
    rc = reclaimer_create(&arena, &options.reclaimer);
    if (!rc)
        rc = partition_open(&arena, 0, &options, &partition, &recovery);
    if (rc)
        return rc;
    rcu_reader_register();
    fill(&arena, partition, sizes, &filled);
    rcu_reader_unregister();
    part = arena_part(&arena, 0);
    printf("{\"data_bytes\": %zu, \"value_bytes\": %lu, \"items\": %lu, \"evictions\": %lu, "
           "\"refused\": %lu, \"utilisation\": %.5f}\n",
           arena.data_size, (unsigned long)counter_read(&part->value_bytes),
           (unsigned long)counter_read(&part->items), (unsigned long)counter_read(&part->evictions),
           (unsigned long)filled.refused,
           (double)counter_read(&part->value_bytes) / (double)arena.data_size);
    partition_close(partition);
    reclaimer_destroy(options.reclaimer);
    arena_close(&arena);
    return 0;
}

static void usage(FILE *to)
{
    fputs("usage: utilisation --data BYTES --blocks N --size BYTES|mix\n"
          "  --data BYTES      of the data segment: 16GiB\n"
          "  --blocks N        most blocks of the index\n"
          "  --size BYTES|mix  of the values: 2MiB, or 2MiB:50,5MiB:50\n",
          to);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"data", required_argument, NULL, 'd'},
                                          {"blocks", required_argument, NULL, 'b'},
                                          {"size", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    uint64_t data_size = 0, blocks = 0;
    struct sizes sizes = {0};
    bool has_sizes = false;
    int letter, rc;

    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 'h') {
            usage(stdout);
            return 0;
        }
        rc = letter == 'd'   ? units_parse_bytes(optarg, &data_size)
             : letter == 'b' ? units_parse_count(optarg, &blocks)
             : letter == 's' ? sizes_parse(optarg, &sizes)
                             : -EINVAL;
        has_sizes |= letter == 's';
        if (rc) {
            if (letter != '?')
                fprintf(stderr, "utilisation: '%s' is not a value of its option\n", optarg);
            usage(stderr);
            return 2;
        }
    }
    if (!data_size || !blocks || !has_sizes || optind < argc) {
        usage(stderr);
        return 2;
    }
    rc = measure(data_size, blocks, &sizes);
    if (rc)
        fprintf(stderr, "utilisation: %s\n", strerror(-rc));
    return rc ? 1 : 0;
}
