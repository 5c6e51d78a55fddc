/* SPDX-License-Identifier: Apache-2.0 */
/* What conversions must do: elements, formats and errors. Paths against each other are in
 * quant_paths.c. */
#include "quant_checks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gpu/quant.h"
#include "gpu/quant_math.h"
#include "quant_data.h"
#include "quant_reference.h"

#define PATHS 3u
#define ELEMENTS 8192u /* of a distribution */

const struct quant_check quant_checks[] = {
    {"elements_are_decoded_exactly", elements_are_decoded_exactly},
    {"floats_are_rounded_to_nearest_even", floats_are_rounded_to_nearest_even},
    {"conversions_are_checked", conversions_are_checked},
    {"packed_bytes_lie_as_described", packed_bytes_lie_as_described},
    {"special_groups_have_defined_results", special_groups_have_defined_results},
    {"errors_stay_within_the_bound", errors_stay_within_the_bound},
    {"paths_agree_on_what_is_packed", paths_agree_on_what_is_packed},
    {"paths_agree_on_every_quotient", paths_agree_on_every_quotient},
    {"paths_agree_on_what_is_unpacked", paths_agree_on_what_is_unpacked},
    {"nothing_is_touched_beyond_the_buffers", nothing_is_touched_beyond_the_buffers},
    {NULL, NULL},
};

