/* SPDX-License-Identifier: Apache-2.0 */
/* Submit and poll: each strip goes the way that is fastest for its pieces, and an event behind them
 * is the ticket. Worker only. */
#include <errno.h>

#include "gpu/cuda_device.h"
#include "gpu/quant.h"

bool cuda_converts(const struct gpu_strip *strip)
{
    return strip->conversion.bits == 8 || strip->conversion.bits == 4;
}

uint32_t cuda_near_bytes(const struct gpu_strip *strip)
{
    if (!cuda_converts(strip))
        return strip->piece_bytes;
    return (uint32_t)quant_packed_len(&strip->conversion, strip->piece_bytes / 2);
}

size_t cuda_near_span(const struct gpu_strip *strip)
{
    return (strip->nr_pieces - 1) * strip->near_step + cuda_near_bytes(strip);
}

static bool lies_together(const struct gpu_strip *strip)
{
    return strip->nr_pieces == 1 ||
           (strip->near_step == strip->piece_bytes && strip->device_step == strip->piece_bytes);
}

static bool is_small(const struct gpu_device *device, const struct gpu_strip *strip)
{
    uint64_t bytes = strip->piece_bytes;

    if (lies_together(strip))
        bytes *= strip->nr_pieces;
    return device->has_kernels && bytes < device->gather_below;
}

/* 0, or why the device cannot do it; before anything is begun. */
static int strip_check(const struct gpu_device *device, enum gpu_direction direction,
                       const struct gpu_strip *strip)
{
    if (strip->nr_pieces == 0 || strip->piece_bytes == 0)
        return -EINVAL;
    if (!cuda_converts(strip))
        return 0;
    if (direction == GPU_MOVE || strip->piece_bytes > KVR_PIECE_MAX ||
        !quant_valid(&strip->conversion, strip->piece_bytes / 2))
        return -EINVAL;
    return device->has_kernels ? 0 : -ENOTSUP;
}

static int strip_start(struct gpu_device *device, struct cuda_lane *lane,
                       enum gpu_direction direction, const struct gpu_strip *strip)
{
    bool small = is_small(device, strip);

    if (!cuda_converts(strip) && !small)
        return cuda_copy_strip(device, lane, direction, strip);
    if (direction == GPU_MOVE || cuda_ranges_reach(device, strip->near, cuda_near_span(strip)))
        return cuda_kernel_strip(device, lane, direction, strip);
    if (!cuda_converts(strip) && lies_together(strip))
        return cuda_copy_strip(device, lane, direction, strip);
    return cuda_staged_strip(device, lane, direction, strip);
}

static int submit_strips(struct gpu_device *device, struct cuda_lane *lane,
                         enum gpu_direction direction, const struct gpu_strip *strips, unsigned nr)
{
    int rc = 0;

    for (unsigned i = 0; i < nr && !rc; i++)
        rc = strip_start(device, lane, direction, &strips[i]);
    if (!rc)
        rc = cuda_copy_flush(device, lane, direction);
    if (!rc)
        rc = cuda_kernel_flush(device, lane);
    return rc;
}

/* The driver took only a part, and what it took has no ticket: the device has failed. */
static int submit_abandon(struct gpu_device *device, struct cuda_lane *lane)
{
    lane->copies.nr = 0;
    lane->launch.nr_strips = lane->launch.nr_tiles = 0;
    cuda_fail(device);
    return -EIO;
}

/* 1: done, 0: not yet. */
static int lane_look(struct gpu_device *device, struct cuda_lane *lane, uint64_t ticket)
{
    int rc;

    if (ticket <= lane->done)
        return 1;
    rc = cuda_result(device, device->driver->EventQuery(lane->events[ticket % CUDA_IN_FLIGHT]),
                     "copy");
    if (rc)
        return rc == -EAGAIN ? 0 : rc;
    lane->done = ticket;
    return 1;
}

int cuda_submit(struct gpu_device *device, unsigned lane_nr, enum gpu_direction direction,
                const struct gpu_strip *strips, unsigned nr, uint64_t *ticket)
{
    struct cuda_lane *lane = &device->lanes[lane_nr];
    uint64_t next = lane->submitted + 1;
    int rc = cuda_use(device);

    if (!rc && (nr == 0 || nr > GPU_STRIPS_MAX))
        rc = -EINVAL;
    for (unsigned i = 0; i < nr && !rc; i++)
        rc = strip_check(device, direction, &strips[i]);
    if (rc)
        return rc;
    if (lane->submitted - lane->done >= CUDA_IN_FLIGHT) {
        rc = lane_look(device, lane, next - CUDA_IN_FLIGHT);
        if (rc <= 0)
            return rc ? rc : -EAGAIN;
    }
    rc = submit_strips(device, lane, direction, strips, nr);
    if (!rc)
        rc = cuda_result(
            device, device->driver->EventRecord(lane->events[next % CUDA_IN_FLIGHT], lane->stream),
            "record an event");
    if (rc)
        return submit_abandon(device, lane);
    *ticket = lane->submitted = next;
    return 0;
}

int cuda_poll(struct gpu_device *device, unsigned lane_nr, uint64_t ticket)
{
    struct cuda_lane *lane = &device->lanes[lane_nr];
    int rc;

    if (ticket > lane->submitted)
        return -EINVAL;
    rc = cuda_use(device);
    return rc ? rc : lane_look(device, lane, ticket);
}
