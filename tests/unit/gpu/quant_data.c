/* SPDX-License-Identifier: Apache-2.0 */
/* Elements to convert, by distribution. */
#include "quant_data.h"

#include <math.h>
#include <stdio.h>

#include "quant_reference.h"

/* Towards 0: which of the neighbours does not matter here. */
static uint16_t element_of(unsigned element, double value)
{
    const struct format *format = format_of(element);
    uint16_t below = 0, above = reference_largest(format);

    while (below < above) {
        uint16_t middle = (uint16_t)((below + above + 1) / 2);

        if (reference_value(format, middle) <= fabs(value))
            below = middle;
        else
            above = (uint16_t)(middle - 1);
    }
    return (uint16_t)(below | (value < 0 ? 0x8000u : 0));
}

static double normal(struct rng *rng)
{
    return sqrt(-2 * log(1 - rng_unit(rng))) * cos(6.283185307179586 * rng_unit(rng));
}

static uint16_t next_normal(struct rng *rng, unsigned element, size_t)
{
    return element_of(element, normal(rng));
}

static uint16_t next_uniform(struct rng *rng, unsigned element, size_t)
{
    return element_of(element, 20 * rng_unit(rng) - 10);
}

/* Keys: a few channels are far larger than the rest. */
static uint16_t next_outliers(struct rng *rng, unsigned element, size_t i)
{
    return element_of(element, normal(rng) * (i % 61 == 0 ? 80 : 0.5));
}

/* Every magnitude of the format as often as any other, groups of all sizes. */
static uint16_t next_magnitudes(struct rng *rng, unsigned element, size_t)
{
    uint16_t magnitude = (uint16_t)rng_below(rng, reference_largest(format_of(element)) + 1u);

    return (uint16_t)(magnitude | (rng_next(rng) & 0x8000u));
}

static uint16_t next_bits(struct rng *rng, unsigned, size_t)
{
    return (uint16_t)rng_next(rng);
}

/* Runs of 256 of about the same magnitude, whatever it is; NaN and infinities, too. */
static uint16_t next_alike(struct rng *rng, unsigned, size_t i)
{
    uint64_t level = (i / 256 * 0x9e3779b97f4a7c15ull) >> 49;
    uint64_t magnitude = level + rng_below(rng, 400);

    return (uint16_t)((magnitude & 0x7fffu) | (rng_next(rng) & 0x8000u));
}

static uint16_t next_subnormal(struct rng *rng, unsigned element, size_t i)
{
    uint64_t fraction = rng_next(rng) & ((1u << format_of(element)->fraction) - 1);

    return (uint16_t)(fraction >> i / 256 % 8 | (rng_next(rng) & 0x8000u));
}

/* Multiples of half a scale that is a power of two: ties, and nothing else. */
static uint16_t next_ties(struct rng *rng, unsigned element, size_t i)
{
    double half = i % 32 ? (double)rng_below(rng, 28) - 14 : 14;

    return element_of(element, half / 8);
}

static uint16_t next_sparse(struct rng *rng, unsigned element, size_t)
{
    return rng_below(rng, 100) ? (uint16_t)(rng_next(rng) & 0x8000u) : next_bits(rng, element, 0);
}

const struct distribution distributions[] = {
    {"normal", next_normal},       {"uniform", next_uniform},
    {"outliers", next_outliers},   {"magnitudes", next_magnitudes},
    {"bits", next_bits},           {"alike", next_alike},
    {"subnormal", next_subnormal}, {"ties", next_ties},
    {"sparse", next_sparse},       {NULL, NULL},
};

void distribution_fill(const struct distribution *distribution, struct rng *rng, unsigned element,
                       uint16_t *elements, size_t nr)
{
    for (size_t i = 0; i < nr; i++)
        elements[i] = distribution->next(rng, element, i);
}

struct kvr_conversion conversion_of(unsigned i)
{
    return (struct kvr_conversion){.bits = i % 2 ? 4 : 8,
                                   .element = i / 2 % 2 ? KVR_FP16 : KVR_BF16,
                                   .group = (uint16_t)(32u << i / 4)};
}

const char *conversion_name(const struct kvr_conversion *conversion)
{
    static char name[64];

    snprintf(name, sizeof(name), "%s to int%u by %u",
             conversion->element == KVR_BF16 ? "bf16" : "fp16", conversion->bits,
             conversion->group);
    return name;
}
