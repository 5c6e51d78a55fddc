/* SPDX-License-Identifier: Apache-2.0 */
/* Elements in double arithmetic. */
#include "quant_reference.h"

#include <math.h>

#include "kvrail/region.h"

const struct format *format_of(unsigned element)
{
    static const struct format bf16 = {.fraction = 7, .bias = 127, .exponent_max = 255};
    static const struct format fp16 = {.fraction = 10, .bias = 15, .exponent_max = 31};

    return element == KVR_BF16 ? &bf16 : &fp16;
}

static unsigned exponent_of(const struct format *format, uint16_t x)
{
    return (x & 0x7fffu) >> format->fraction;
}

double reference_value(const struct format *format, uint16_t x)
{
    unsigned exponent = exponent_of(format, x);
    int fraction = x & ((1 << format->fraction) - 1);
    double magnitude;

    if (exponent == format->exponent_max)
        magnitude = fraction ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        magnitude = ldexp(fraction, 1 - format->bias - format->fraction);
    else
        magnitude = ldexp((1 << format->fraction) + fraction,
                          (int)exponent - format->bias - format->fraction);
    return x & 0x8000u ? -magnitude : magnitude;
}

uint16_t reference_largest(const struct format *format)
{
    return (uint16_t)((format->exponent_max << format->fraction) - 1);
}

double reference_finite(const struct format *format, uint16_t x)
{
    double value = reference_value(format, x);

    if (isnan(value))
        return 0;
    return isinf(value) ? copysign(reference_value(format, reference_largest(format)), value)
                        : value;
}

double reference_unit(const struct format *format, uint16_t x)
{
    unsigned exponent = exponent_of(format, x);

    return ldexp(1, (int)(exponent ? exponent : 1) - format->bias - format->fraction);
}