uint64_t quant_seed(void)
{
    const char *text = getenv("QUANT_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : clock_ns();

    printf("QUANT_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

bool elements_are_decoded_exactly(uint64_t)
{
    for (unsigned element = KVR_BF16; element <= KVR_FP16; element++)
        for (uint32_t x = 0; x <= 0xffff; x++) {
            double expected = reference_value(format_of(element), (uint16_t)x);
            float found = quant_from(element, (uint16_t)x);

            if (isnan(expected)
                    ? !isnan(found)
                    : (double)found != expected || !signbit(found) != !signbit(expected)) {
                printf("element type %u, 0x%04x: %a, not %a\n", element, x, (double)found,
                       expected);
                return false;
            }
        }
    return true;
}

static bool rounds(unsigned element, double value, uint16_t expected)
{
    uint16_t plus = quant_to(element, (float)value), minus = quant_to(element, -(float)value);

    if ((double)(float)value == value && plus == expected && minus == (expected | 0x8000u))
        return true;
    printf("element type %u, %a: 0x%04x and 0x%04x, not 0x%04x\n", element, value, plus, minus,
           expected);
    return false;
}

/* Each element, the middle between it and the next one, and the floats beside that middle. */
static bool rounds_around(unsigned element, uint16_t x)
{
    const struct format *format = format_of(element);
    double low = reference_value(format, x), high = low + reference_unit(format, x);
    float middle = (float)((low + high) / 2);
    uint16_t next = (uint16_t)(x + 1);

    return rounds(element, low, x) && rounds(element, (double)nextafterf(middle, (float)low), x) &&
           rounds(element, (double)middle, x % 2 ? next : x) &&
           rounds(element, (double)nextafterf(middle, INFINITY), next);
}

bool floats_are_rounded_to_nearest_even(uint64_t)
{
    for (unsigned element = KVR_BF16; element <= KVR_FP16; element++) {
        uint16_t largest = reference_largest(format_of(element));
        uint16_t nan = element == KVR_BF16 ? 0x7fc0 : 0x7e00;
        static const uint32_t nans[] = {0x7f800001, 0x7fffffff, 0xff800001, 0xffffffff, 0xffc00000};

        for (uint32_t x = 0; x <= largest; x++)
            if (!rounds_around(element, (uint16_t)x))
                return false;
        if (!rounds(element, (double)INFINITY, (uint16_t)(largest + 1)) ||
            !rounds(element, 0x1.fffffep127, (uint16_t)(largest + 1)) ||
            !rounds(element, 0x1p-149, 0))
            return false;
        for (unsigned i = 0; i < sizeof(nans) / sizeof(nans[0]); i++)
            if (quant_to(element, quant_float(nans[i])) != nan) {
                printf("element type %u: NaN 0x%08x\n", element, nans[i]);
                return false;
            }
    }
    return true;
}

bool conversions_are_checked(uint64_t)
{
    static const struct kvr_conversion bad[] = {
        {0, KVR_BF16, 32}, {16, KVR_BF16, 32}, {2, KVR_BF16, 32}, {8, 0, 32},
        {8, 3, 32},        {4, 0xff, 32},      {8, KVR_BF16, 0},  {8, KVR_BF16, 16},
        {8, KVR_BF16, 96}, {8, KVR_BF16, 512}, {4, KVR_FP16, 33}, {4, KVR_FP16, 0xffff},
    };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (quant_valid(&bad[i], 1 << 20)) {
            printf("bad conversion %u is taken\n", i);
            return false;
        }
    for (unsigned i = 0; i < CONVERSIONS; i++) {
        struct kvr_conversion conversion = conversion_of(i);
        size_t group = conversion.group;

        if (!quant_valid(&conversion, 0) || !quant_valid(&conversion, 5 * group) ||
            quant_valid(&conversion, 5 * group + 16) || quant_packed_len(&conversion, 0) != 0 ||
            quant_packed_len(&conversion, 5 * group) !=
                5 * (4 + (conversion.bits == 8 ? group : group / 2))) {
            printf("%s: wrong lengths\n", conversion_name(&conversion));
            return false;
        }
    }
    return quant_use(PATHS) != 0 && quant_use(0) == 0;
}

/* Two groups of powers of two, so that every figure can be seen: 127 / 4 or 7 / 4 is the largest
 * of the first one and its scale 1/4, the other's the double. */
bool packed_bytes_lie_as_described(uint64_t)
{
    for (unsigned path = 0; path < PATHS; path++)
        for (unsigned i = 0; quant_use(path) == 0 && i < 4; i++) {
            struct kvr_conversion conversion = conversion_of(i);
            const float scales[] = {0.25f, 0.5f};
            uint16_t elements[64], back[64];
            uint8_t expected[72] = {0}, packed[72] = {0};
            unsigned most = conversion.bits == 8 ? 127 : 7;

            memcpy(expected, scales, sizeof(scales));
            for (unsigned e = 0; e < 64; e++) {
                int integer = (int)(e % 32 % (most + 1)) * (e % 3 ? 1 : -1);

                integer = e % 32 == 31 ? -(int)most : integer;
                elements[e] = quant_to(conversion.element, (float)integer * scales[e / 32]);
                if (conversion.bits == 8)
                    expected[8 + e] = (uint8_t)integer;
                else
                    expected[8 + e / 2] |= (uint8_t)((integer & 0xf) << 4 * (e % 2));
            }
            quant_pack(&conversion, elements, 64, packed);
            quant_unpack(&conversion, packed, 64, back);
            for (unsigned e = 0; e < 64; e++)
                elements[e] = elements[e] == 0x8000 ? 0 : elements[e];
            if (memcmp(packed, expected, sizeof(packed)) || memcmp(back, elements, sizeof(back))) {
                printf("path %u, %s: other bytes\n", path, conversion_name(&conversion));
                return false;
            }
        }
    return true;
}

/* A group of x and y in turn must come back as x_back and y_back. */
static bool comes_back(const struct kvr_conversion *conversion, uint16_t x, uint16_t y,
                       uint16_t x_back, uint16_t y_back)
{
    uint16_t elements[256], back[256];
    uint8_t packed[260];
    float scale;

    for (unsigned path = 0; path < PATHS; path++) {
        if (quant_use(path))
            continue;
        for (unsigned i = 0; i < conversion->group; i++)
            elements[i] = i % 2 ? y : x;
        quant_pack(conversion, elements, conversion->group, packed);
        quant_unpack(conversion, packed, conversion->group, back);
        memcpy(&scale, packed, sizeof(scale));
        for (unsigned i = 0; i < conversion->group; i++)
            if (back[i] != (i % 2 ? y_back : x_back) || !(scale >= 0) || isinf(scale)) {
                printf("path %u, %s: 0x%04x, 0x%04x came back as 0x%04x at %u, scale %a\n", path,
                       conversion_name(conversion), x, y, back[i], i, (double)scale);
                return false;
            }
    }
    return true;
}

bool special_groups_have_defined_results(uint64_t)
{
    for (unsigned i = 0; i < CONVERSIONS; i++) {
        struct kvr_conversion conversion = conversion_of(i);
        uint16_t largest = reference_largest(format_of(conversion.element));
        uint16_t infinity = (uint16_t)(largest + 1), nan = (uint16_t)(infinity + 5);
        uint16_t one = conversion.element == KVR_BF16 ? 0x3f80 : 0x3c00;
        const struct {
            uint16_t x, y, x_back, y_back;
        } groups[] = {
            {0, 0, 0, 0},
            {0x8000, 0, 0, 0},
            {nan, 0xffff, 0, 0},
            {nan, one, 0, one},
            {0x8000 | nan, 0x8000, 0, 0},
            {infinity, 0x8000 | infinity, largest, 0x8000 | largest},
            {infinity, nan, largest, 0},
            {infinity, 1, largest, 0},
            {largest, 0x8000 | largest, largest, 0x8000 | largest},
            {1, 0x8001, 1, 0x8001}, /* the smallest: the scale of bf16 is a subnormal float */
            {1, 0x8000, 1, 0},
            {one, 0x8001, one, 0},
        };

        for (unsigned g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
            if (!comes_back(&conversion, groups[g].x, groups[g].y, groups[g].x_back,
                            groups[g].y_back))
                return false;
    }
    return true;
}

static int integer_at(const struct kvr_conversion *conversion, const uint8_t *integers, size_t i)
{
    int half;

    if (conversion->bits == 8)
        return integers[i] < 128 ? integers[i] : integers[i] - 256;
    half = i % 2 ? integers[i / 2] / 16 : integers[i / 2] % 16;
    return half < 8 ? half : half - 16;
}

/* One group against double arithmetic; *worst: the largest error in scales. */
static bool group_is_right(const struct kvr_conversion *conversion, const uint16_t *elements,
                           float scale, const uint8_t *integers, const uint16_t *back,
                           double *worst)
{
    const struct format *format = format_of(conversion->element);
    double most = conversion->bits == 8 ? 127 : 7, largest = 0, ideal;

    for (unsigned i = 0; i < conversion->group; i++)
        largest = fmax(largest, fabs(reference_finite(format, elements[i])));
    ideal = largest / most;
    if (fabs((double)scale - ideal) > fmax(ideal * 0x1p-24, 0x1p-150) ||
        (scale == 0) != (largest == 0)) {
        printf("scale %a, not %a\n", (double)scale, ideal);
        return false;
    }
    for (unsigned i = 0; i < conversion->group; i++) {
        double x = reference_finite(format, elements[i]);
        double restored = reference_value(format, back[i]);
        double bound = (double)scale * (0.5 + 0x1p-16) + reference_unit(format, back[i]) / 2;
        double quotient = scale > 0 ? x / (double)scale : 0;
        int integer = integer_at(conversion, integers, i);

        if (abs(integer) > most || fabs(integer - quotient) > 0.5 + 0x1p-17 ||
            !(fabs(x - restored) <= bound)) {
            printf("0x%04x by scale %a: %d, 0x%04x\n", elements[i], (double)scale, integer,
                   back[i]);
            return false;
        }
        if (scale > 0)
            *worst = fmax(*worst, fabs(x - restored) / (double)scale);
    }
    return true;
}

static bool within_bound(const struct kvr_conversion *conversion, const uint16_t *elements,
                         double *worst)
{
    static uint8_t packed[ELEMENTS * 2];
    static uint16_t back[ELEMENTS];
    const uint8_t *integers = packed + ELEMENTS / conversion->group * 4;

    quant_pack(conversion, elements, ELEMENTS, packed);
    quant_unpack(conversion, packed, ELEMENTS, back);
    for (size_t i = 0; i < ELEMENTS; i += conversion->group) {
        float scale;

        memcpy(&scale, packed + i / conversion->group * 4, sizeof(scale));
        if (!group_is_right(conversion, elements + i, scale, integers, back + i, worst))
            return false;
        integers += conversion->group * conversion->bits / 8;
    }
    return true;
}

bool errors_stay_within_the_bound(uint64_t seed)
{
    static uint16_t elements[ELEMENTS];
    double worst = 0;
    struct rng rng;

    rng_seed(&rng, seed);
    for (const struct distribution *from = distributions; from->name; from++)
        for (unsigned i = 0; i < CONVERSIONS; i++) {
            struct kvr_conversion conversion = conversion_of(i);

            distribution_fill(from, &rng, conversion.element, elements, ELEMENTS);
            for (unsigned path = 0; path < PATHS; path++)
                if (quant_use(path) == 0 && !within_bound(&conversion, elements, &worst)) {
                    printf("path %u, %s, %s\n", path, conversion_name(&conversion), from->name);
                    return false;
                }
        }
    printf("largest error: %.4f scales\n", worst);
    return worst > 0.49; /* else there was nothing to round */
}
