/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion in plain C, element by element: the reference for every other path. Any thread. */
#include <string.h>

#include "gpu/quant_math.h"
#include "gpu/quant_path.h"

static uint16_t element_at(const uint8_t *elements, size_t i)
{
    uint16_t x;

    memcpy(&x, elements + 2 * i, sizeof(x));
    return x;
}

static float pack_group(const struct kvr_conversion *conversion, const uint8_t *elements,
                        uint8_t *integers)
{
    unsigned element = conversion->element;
    uint16_t largest = 0;
    float scale;

    for (unsigned i = 0; i < conversion->group; i++) {
        uint16_t x = quant_finite(element, element_at(elements, i)) & QUANT_MAGNITUDE;

        largest = x > largest ? x : largest;
    }
    scale = quant_scale(element, conversion->bits, largest);
    for (unsigned i = 0; i < conversion->group; i++) {
        uint16_t x = quant_finite(element, element_at(elements, i));
        int32_t integer = quant_integer(quant_from(element, x), scale);

        if (conversion->bits == 8)
            integers[i] = (uint8_t)integer;
        else if (i % 2 == 0)
            integers[i / 2] = (uint8_t)(integer & 0xf);
        else
            integers[i / 2] |= (uint8_t)((integer & 0xf) << 4);
    }
    return scale;
}

static void pack(const struct kvr_conversion *conversion, const uint8_t *elements,
                 size_t nr_elements, uint8_t *packed)
{
    size_t nr_groups = nr_elements / conversion->group;
    uint8_t *integers = packed + nr_groups * sizeof(float);

    for (size_t i = 0; i < nr_groups; i++) {
        float scale = pack_group(conversion, elements, integers);

        memcpy(packed + i * sizeof(scale), &scale, sizeof(scale));
        elements += 2u * conversion->group;
        integers += conversion->group * conversion->bits / 8u;
    }
}

/* Two's complement of 8 or 4 bits. */
static int32_t integer_at(unsigned bits, const uint8_t *integers, unsigned i)
{
    if (bits == 8)
        return (int8_t)integers[i];
    return ((integers[i / 2] >> 4 * (i % 2) & 0xf) ^ 8) - 8;
}

void quant_unpack_group(const struct kvr_conversion *conversion, float scale,
                        const uint8_t *integers, uint8_t *elements)
{
    for (unsigned i = 0; i < conversion->group; i++) {
        int32_t integer = integer_at(conversion->bits, integers, i);
        uint16_t x = quant_element(conversion->element, integer, scale);

        memcpy(elements + 2 * i, &x, sizeof(x));
    }
}

static void unpack(const struct kvr_conversion *conversion, const uint8_t *packed,
                   size_t nr_elements, uint8_t *elements)
{
    size_t nr_groups = nr_elements / conversion->group;
    const uint8_t *integers = packed + nr_groups * sizeof(float);

    for (size_t i = 0; i < nr_groups; i++) {
        float scale;

        memcpy(&scale, packed + i * sizeof(scale), sizeof(scale));
        quant_unpack_group(conversion, scale, integers, elements);
        elements += 2u * conversion->group;
        integers += conversion->group * conversion->bits / 8u;
    }
}

const struct quant_path quant_path_scalar = {.name = "scalar", .pack = pack, .unpack = unpack};
