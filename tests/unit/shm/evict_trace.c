/* SPDX-License-Identifier: Apache-2.0 */
/* Replays a trace of LLM requests through a real partition and compares the prefix-hit ratio of
 * each policy with the reference simulator's. A plain program: exit 77 where the trace is absent.
 * Usage: evict_trace DIRECTORY, or KVRAIL_SHARED names it */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/index.h"
#include "shm/partition.h"
#include "shm/reclaim.h"

#define TRACE "traces/mooncake_conversation.jsonl"
#define VALUE_LEN 8192u
#define TOLERANCE 0.01

struct trace {
    uint32_t *ids, nr_ids, room_ids;
    uint32_t *ends, nr_requests, room_requests; /* of each request's ids */
    uint32_t nr_distinct;
};

static const struct {
    const char *policy;
    double share, ratio;
} table[] = {
    {"fifo", 0.01, 0.0505}, {"fifo", 0.05, 0.1751}, {"fifo", 0.20, 0.3133},
    {"lru", 0.01, 0.0523},  {"lru", 0.05, 0.1954},  {"lru", 0.20, 0.3446},
    {"lfu", 0.01, 0.0582},  {"lfu", 0.05, 0.1269},  {"lfu", 0.20, 0.3068},
};

static void grow(uint32_t **array, uint32_t nr, uint32_t *room)
{
    if (nr < *room)
        return;
    *room = *room ? *room * 2 : 4096;
    *array = realloc(*array, *room * sizeof(**array));
    if (!*array)
        abort();
}

static void request_read(struct trace *trace, char *line)
{
    char *at = strstr(line, "\"hash_ids\""), *end;

    at = at ? strchr(at, '[') : NULL;
    if (!at)
        return;
    for (at++;; at = end + strspn(end, ", ")) {
        unsigned long id = strtoul(at, &end, 10);

        if (end == at)
            break;
        grow(&trace->ids, trace->nr_ids, &trace->room_ids);
        trace->ids[trace->nr_ids++] = (uint32_t)id;
        if (id >= trace->nr_distinct)
            trace->nr_distinct = (uint32_t)id + 1; /* ids count up */
    }
    grow(&trace->ends, trace->nr_requests, &trace->room_requests);
    trace->ends[trace->nr_requests++] = trace->nr_ids;
}

static bool trace_read(struct trace *trace, const char *directory)
{
    char path[4096], *line = NULL;
    size_t room = 0;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", directory, TRACE);
    file = fopen(path, "re");
    if (!file) {
        printf("SKIP: no trace at %s\n", path);
        return false;
    }
    while (getline(&line, &room, file) > 0)
        request_read(trace, line);
    free(line);
    fclose(file);
    return true;
}

struct replay {
    struct arena arena;
    struct partition *partition;
    uint32_t now_ms;
};

static bool find(const struct replay *replay, uint64_t id, struct block_view *view)
{
    struct key_hash hash = hash_key(&id, sizeof(id), replay->arena.sb->seed);

    return index_find(&replay->arena, 0, hash, &id, sizeof(id), replay->now_ms, view);
}

static void put(struct replay *replay, uint64_t id)
{
    struct block_request request = {.key = &id, .key_len = sizeof(id), .value_len = VALUE_LEN};
    enum kvr_status status;
    uint32_t block;
    uint64_t ref;

    request.hash = hash_key(&id, sizeof(id), replay->arena.sb->seed);
    while ((status = partition_reserve(replay->partition, &request, replay->now_ms, &block)) ==
           KVR_BUSY)
        if (!partition_poll(replay->partition, replay->now_ms))
            sched_yield();
    if (status != KVR_OK ||
        partition_seal(replay->partition, block, 0, false, replay->now_ms, &ref) != KVR_OK)
        abort();
}

/* run() of the reference simulator. */
static double replay_run(struct replay *replay, const struct trace *trace)
{
    struct block_view view;
    uint64_t hits = 0;
    uint32_t begin = 0;

    for (uint32_t i = 0; i < trace->nr_requests; begin = trace->ends[i++]) {
        uint32_t prefix = begin;

        while (prefix < trace->ends[i] && find(replay, trace->ids[prefix], &view))
            prefix++;
        hits += prefix - begin;
        for (uint32_t j = begin; j < trace->ends[i]; j++) {
            if (find(replay, trace->ids[j], &view))
                partition_hit(replay->partition, view.block);
            else
                put(replay, trace->ids[j]);
        }
    }
    return (double)hits / trace->nr_ids;
}

static double ratio_of(const struct trace *trace, const char *policy, double share,
                       struct reclaimer *reclaimer)
{
    uint32_t capacity = (uint32_t)(trace->nr_distinct * share);
    struct arena_spec spec = {.data_size = (uint64_t)capacity * VALUE_LEN,
                              .nr_partitions = 1,
                              .nr_cores = 1,
                              .blocks_max = (uint64_t)capacity * 2,
                              .seed = 1};
    struct partition_options options = {.policy = policy, .reclaimer = reclaimer};
    struct partition_recovery recovery;
    struct replay replay = {.now_ms = 1};
    double ratio;

    if (arena_create(&spec, &replay.arena) < 0 ||
        partition_open(&replay.arena, 0, &options, &replay.partition, &recovery) < 0)
        abort();
    ratio = replay_run(&replay, trace);
    if (partition_audit(replay.partition) < 0)
        abort();
    partition_close(replay.partition);
    arena_close(&replay.arena);
    return ratio;
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : "../shared";
    struct trace trace = {0};
    struct reclaimer *reclaimer;
    bool good = true;

    if (getenv("KVRAIL_SHARED"))
        directory = getenv("KVRAIL_SHARED");
    if (!trace_read(&trace, directory))
        return 77;
    if (reclaimer_create(NULL, &reclaimer) < 0)
        return 1;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint64_t start = clock_ns();
        double ratio = ratio_of(&trace, table[i].policy, table[i].share, reclaimer);
        bool near = fabs(ratio - table[i].ratio) <= TOLERANCE;

        printf("%-4s at %2.0f %%: %.4f, reference %.4f, %.2f s%s\n", table[i].policy,
               table[i].share * 100, ratio, table[i].ratio, (double)(clock_ns() - start) / 1e9,
               near ? "" : "  TOO FAR");
        good &= near;
    }
    reclaimer_destroy(reclaimer);
    free(trace.ids);
    free(trace.ends);
    return good ? 0 : 1;
}
