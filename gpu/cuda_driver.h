/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA driver as a table of functions, found at run time: libcuda is not linked, so the same
 * program runs where there is none. Any thread. Each function is asked for in the version whose
 * type the table gives it, all but the last two are in every driver since CUDA 12.0. */
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>
#include <stddef.h>

#define CUDA_DRIVER_OLDEST 12000

/* name without "cu", version */
#define CUDA_CALLS(CALL)                                                                           \
    CALL(GetErrorName, 6000)                                                                       \
    CALL(GetErrorString, 6000)                                                                     \
    CALL(Init, 2000)                                                                               \
    CALL(DeviceGetCount, 2000)                                                                     \
    CALL(DeviceGet, 2000)                                                                          \
    CALL(DeviceGetName, 2000)                                                                      \
    CALL(DeviceGetAttribute, 2000)                                                                 \
    CALL(DeviceGetPCIBusId, 4010)                                                                  \
    CALL(DevicePrimaryCtxRetain, 7000)                                                             \
    CALL(DevicePrimaryCtxRelease, 11000)                                                           \
    CALL(DeviceTotalMem, 3020)                                                                     \
    CALL(CtxCreate, 3020)                                                                          \
    CALL(CtxDestroy, 4000)                                                                         \
    CALL(CtxSetCurrent, 4000)                                                                      \
    CALL(StreamCreate, 2000)                                                                       \
    CALL(StreamSynchronize, 2000)                                                                  \
    CALL(EventCreate, 2000)                                                                        \
    CALL(EventRecord, 2000)                                                                        \
    CALL(EventQuery, 2000)                                                                         \
    CALL(ModuleLoadData, 2000)                                                                     \
    CALL(ModuleGetFunction, 2000)                                                                  \
    CALL(LaunchKernel, 4000)                                                                       \
    CALL(MemGetInfo, 3020)                                                                         \
    CALL(MemAlloc, 3020)                                                                           \
    CALL(MemFree, 3020)                                                                            \
    CALL(MemGetAddressRange, 3020)                                                                 \
    CALL(MemHostRegister, 6050)                                                                    \
    CALL(MemHostUnregister, 4000)                                                                  \
    CALL(MemHostGetDevicePointer, 3020)                                                            \
    CALL(MemCreate, 10020)                                                                         \
    CALL(MemRelease, 10020)                                                                        \
    CALL(MemAddressReserve, 10020)                                                                 \
    CALL(MemAddressFree, 10020)                                                                    \
    CALL(MemMap, 10020)                                                                            \
    CALL(MemUnmap, 10020)                                                                          \
    CALL(MemSetAccess, 10020)                                                                      \
    CALL(MemGetAllocationGranularity, 10020)                                                       \
    CALL(MemExportToShareableHandle, 10020)                                                        \
    CALL(MemImportFromShareableHandle, 10020)                                                      \
    CALL(IpcGetMemHandle, 4010)                                                                    \
    CALL(IpcOpenMemHandle, 11000)                                                                  \
    CALL(IpcCloseMemHandle, 4010)                                                                  \
    CALL(MemcpyHtoDAsync, 3020)                                                                    \
    CALL(MemcpyDtoHAsync, 3020)                                                                    \
    CALL(MemcpyDtoDAsync, 3020)                                                                    \
    CALL(Memcpy2DAsync, 3020)

/* Copies of one batch may overtake each other. The first signature came with CUDA 12.8 and lost
 * its out-parameter with 13.0; a driver gives out that of the version it is asked for. */
typedef CUresult(CUDAAPI *cuda_copy_batch_12)(CUdeviceptr *to, CUdeviceptr *from, size_t *sizes,
                                              size_t nr, CUmemcpyAttributes *attributes,
                                              size_t *first_with, size_t nr_attributes,
                                              size_t *failed, CUstream stream);
typedef CUresult(CUDAAPI *cuda_copy_batch_13)(CUdeviceptr *to, CUdeviceptr *from, size_t *sizes,
                                              size_t nr, CUmemcpyAttributes *attributes,
                                              size_t *first_with, size_t nr_attributes,
                                              CUstream stream);

struct cuda_driver {
#define CUDA_MEMBER(name, version) PFN_cu##name##_v##version name;
    CUDA_CALLS(CUDA_MEMBER)
#undef CUDA_MEMBER
    int version;                      /* of the driver: 13000 is 13.0 */
    cuda_copy_batch_12 copy_batch_12; /* at most one of them is there */
    cuda_copy_batch_13 copy_batch_13;
};

/* The table, the same for the process's life; loads the library when first called. NULL: why has
 * one line. */
const struct cuda_driver *cuda_driver(char *why, size_t why_len);

/* 0, or -errno after one line of log: "WHERE: cannot WHAT: name of the error (its text)".
 * CUDA_ERROR_NOT_READY is -EAGAIN, without a line. */
[[nodiscard]] int cuda_check(const struct cuda_driver *driver, CUresult result, const char *where,
                             const char *what);
/* The same without the line. -EIO: sticky, the context that said it is of no more use. */
int cuda_errno(CUresult result);
