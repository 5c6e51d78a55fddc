/* SPDX-License-Identifier: Apache-2.0 */
/* What conversions must do, as plain functions, so that a program without Criterion can run them
 * too. Each goes through all paths that this CPU has and prints what was wrong. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct quant_check {
    const char *name;
    bool (*right)(uint64_t seed);
};

/* NULL name at the end. */
extern const struct quant_check quant_checks[];

/* Fresh each time, or QUANT_SEED of the environment. Prints it. */
uint64_t quant_seed(void);

bool elements_are_decoded_exactly(uint64_t seed);
bool floats_are_rounded_to_nearest_even(uint64_t seed);
bool conversions_are_checked(uint64_t seed);
bool packed_bytes_lie_as_described(uint64_t seed);
bool special_groups_have_defined_results(uint64_t seed);
bool errors_stay_within_the_bound(uint64_t seed);
bool paths_agree_on_what_is_packed(uint64_t seed);
bool paths_agree_on_every_quotient(uint64_t seed);
bool paths_agree_on_what_is_unpacked(uint64_t seed);
bool nothing_is_touched_beyond_the_buffers(uint64_t seed);
