/* SPDX-License-Identifier: Apache-2.0 */
/* A way to do quant.h's conversions on some CPUs. All give the same bits; quant.c chooses. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kvrail/region.h"

/* As quant_pack and quant_unpack; nothing need be aligned. */
struct quant_path {
    const char *name;
    void (*pack)(const struct kvr_conversion *conversion, const uint8_t *elements,
                 size_t nr_elements, uint8_t *packed);
    void (*unpack)(const struct kvr_conversion *conversion, const uint8_t *packed,
                   size_t nr_elements, uint8_t *elements);
};

extern const struct quant_path quant_path_scalar;
#if defined(__x86_64__)
extern const struct quant_path quant_path_avx2, quant_path_avx512;
#endif

/* quant_scalar.c: one group. For paths that leave scales which pack does not write (infinities,
 * NaN) to it. */
void quant_unpack_group(const struct kvr_conversion *conversion, float scale,
                        const uint8_t *integers, uint8_t *elements);
