/* SPDX-License-Identifier: Apache-2.0 */
/* Elements to convert: as they occur in caches of models, and as nobody would have them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "kvrail/region.h"

struct distribution {
    const char *name;
    uint16_t (*next)(struct rng *rng, unsigned element, size_t i);
};

/* NULL name at the end. */
extern const struct distribution distributions[];

void distribution_fill(const struct distribution *distribution, struct rng *rng, unsigned element,
                       uint16_t *elements, size_t nr);

#define CONVERSIONS 16u
/* All that there are: 0 .. CONVERSIONS - 1. */
struct kvr_conversion conversion_of(unsigned i);
/* "bf16 to int8 by 32". Until the next call. */
const char *conversion_name(const struct kvr_conversion *conversion);
