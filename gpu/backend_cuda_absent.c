/* SPDX-License-Identifier: Apache-2.0 */
/* In place of the CUDA backend, where it was built without cuda.h: there are no devices, and why.
 */
#include <errno.h>
#include <stdio.h>

#include "gpu/backend.h"

static int absent_probe(unsigned *nr_devices, char *why, size_t why_len)
{
    *nr_devices = 0;
    snprintf(why, why_len, "built without CUDA");
    return -ENODEV;
}

/* Nothing else is called without a device. */
static int absent_open(unsigned index, const struct gpu_device_options *options,
                       struct gpu_device **device)
{
    (void)index;
    (void)options;
    *device = NULL;
    return -ENODEV;
}

const struct gpu_backend gpu_backend_cuda = {
    .name = "cuda",
    .probe = absent_probe,
    .open = absent_open,
};
