/* SPDX-License-Identifier: Apache-2.0 */
/* Strips that kernels move: many of one kind in a launch. Bytes that kernels cannot reach (memory
 * that is not registered) go by way of scratch memory of the lane, which the copy engines fill or
 * empty. Worker only. */
#include <assert.h>
#include <errno.h>

#include "base/log.h"
#include "gpu/cuda_device.h"

static_assert(sizeof(struct kernel_args) <= 4096);

extern const unsigned char kernels_image[]; /* made from kernels.cu, or empty */
extern const unsigned kernels_image_len;

/* Enough warps to fill the bus, and few enough to leave the device to others. */
#define BLOCKS_OVER_BUS 64u
#define BLOCKS_INSIDE 512u

void cuda_kernels_refuse(struct gpu_device *device)
{
    device->no_kernels = true;
    device->has_kernels = false;
    log_warning("gpu %s: kernels do not run: copy engines only, no conversions", device->where);
}

int cuda_kernels_load(struct gpu_device *device)
{
    static const char *const names[] = KERNEL_NAMES;
    const struct cuda_driver *driver = device->driver;
    CUmodule module;
    int rc;

    device->has_kernels = false;
    if (kernels_image_len == 0 || device->no_kernels)
        return 0;
    rc = cuda_result(device, driver->ModuleLoadData(&module, kernels_image), "load kernels");
    for (unsigned i = 0; i < KERNELS && !rc; i++)
        rc = cuda_result(device, driver->ModuleGetFunction(&device->kernels[i], module, names[i]),
                         "find a kernel");
    device->has_kernels = !rc;
    if (rc == -EIO)
        return rc;
    if (rc)
        cuda_kernels_refuse(device);
    return 0;
}

static enum kernel kernel_of(enum gpu_direction direction, const struct gpu_strip *strip)
{
    const struct kvr_conversion *conversion = &strip->conversion;
    unsigned variant = 2 * (conversion->element == KVR_FP16) + (unsigned)(conversion->bits == 4);

    if (!cuda_converts(strip))
        return KERNEL_MOVE;
    return (direction == GPU_STORE ? KERNEL_PACK : KERNEL_UNPACK) + variant;
}

int cuda_kernel_flush(struct gpu_device *device, struct cuda_lane *lane)
{
    struct kernel_args *launch = &lane->launch;
    void *arguments[] = {launch};
    unsigned blocks = (launch->nr_tiles + KERNEL_WARPS - 1) / KERNEL_WARPS;
    unsigned most = lane->inside ? BLOCKS_INSIDE : BLOCKS_OVER_BUS;
    CUresult result;

    if (launch->nr_strips == 0)
        return 0;
    blocks = blocks < most ? blocks : most;
    result = device->driver->LaunchKernel(device->kernels[lane->kernel], blocks, 1, 1,
                                          KERNEL_THREADS, 1, 1, 0, lane->stream, arguments, NULL);
    launch->nr_strips = launch->nr_tiles = 0;
    return cuda_result(device, result, "launch a kernel");
}

/* Tiles of one piece. */
static uint32_t tiles_of(const struct gpu_strip *strip)
{
    if (cuda_converts(strip))
        return (strip->piece_bytes / 2 + KERNEL_TILE_ELEMENTS - 1) / KERNEL_TILE_ELEMENTS;
    return (strip->piece_bytes + KERNEL_TILE_BYTES - 1) / KERNEL_TILE_BYTES;
}

/* Gives a strip to the launch that is collected; begins the one before if it is of another kind or
 * full. */
static int launch_add(struct gpu_device *device, struct cuda_lane *lane,
                      enum gpu_direction direction, const struct gpu_strip *strip)
{
    bool converts = cuda_converts(strip), inside = direction == GPU_MOVE;
    uint32_t group = converts ? strip->conversion.group : 0, tiles = tiles_of(strip);
    enum kernel kernel = kernel_of(direction, strip);
    struct kernel_args *launch = &lane->launch;
    struct kernel_strip *to;
    int rc = 0;

