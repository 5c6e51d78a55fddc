/* SPDX-License-Identifier: Apache-2.0 */
/* Every path of a conversion against the scalar one, to the bit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/quant.h"
#include "gpu/quant_math.h"
#include "quant_checks.h"
#include "quant_data.h"
#include "quant_reference.h"

#define PATHS 3u
#define ELEMENTS 65536u /* every value of an element once */
#define RANDOM_RUNS 3u

static void shuffle(struct rng *rng, uint16_t *elements)
{
    for (uint32_t i = ELEMENTS - 1; i > 0; i--) {
        uint32_t j = (uint32_t)rng_below(rng, i + 1);
        uint16_t x = elements[i];

        elements[i] = elements[j];
        elements[j] = x;
    }
}

static bool packs_alike(const struct kvr_conversion *conversion, const uint16_t *elements,
                        uint32_t nr, const char *what)
{
    static uint8_t expected[2 * ELEMENTS], found[2 * ELEMENTS];
    size_t len = quant_packed_len(conversion, nr);

    quant_use(0);
    quant_pack(conversion, elements, nr, expected);
    for (unsigned path = 1; path < PATHS; path++) {
        if (quant_use(path))
            continue;
        memset(found, 0xa5, len);
        quant_pack(conversion, elements, nr, found);
        for (size_t i = 0; i < len; i++)
            if (found[i] != expected[i]) {
                printf("path %u, %s, %s: byte %zu of %zu differs\n", path,
                       conversion_name(conversion), what, i, len);
                return false;
            }
    }
    return true;
}

/* All values in order (groups of neighbours), all values shuffled, and all distributions. */
bool paths_agree_on_what_is_packed(uint64_t seed)
{
    static uint16_t elements[ELEMENTS];
    struct rng rng;

    rng_seed(&rng, seed);
    for (unsigned i = 0; i < CONVERSIONS; i++) {
        struct kvr_conversion conversion = conversion_of(i);

        for (uint32_t x = 0; x < ELEMENTS; x++)
            elements[x] = (uint16_t)x;
        if (!packs_alike(&conversion, elements, ELEMENTS, "all in order"))
            return false;
        for (unsigned run = 0; run < RANDOM_RUNS; run++) {
            shuffle(&rng, elements);
            if (!packs_alike(&conversion, elements, ELEMENTS, "all shuffled"))
                return false;
        }
        for (const struct distribution *from = distributions; from->name; from++) {
            distribution_fill(from, &rng, conversion.element, elements, ELEMENTS);
            if (!packs_alike(&conversion, elements, ELEMENTS, from->name))
                return false;
        }
    }
    return true;
}

/* Groups of the largest and 31 others. Number of elements. */
static uint32_t fill_with_smaller(uint16_t *elements, uint16_t largest)
{
    uint32_t nr = 0;

    for (uint32_t x = 0; x <= largest; x++) {
        if (nr % 32 == 0)
            elements[nr++] = largest;
        elements[nr++] = (uint16_t)(x | (x % 3 ? 0 : 0x8000u));
    }
    while (nr % 32)
        elements[nr++] = 0;
    return nr;
}

/* Every element that is not larger by the scale of every fraction: but for exponents, which change
 * nothing until something is subnormal, these are all quotients that there are. */
bool paths_agree_on_every_quotient(uint64_t)
{
    static uint16_t elements[ELEMENTS];

    for (unsigned i = 0; i < 4; i++) {
        struct kvr_conversion conversion = conversion_of(i);
        const struct format *format = format_of(conversion.element);
        uint16_t one = (uint16_t)(format->bias << format->fraction);

        for (uint16_t x = one; x < one + (1 << format->fraction); x++)
            if (!packs_alike(&conversion, elements, fill_with_smaller(elements, x), "quotients"))
                return false;
    }
    return true;
}

static bool unpacks_alike(const struct kvr_conversion *conversion, const uint8_t *packed)
{
    static uint16_t expected[ELEMENTS], found[ELEMENTS];

    quant_use(0);
    quant_unpack(conversion, packed, ELEMENTS, expected);
    for (unsigned path = 1; path < PATHS; path++) {
        if (quant_use(path))
            continue;
        memset(found, 0xa5, sizeof(found));
        quant_unpack(conversion, packed, ELEMENTS, found);
        for (size_t i = 0; i < ELEMENTS; i++)
            if (found[i] != expected[i]) {
                printf("path %u, %s: element %zu is 0x%04x, not 0x%04x\n", path,
                       conversion_name(conversion), i, found[i], expected[i]);
                return false;
            }
    }
    return true;
}

