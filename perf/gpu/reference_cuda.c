/* SPDX-License-Identifier: Apache-2.0 */
/* cuMemcpyHtoDAsync and cuMemcpyDtoHAsync, one call for each piece, in the primary context. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "gpu/cuda_driver.h"
#include "reference.h"

#define WHERE "reference"

struct reference {
    const struct cuda_driver *driver;
    CUdevice handle;
    CUcontext context;
    CUstream stream;
    CUdeviceptr device;
    uint8_t *near;
    size_t len;
};

static void cuda_close(struct reference *reference)
{
    const struct cuda_driver *driver = reference->driver;

    if (reference->device)
        (void)driver->MemFree(reference->device);
    if (reference->near != MAP_FAILED) {
        (void)driver->MemHostUnregister(reference->near);
        munmap(reference->near, reference->len);
    }
    (void)driver->DevicePrimaryCtxRelease(reference->handle); /* with its stream */
    free(reference);
}

static int cuda_prepare(struct reference *reference)
{
    const struct cuda_driver *driver = reference->driver;
    int rc =
        cuda_check(driver, driver->CtxSetCurrent(reference->context), WHERE, "enter a context");

    if (!rc)
        rc = cuda_check(driver, driver->StreamCreate(&reference->stream, CU_STREAM_NON_BLOCKING),
                        WHERE, "make a stream");
    if (!rc)
        rc = cuda_check(driver, driver->MemAlloc(&reference->device, reference->len), WHERE,
                        "allocate memory");
    if (rc)
        return rc;
    reference->near = mmap(NULL, reference->len, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (reference->near == MAP_FAILED)
        return -errno;
    memset(reference->near, 1, reference->len);
    return cuda_check(driver, driver->MemHostRegister(reference->near, reference->len, 0), WHERE,
                      "register host memory");
}

static int cuda_open(unsigned index, size_t len, struct reference **opened)
{
    struct reference *reference = calloc(1, sizeof(*reference));
    char why[160];
    int rc;

    if (!reference)
        return -ENOMEM;
    reference->len = len;
    reference->near = MAP_FAILED;
    reference->driver = cuda_driver(why, sizeof(why));
    if (!reference->driver) {
        free(reference);
        return -ENODEV;
    }
    rc = cuda_check(reference->driver, reference->driver->DeviceGet(&reference->handle, (int)index),
                    WHERE, "find the device");
    if (!rc)
        rc = cuda_check(
            reference->driver,
            reference->driver->DevicePrimaryCtxRetain(&reference->context, reference->handle),
            WHERE, "make a context");
    if (rc) {
        free(reference);
        return rc;
    }
    rc = cuda_prepare(reference);
    if (rc)
        cuda_close(reference);
    else
        *opened = reference;
    return rc;
}

static int cuda_copy(struct reference *reference, enum gpu_direction direction, size_t piece)
{
    const struct cuda_driver *driver = reference->driver;
    CUresult result = driver->CtxSetCurrent(reference->context);

    for (size_t at = 0; at + piece <= reference->len && !result; at += piece) {
        if (direction == GPU_LOAD)
            result = driver->MemcpyHtoDAsync(reference->device + at, reference->near + at, piece,
                                             reference->stream);
        else
            result = driver->MemcpyDtoHAsync(reference->near + at, reference->device + at, piece,
                                             reference->stream);
    }
    if (!result)
        result = driver->StreamSynchronize(reference->stream);
    return cuda_check(driver, result, WHERE, "copy");
}

const struct reference_kind reference_cuda = {
    .name = "cuMemcpyAsync", .open = cuda_open, .close = cuda_close, .copy = cuda_copy};
