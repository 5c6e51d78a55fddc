/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion of one piece by every path that this CPU has, and a copy of the same bytes. */
#include "gpu/quant.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "perf/micro/bench.h"

#define PIECE (64u << 10) /* bytes of elements: both sides stay in a core's own caches */
#define ELEMENTS (PIECE / 2)
#define GROUP 64u

struct variant {
    struct kvr_conversion conversion;
    unsigned path;
};

struct state {
    const struct variant *variant;
    uint16_t elements[ELEMENTS], back[ELEMENTS];
    uint8_t packed[PIECE];
};

/* As keys and values are: around 0, of both signs, within a few powers of two. */
static void fill(struct state *state)
{
    unsigned exponent = state->variant->conversion.element == KVR_BF16 ? 0x3c00 : 0x2c00;
    struct rng rng;

    rng_seed(&rng, 1);
    for (unsigned i = 0; i < ELEMENTS; i++)
        state->elements[i] =
            (uint16_t)(exponent + rng_below(&rng, 0x400) + (rng_next(&rng) & 0x8000u));
}

static void *setup(const struct bench *bench)
{
    struct state *state = calloc(1, sizeof(*state));

    if (!state)
        return NULL;
    state->variant = bench->with;
    fill(state);
    if (quant_use(state->variant->path)) {
        free(state);
        return NULL;
    }
    quant_pack(&state->variant->conversion, state->elements, ELEMENTS, state->packed);
    quant_unpack(&state->variant->conversion, state->packed, ELEMENTS, state->back);
    return state;
}

static void run_pack(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++)
        quant_pack(&state->variant->conversion, state->elements, ELEMENTS, state->packed);
}

static void run_unpack(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++)
        quant_unpack(&state->variant->conversion, state->packed, ELEMENTS, state->back);
}

static void run_copy(void *arg, uint64_t nr)
{
    struct state *state = arg;

    for (uint64_t i = 0; i < nr; i++) {
        memcpy(state->back, state->elements, PIECE);
        bench_keep(state->back);
    }
}

/* Whether the scalar path gives the same. */
static bool teardown(void *arg)
{
    struct state *state = arg;
    const struct kvr_conversion *conversion = &state->variant->conversion;
    struct state *again = calloc(1, sizeof(*again));
    bool right = false;

    if (again && quant_use(0) == 0) {
        quant_pack(conversion, state->elements, ELEMENTS, again->packed);
        quant_unpack(conversion, again->packed, ELEMENTS, again->back);
        right = memcmp(state->packed, again->packed, PIECE) == 0 &&
                memcmp(state->back, again->back, PIECE) == 0;
    }
    free(again);
    free(state);
    return right;
}

static bool teardown_copy(void *arg)
{
    struct state *state = arg;
    bool right = memcmp(state->back, state->elements, PIECE) == 0;

    free(state);
    return right;
}

static void add(struct bench_list *list, const struct variant *variant)
{
    static const char *const paths[] = {"scalar", "avx2", "avx512"};
    const char *element = variant->conversion.element == KVR_BF16 ? "bf16" : "fp16";
    struct bench bench = {.bytes = PIECE, .with = variant, .setup = setup, .teardown = teardown};

    bench.what = "64 KiB of elements to integers, groups of 64";
    bench.run = run_pack;
    bench_name(&bench, "quant/pack/%s-int%u/%s", element, variant->conversion.bits,
               paths[variant->path]);
    bench_add(list, &bench);
    bench.what = "integers to 64 KiB of elements";
    bench.run = run_unpack;
    bench_name(&bench, "quant/unpack/%s-int%u/%s", element, variant->conversion.bits,
               paths[variant->path]);
    bench_add(list, &bench);
}

void quant_benches(struct bench_list *list)
{
    static struct variant variants[12];
    struct bench copy = {.name = "quant/memcpy",
                         .what = "64 KiB copied",
                         .bytes = PIECE,
                         .with = &variants[0],
                         .setup = setup,
                         .run = run_copy,
                         .teardown = teardown_copy};

    for (unsigned i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
        variants[i] = (struct variant){.conversion = {.bits = i % 2 ? 4 : 8,
                                                      .element = i / 2 % 2 ? KVR_FP16 : KVR_BF16,
                                                      .group = GROUP},
                                       .path = i / 4};
        if (quant_use(variants[i].path) == 0)
            add(list, &variants[i]);
    }
    bench_add(list, &copy);
}
