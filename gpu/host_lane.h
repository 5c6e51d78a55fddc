/* SPDX-License-Identifier: Apache-2.0 */
/* A lane of a host device: a thread that copies pieces, in order, at the speed that is modelled.
 * submit and poll: the worker's thread. Device addresses carry HOST_DEVICE_BIT. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gpu/backend.h"

#define HOST_DEVICE_BIT (1ull << 62)

/* Of a device, shared by its lanes. */
struct host_fault {
    uint32_t failed;     /* atomic: who finds the fault */
    int64_t pieces_left; /* atomic: until the injected failure; none if negative */
    uint32_t resets_bad; /* atomic: that many resets fail */
    uint32_t stalled;    /* atomic: lanes take no piece */
};

struct host_lane;

static inline bool host_has_failed(const struct host_fault *fault)
{
    return __atomic_load_n(&fault->failed, __ATOMIC_RELAXED) != 0;
}

static inline void host_fail(struct host_fault *fault)
{
    __atomic_store_n(&fault->failed, 1, __ATOMIC_RELAXED);
}

static inline void *host_pointer(uint64_t device_address)
{
    return (void *)(uintptr_t)(device_address & ~HOST_DEVICE_BIT);
}

static inline bool strip_converts(const struct gpu_strip *strip)
{
    return strip->conversion.bits != 0 && strip->conversion.bits != 16;
}

/* bytes_s 0: as fast as memory. -ENOMEM, -errno. */
[[nodiscard]] int host_lane_create(uint64_t bytes_s, struct host_fault *fault,
                                   struct host_lane **lane);
/* What is in flight ends after the piece that is being copied. NULL: nothing. */
void host_lane_destroy(struct host_lane *lane);
/* As the backend's submit and poll; strips were checked. */
[[nodiscard]] int host_lane_submit(struct host_lane *lane, enum gpu_direction direction,
                                   const struct gpu_strip *strips, unsigned nr, uint64_t *ticket);
[[nodiscard]] int host_lane_poll(struct host_lane *lane, uint64_t ticket);
