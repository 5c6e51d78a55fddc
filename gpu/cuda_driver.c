/* SPDX-License-Identifier: Apache-2.0 */
/* Loads libcuda and fills the table, once. Any thread: who comes meanwhile waits. */
#include "gpu/cuda_driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static struct cuda_driver driver_table; /* written by driver_load, then constant */
static bool driver_there;
static char driver_why[160];
static pthread_once_t driver_once = PTHREAD_ONCE_INIT;

static const struct {
    const char *name;
    int version;
    size_t at; /* in the table */
} driver_calls[] = {
#define CUDA_ENTRY(name, version) {"cu" #name, version, offsetof(struct cuda_driver, name)},
    CUDA_CALLS(CUDA_ENTRY)
#undef CUDA_ENTRY
};

static void *driver_call(PFN_cuGetProcAddress_v12000 find, const char *name, int version)
{
    CUdriverProcAddressQueryResult status;
    void *call = NULL;

    if (find(name, &call, version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &status))
        return NULL;
    return call;
}

static int driver_fill(PFN_cuGetProcAddress_v12000 find)
{
    void *call;

    for (size_t i = 0; i < sizeof(driver_calls) / sizeof(driver_calls[0]); i++) {
        call = driver_call(find, driver_calls[i].name, driver_calls[i].version);
        if (!call) {
            snprintf(driver_why, sizeof(driver_why), "the CUDA driver has no %s of version %d",
                     driver_calls[i].name, driver_calls[i].version);
            return -ENODEV;
        }
        memcpy((char *)&driver_table + driver_calls[i].at, &call, sizeof(call));
    }
    /* Not before cuInit is needed; a driver refuses versions above its own. */
    if (driver_table.version >= 13000) {
        call = driver_call(find, "cuMemcpyBatchAsync", 13000);
        memcpy(&driver_table.copy_batch_13, &call, sizeof(call));
    } else if (driver_table.version >= 12080) {
        call = driver_call(find, "cuMemcpyBatchAsync", 12080);
        memcpy(&driver_table.copy_batch_12, &call, sizeof(call));
    }
    return 0;
}

static int driver_start(void)
{
    const char *name = NULL;
    CUresult result = driver_table.Init(0);

    if (result == CUDA_SUCCESS)
        return 0;
    if (driver_table.GetErrorName(result, &name) || !name)
        name = "unknown error";
    snprintf(driver_why, sizeof(driver_why), "the CUDA driver does not start: %s", name);
    return -ENODEV;
}

/* The library stays open: what it started cannot be ended. */
static void driver_load(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    PFN_cuDriverGetVersion_v2020 get_version;
    PFN_cuGetProcAddress_v12000 find;
    void *symbol;

    if (!library) {
        snprintf(driver_why, sizeof(driver_why), "no CUDA driver: %s", dlerror());
        return;
    }
    symbol = dlsym(library, "cuDriverGetVersion");
    memcpy(&get_version, &symbol, sizeof(get_version));
    symbol = dlsym(library, "cuGetProcAddress_v2");
    memcpy(&find, &symbol, sizeof(find));
    if (!get_version || get_version(&driver_table.version))
        driver_table.version = 0;
    if (!find || driver_table.version < CUDA_DRIVER_OLDEST) {
        snprintf(driver_why, sizeof(driver_why), "the CUDA driver is of version %d.%d, needs %d.%d",
                 driver_table.version / 1000, driver_table.version % 1000 / 10,
                 CUDA_DRIVER_OLDEST / 1000, CUDA_DRIVER_OLDEST % 1000 / 10);
        return;
    }
    driver_there = !driver_fill(find) && !driver_start();
}

const struct cuda_driver *cuda_driver(char *why, size_t why_len)
{
    pthread_once(&driver_once, driver_load);
    if (driver_there)
        return &driver_table;
    snprintf(why, why_len, "%s", driver_why);
    return NULL;
}

/* Errors after which a context refuses everything, and those of a device that went away. */
static bool is_sticky(CUresult result)
{
    static const int sticky[] = {
        CUDA_ERROR_DEINITIALIZED,
        CUDA_ERROR_DEVICE_UNAVAILABLE,
        CUDA_ERROR_ECC_UNCORRECTABLE,
        CUDA_ERROR_NVLINK_UNCORRECTABLE,
        226, /* CUDA_ERROR_CONTAINED, not in older headers */
        CUDA_ERROR_ILLEGAL_ADDRESS,
        CUDA_ERROR_LAUNCH_TIMEOUT,
        CUDA_ERROR_CONTEXT_IS_DESTROYED,
        CUDA_ERROR_ASSERT,
        CUDA_ERROR_HARDWARE_STACK_ERROR,
        CUDA_ERROR_ILLEGAL_INSTRUCTION,
        CUDA_ERROR_MISALIGNED_ADDRESS,
        CUDA_ERROR_INVALID_ADDRESS_SPACE,
        CUDA_ERROR_INVALID_PC,
        CUDA_ERROR_LAUNCH_FAILED,
        721, /* CUDA_ERROR_TENSOR_MEMORY_LEAK */
        CUDA_ERROR_SYSTEM_NOT_READY,
        CUDA_ERROR_MPS_CONNECTION_FAILED,
        CUDA_ERROR_MPS_RPC_FAILURE,
        CUDA_ERROR_MPS_SERVER_NOT_READY,
        CUDA_ERROR_MPS_CLIENT_TERMINATED,
        CUDA_ERROR_EXTERNAL_DEVICE,
        CUDA_ERROR_UNKNOWN,
    };

    for (size_t i = 0; i < sizeof(sticky) / sizeof(sticky[0]); i++) {
        if ((int)result == sticky[i])
            return true;
    }
    return false;
}

int cuda_errno(CUresult result)
{
    switch (result) {
    case CUDA_SUCCESS:
        return 0;
    case CUDA_ERROR_NOT_READY:
        return -EAGAIN;
    case CUDA_ERROR_OUT_OF_MEMORY:
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
        return -ENOMEM;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_INVALID_DEVICE:
        return -ENODEV;
    case CUDA_ERROR_NOT_SUPPORTED:
    case CUDA_ERROR_NOT_PERMITTED:
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_JIT_COMPILATION_DISABLED:
    case CUDA_ERROR_PEER_ACCESS_UNSUPPORTED:
        return -ENOTSUP;
    case CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED:
        return -EEXIST;
    default: /* of one call: an argument that the driver does not take */
        return is_sticky(result) ? -EIO : -EINVAL;
    }
}

int cuda_check(const struct cuda_driver *driver, CUresult result, const char *where,
               const char *what)
{
    const char *name = NULL, *text = NULL;
    int rc = cuda_errno(result);

    if (rc == 0 || rc == -EAGAIN)
        return rc;
    if (driver->GetErrorName(result, &name) || !name)
        name = "unknown error";
    if (driver->GetErrorString(result, &text) || !text)
        text = "?";
    log_error("gpu %s: cannot %s: %s (%d: %s)", where, what, name, (int)result, text);
    return rc;
}