    if (launch->nr_strips == KERNEL_STRIPS_MAX || kernel != lane->kernel ||
        group != launch->group || inside != lane->inside ||
        (uint64_t)launch->nr_tiles + (uint64_t)tiles * strip->nr_pieces > INT32_MAX)
        rc = cuda_kernel_flush(device, lane);
    if (rc)
        return rc;
    lane->kernel = kernel;
    lane->inside = inside;
    launch->group = group;
    to = &launch->strips[launch->nr_strips++];
    to->piece = converts ? strip->piece_bytes / 2 : strip->piece_bytes;
    to->first_tile = launch->nr_tiles;
    to->piece_tiles = tiles;
    to->from = direction == GPU_STORE ? strip->device : strip->near;
    to->from_step = direction == GPU_STORE ? strip->device_step : strip->near_step;
    to->to = direction == GPU_STORE ? strip->near : strip->device;
    to->to_step = direction == GPU_STORE ? strip->near_step : strip->device_step;
    launch->nr_tiles += tiles * strip->nr_pieces;
    return 0;
}

int cuda_kernel_strip(struct gpu_device *device, struct cuda_lane *lane,
                      enum gpu_direction direction, const struct gpu_strip *strip)
{
    return launch_add(device, lane, direction, strip);
}

static int scratch_make(struct gpu_device *device, struct cuda_lane *lane)
{
    if (lane->scratch)
        return 0;
    return cuda_result(device, device->driver->MemAlloc(&lane->scratch, CUDA_SCRATCH_BYTES),
                       "allocate scratch memory");
}

/* part: pieces that lie together in scratch memory as they do, or shall, at near. */
static int scratch_copy(struct gpu_device *device, struct cuda_lane *lane,
                        enum gpu_direction direction, const struct gpu_strip *part)
{
    uint32_t bytes = cuda_near_bytes(part);
    struct gpu_strip plain = {.near = part->near,
                              .device = lane->scratch,
                              .near_step = part->near_step,
                              .device_step = bytes,
                              .piece_bytes = bytes,
                              .nr_pieces = part->nr_pieces};
    int rc = cuda_copy_strip(device, lane, direction, &plain);

    return rc ? rc : cuda_copy_flush(device, lane, direction);
}

static int scratch_kernel(struct gpu_device *device, struct cuda_lane *lane,
                          enum gpu_direction direction, const struct gpu_strip *part)
{
    struct gpu_strip inner = *part;
    int rc;

    inner.near = lane->scratch;
    inner.near_step = cuda_near_bytes(part);
    rc = launch_add(device, lane, direction, &inner);
    return rc ? rc : cuda_kernel_flush(device, lane);
}

/* What was collected before begins first, so that a store's kernel comes before its copy. The
 * lane's order keeps a part from the scratch memory that the part before still uses. */
int cuda_staged_strip(struct gpu_device *device, struct cuda_lane *lane,
                      enum gpu_direction direction, const struct gpu_strip *strip)
{
    uint32_t fit = (uint32_t)(CUDA_SCRATCH_BYTES / cuda_near_bytes(strip));
    struct gpu_strip part = *strip;
    int rc = scratch_make(device, lane);

    if (!rc)
        rc = cuda_copy_flush(device, lane, direction);
    for (uint32_t done = 0; done < strip->nr_pieces && !rc; done += part.nr_pieces) {
        part.nr_pieces = strip->nr_pieces - done < fit ? strip->nr_pieces - done : fit;
        part.near = strip->near + done * strip->near_step;
        part.device = strip->device + done * strip->device_step;
        if (direction == GPU_STORE) {
            rc = scratch_kernel(device, lane, direction, &part);
            rc = rc ? rc : scratch_copy(device, lane, direction, &part);
        } else {
            rc = scratch_copy(device, lane, direction, &part);
            rc = rc ? rc : scratch_kernel(device, lane, direction, &part);
        }
    }
    return rc;
}
