/* SPDX-License-Identifier: Apache-2.0 */
/* A benchmark of one piece of the hot path, and the list of all. The main thread runs them one
 * after the other, pinned to a CPU. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench {
    char name[40];    /* stage/what/size */
    const char *what; /* one operation is that */
    const void *with; /* for setup: more that is constant; may be NULL */
    uint64_t arg;     /* for setup: a size, a number of keys */
    uint64_t memory;  /* bytes that setup takes, where they are many */
    uint64_t bytes;   /* that an operation goes through, where bytes/s say more; 0 = do not */
    uint32_t step;    /* operations are run in multiples of this */
    uint64_t most;    /* operations that one prepare is good for; 0 = any number */
    bool two_cpus;    /* starts a second thread */
    void *(*setup)(const struct bench *bench); /* the state; NULL: failed, the reason is logged */
    void (*prepare)(void *state);              /* before each repetition, not timed; may be NULL */
    void (*run)(void *state, uint64_t nr);     /* nr operations: this is timed */
    bool (*teardown)(void *state); /* false: the operations did not do what they should */
};

struct bench_list {
    struct bench *benches;
    unsigned nr, room;
};

/* A copy of it at the list's end. Out of memory ends the list: nothing is added. */
void bench_add(struct bench_list *list, const struct bench *bench);

void bench_name(struct bench *bench, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "64", "4K", "16M": a size or number in a benchmark's name. */
struct bench_size {
    char s[24];
};
struct bench_size bench_size(uint64_t n);

/* The second CPU of a benchmark with two_cpus: pins the calling thread there. */
void bench_pin_second(void);
/* -1: there is only one. Set by main before anything runs. */
extern int bench_second_cpu;

/* The compiler takes the value for used and all memory for changed. */
static inline void bench_keep(const void *value)
{
    __asm__ volatile("" : : "g"(value) : "memory");
}

/* Everything that is in this program: bench_stages ends with NULL (stages.c, stages_eth.c). */
typedef void bench_stage(struct bench_list *list);
extern bench_stage *const bench_stages[];

bench_stage parse_benches, index_benches, alloc_benches, policy_benches, handoff_benches,
    reply_benches, count_benches, cookie_benches, engine_benches, eth_benches, quant_benches;
