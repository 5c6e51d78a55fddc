/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers for workloads; see random.h for the algorithms' sources. */
#include "base/random.h"

#include <math.h>

void rng_seed(struct rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        rng->s[i] = z ^ (z >> 31);
    }
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* (exp(x) - 1) / x and log(1 + x) / x, exact near 0. */
static double expm1_over(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x * 0.5;
}

static double log1p_over(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x * 0.5;
}

static double h_integral(double x, double exponent)
{
    double lx = log(x);
    return expm1_over((1 - exponent) * lx) * lx;
}

static double h_integral_inverse(double x, double exponent)
{
    double t = x * (1 - exponent);
    if (t < -1)
        t = -1;
    return exp(log1p_over(t) * x);
}

static double h(double x, double exponent)
{
    return exp(-exponent * log(x));
}

void zipf_setup(struct zipf *zipf, uint64_t n, double exponent)
{
    zipf->n = n;
    zipf->exponent = exponent;
    zipf->h_x1 = h_integral(1.5, exponent) - 1;
    zipf->h_n = h_integral((double)n + 0.5, exponent);
    zipf->s = 2 - h_integral_inverse(h_integral(2.5, exponent) - h(2, exponent), exponent);
}

uint64_t zipf_next(const struct zipf *zipf, struct rng *rng)
{
    for (;;) {
        double u = zipf->h_n + rng_unit(rng) * (zipf->h_x1 - zipf->h_n);
        double x = h_integral_inverse(u, zipf->exponent);
        double k = floor(x + 0.5);
        if (k < 1)
            k = 1;
        else if (k > (double)zipf->n)
            k = (double)zipf->n;
        if (k - x <= zipf->s || u >= h_integral(k + 0.5, zipf->exponent) - h(k, zipf->exponent))
            return (uint64_t)k - 1;
    }
}
