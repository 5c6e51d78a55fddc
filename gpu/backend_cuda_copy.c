/* SPDX-License-Identifier: Apache-2.0 */
/* Copies by the copy engines, in the fewest calls: pieces that lie together as one, many as a
 * batch where the driver has that, a regular strip as a plane of rows. A copy from or to host
 * memory stays within one registration, as the driver wants it. Worker only. */
#include <errno.h>

#include "base/log.h"
#include "gpu/cuda_device.h"

int cuda_copy_bytes(struct gpu_device *device, struct cuda_lane *lane, enum gpu_direction direction,
                    uint64_t near, uint64_t at, size_t len)
{
    const struct cuda_driver *driver = device->driver;
    CUresult result;

    if (direction == GPU_LOAD)
        result = driver->MemcpyHtoDAsync(at, (const void *)(uintptr_t)near, len, lane->stream);
    else if (direction == GPU_STORE)
        result = driver->MemcpyDtoHAsync((void *)(uintptr_t)near, at, len, lane->stream);
    else
        result = driver->MemcpyDtoDAsync(at, near, len, lane->stream);
    return cuda_result(device, result, "copy");
}

static CUresult copy_batch(const struct cuda_driver *driver, struct cuda_lane *lane, size_t nr)
{
    CUmemcpyAttributes attributes = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
    struct cuda_copies *copies = &lane->copies;
    size_t first = 0, failed;

    if (driver->copy_batch_13)
        return driver->copy_batch_13(copies->to, copies->from, copies->sizes, nr, &attributes,
                                     &first, 1, lane->stream);
    return driver->copy_batch_12(copies->to, copies->from, copies->sizes, nr, &attributes, &first,
                                 1, &failed, lane->stream);
}

static int copy_each(struct gpu_device *device, struct cuda_lane *lane,
                     enum gpu_direction direction, size_t nr)
{
    const struct cuda_copies *copies = &lane->copies;
    bool store = direction == GPU_STORE;
    int rc = 0;

    for (size_t i = 0; i < nr && !rc; i++)
        rc = cuda_copy_bytes(device, lane, direction, store ? copies->to[i] : copies->from[i],
                             store ? copies->from[i] : copies->to[i], copies->sizes[i]);
    return rc;
}

/* A batch that is refused is copied piece by piece, some of it perhaps again. If that works the
 * device takes no batches, and is not asked for another. */
int cuda_copy_flush(struct gpu_device *device, struct cuda_lane *lane, enum gpu_direction direction)
{
    size_t nr = lane->copies.nr;
    CUresult result;
    int rc;

    lane->copies.nr = 0;
    if (nr <= 1)
        return copy_each(device, lane, direction, nr);
    result = copy_batch(device->driver, lane, nr);
    if (result == CUDA_SUCCESS || cuda_errno(result) == -EIO)
        return cuda_result(device, result, "copy a batch");
    rc = copy_each(device, lane, direction, nr);
    if (!rc) {
        device->has_batch = false;
        log_warning("gpu %s: takes no batches of copies (error %d): one call for each piece",
                    device->where, (int)result);
    }
    return rc;
}

static int copy_collect(struct gpu_device *device, struct cuda_lane *lane,
                        enum gpu_direction direction, uint64_t near, uint64_t at, size_t len)
{
    struct cuda_copies *copies = &lane->copies;
    bool store = direction == GPU_STORE;

    copies->to[copies->nr] = store ? near : at;
    copies->from[copies->nr] = store ? at : near;
    copies->sizes[copies->nr] = len;
    if (++copies->nr < CUDA_COPIES_MAX)
        return 0;
    return cuda_copy_flush(device, lane, direction);
}

/* Memory that is not registered is copied by way of the driver's own buffers, not in a batch. */
static int copy_piece(struct gpu_device *device, struct cuda_lane *lane,
                      enum gpu_direction direction, uint64_t near, uint64_t at, size_t len)
{
    int rc = 0;

    while (len > 0 && !rc) {
        bool registered = true;
        size_t run = len;

        if (direction != GPU_MOVE)
            run = cuda_ranges_run(device, near, len, &registered);
        if (registered && device->has_batch)
            rc = copy_collect(device, lane, direction, near, at, run);
        else
            rc = cuda_copy_bytes(device, lane, direction, near, at, run);
        near += run;
        at += run;
        len -= run;
    }
    return rc;
}

/* Whether one call can copy it as rows of a plane. */
static bool is_plane(struct gpu_device *device, enum gpu_direction direction,
                     const struct gpu_strip *strip)
{
    size_t span = cuda_near_span(strip);
    bool registered;

    return strip->near_step >= strip->piece_bytes && strip->device_step >= strip->piece_bytes &&
           strip->near_step <= device->pitch_max && strip->device_step <= device->pitch_max &&
           (direction == GPU_MOVE ||
            cuda_ranges_run(device, strip->near, span, &registered) == span);
}

static int copy_plane(struct gpu_device *device, struct cuda_lane *lane,
                      enum gpu_direction direction, const struct gpu_strip *strip)
{
    CUDA_MEMCPY2D plane = {.WidthInBytes = strip->piece_bytes, .Height = strip->nr_pieces};

    if (direction == GPU_STORE) {
        plane.srcMemoryType = CU_MEMORYTYPE_DEVICE;
        plane.srcDevice = strip->device;
        plane.srcPitch = strip->device_step;
        plane.dstMemoryType = CU_MEMORYTYPE_HOST;
        plane.dstHost = (void *)(uintptr_t)strip->near;
        plane.dstPitch = strip->near_step;
    } else {
        plane.srcMemoryType = direction == GPU_LOAD ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        plane.srcHost = direction == GPU_LOAD ? (const void *)(uintptr_t)strip->near : NULL;
        plane.srcDevice = direction == GPU_LOAD ? 0 : strip->near;
        plane.srcPitch = strip->near_step;
        plane.dstMemoryType = CU_MEMORYTYPE_DEVICE;
        plane.dstDevice = strip->device;
        plane.dstPitch = strip->device_step;
    }
    return cuda_result(device, device->driver->Memcpy2DAsync(&plane, lane->stream), "copy a strip");
}

int cuda_copy_strip(struct gpu_device *device, struct cuda_lane *lane, enum gpu_direction direction,
                    const struct gpu_strip *strip)
{
    int rc = 0;

    if (strip->near_step == strip->piece_bytes && strip->device_step == strip->piece_bytes)
        return copy_piece(device, lane, direction, strip->near, strip->device,
                          (size_t)strip->piece_bytes * strip->nr_pieces);
    if (!device->has_batch && strip->nr_pieces > 1 && is_plane(device, direction, strip))
        return copy_plane(device, lane, direction, strip);
    for (uint32_t i = 0; i < strip->nr_pieces && !rc; i++)
        rc = copy_piece(device, lane, direction, strip->near + i * strip->near_step,
                        strip->device + i * strip->device_step, strip->piece_bytes);
    return rc;
}
