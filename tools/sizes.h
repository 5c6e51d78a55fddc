/* SPDX-License-Identifier: Apache-2.0 */
/* A mix of value sizes: "4KiB", or sizes with weights "64:50,4KiB:30,64KiB:20". Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SIZES_MAX 16u

struct sizes {
    unsigned nr;
    struct {
        uint32_t bytes, weight;
    } entries[SIZES_MAX];
    uint64_t weights; /* their sum */
    uint32_t largest;
};

/* 0, or -EINVAL: no size, a weight of 0 or above a million, a size above KVR_VALUE_MAX. */
[[nodiscard]] int sizes_parse(const char *text, struct sizes *sizes);
/* The size of the value of id: always the same one. */
uint32_t sizes_of(const struct sizes *sizes, uint64_t id);
double sizes_mean(const struct sizes *sizes);
