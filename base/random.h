/* SPDX-License-Identifier: Apache-2.0 */
/* xoshiro256** (Blackman, Vigna 2018) seeded by splitmix64; zipf ranks by rejection-inversion
 * (Hormann, Derflinger 1996). For workloads and jitter, never for secrets. One thread a state. */
#pragma once

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);

/* Uniform in [0, n), n > 0. */
static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)rng_next(rng) * n) >> 64);
}

/* Uniform in [0, 1). */
static inline double rng_unit(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1.0p-53;
}

struct zipf {
    uint64_t n;
    double exponent, h_x1, h_n, s;
};

/* n >= 1, exponent > 0 (1.0 allowed). */
void zipf_setup(struct zipf *zipf, uint64_t n, double exponent);
/* A rank in [0, n), 0 the most frequent. */
uint64_t zipf_next(const struct zipf *zipf, struct rng *rng);