/* Scales so that an integer's product lies on, and right beside, the middle of two elements. */
static uint32_t scale_of(struct rng *rng, const struct format *format, size_t number)
{
    uint16_t x = (uint16_t)(number * 32 + rng_below(rng, 32));
    double low = reference_finite(format, x), unit = reference_unit(format, x);
    float middle = (float)((fabs(low) + unit / 2) / (double)(1u << rng_below(rng, 3)));

    switch (rng_below(rng, 6)) {
    case 0:
        return quant_bits(nextafterf(middle, 0.0f));
    case 1:
        return quant_bits(nextafterf(middle, INFINITY));
    case 2:
        return (uint32_t)rng_next(rng);
    case 3:
        return 0x7f800000u | (rng_below(rng, 2) ? 0 : (uint32_t)rng_next(rng));
    default:
        return quant_bits(middle);
    }
}

bool paths_agree_on_what_is_unpacked(uint64_t seed)
{
    static uint8_t packed[2 * ELEMENTS];
    struct rng rng;

    rng_seed(&rng, seed);
    for (unsigned i = 0; i < CONVERSIONS; i++) {
        struct kvr_conversion conversion = conversion_of(i);
        size_t nr_groups = ELEMENTS / conversion.group;

        for (unsigned run = 0; run < 8 * RANDOM_RUNS; run++) {
            for (size_t b = 0; b < sizeof(packed); b++)
                packed[b] = (uint8_t)rng_next(&rng);
            for (size_t g = 0; g < nr_groups; g++) {
                uint32_t scale = scale_of(&rng, format_of(conversion.element), g);

                memcpy(packed + 4 * g, &scale, sizeof(scale));
            }
            if (!unpacks_alike(&conversion, packed))
                return false;
        }
    }
    return true;
}

static bool is_filled(const uint8_t *bytes, size_t len, uint8_t with)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != with)
            return false;
    return true;
}

/* Buffers of exactly the right size, at odd addresses: ASan sees what is read beyond them. */
static bool keeps_within(const struct kvr_conversion *conversion, const uint16_t *elements,
                         unsigned nr, unsigned shift)
{
    size_t len = quant_packed_len(conversion, nr);
    uint8_t *from = malloc(shift + 2 * nr), *to = malloc(shift + len + 64);
    uint8_t *back = malloc(shift + 2 * nr + 64), *plain = malloc(len);
    bool right = false;

    if (from && to && back && plain) {
        memcpy(from + shift, elements, 2 * nr);
        memset(to, 0xc3, shift + len + 64);
        memset(back, 0x3c, shift + 2 * nr + 64);
        quant_pack(conversion, from + shift, nr, to + shift);
        memcpy(plain, to + shift, len);
        quant_unpack(conversion, plain, nr, back + shift);
        right = is_filled(to, shift, 0xc3) && is_filled(to + shift + len, 64, 0xc3) &&
                is_filled(back, shift, 0x3c) && is_filled(back + shift + 2 * nr, 64, 0x3c);
        quant_pack(conversion, elements, nr, plain);
        right = right && memcmp(plain, to + shift, len) == 0;
    }
    free(from);
    free(to);
    free(back);
    free(plain);
    return right;
}

bool nothing_is_touched_beyond_the_buffers(uint64_t seed)
{
    uint16_t elements[1024];
    struct rng rng;

    rng_seed(&rng, seed);
    for (unsigned path = 0; path < PATHS; path++)
        for (unsigned i = 0; quant_use(path) == 0 && i < CONVERSIONS; i++) {
            struct kvr_conversion conversion = conversion_of(i);
            unsigned nr = conversion.group * (1 + (unsigned)rng_below(&rng, 3));

            distribution_fill(&distributions[0], &rng, conversion.element, elements, 1024);
            for (unsigned shift = 0; shift < 66; shift++)
                if (!keeps_within(&conversion, elements, nr, shift)) {
                    printf("path %u, %s, shifted by %u\n", path, conversion_name(&conversion),
                           shift);
                    return false;
                }
        }
    return true;
}
