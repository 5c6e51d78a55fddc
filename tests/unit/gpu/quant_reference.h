/* SPDX-License-Identifier: Apache-2.0 */
/* Elements in double arithmetic, from the definition of their formats: what quant's results are
 * held against. Shares nothing with gpu/. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct format {
    int fraction; /* bits */
    int bias;
    unsigned exponent_max; /* infinities and NaN */
};

/* Of enum kvr_element. */
const struct format *format_of(unsigned element);
double reference_value(const struct format *format, uint16_t x);
/* As pack takes it: NaN as 0, infinities as the largest finite value. */
double reference_finite(const struct format *format, uint16_t x);
/* From x to the next value away from 0. */
double reference_unit(const struct format *format, uint16_t x);
uint16_t reference_largest(const struct format *format);
