/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of a pool as a line with a descriptor. Main thread: exporting takes the fleet's lock,
 * which no poll core may. Invariant: what was exported is kvraild's, nothing of it stays open here.
 */
#include "dataplane/export.h"

#include <stdio.h>
#include <unistd.h>

#include "dataplane/pools.h"

static void hex_text(const uint8_t *bytes, char *text)
{
    for (unsigned i = 0; i < GPU_HANDLE_MAX; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

void export_pool(struct core **cores, unsigned nr_cores, const struct control_command *command)
{
    char hex[2 * GPU_HANDLE_MAX + 1] = "-";
    struct gpu_handle handle = {.fd = -1};
    uint32_t lost = 0;
    int rc = pools_export(cores, nr_cores, command->core, command->device, &handle, &lost);

    if (rc) {
        control_say("error %d", -rc);
        return;
    }
    if (handle.kind == GPU_HANDLE_CUDA_IPC)
        hex_text(handle.bytes, hex);
    control_say_fds(&handle.fd, handle.fd >= 0, "pool %u %u %u %u %llu %u %s", command->client.id,
                    command->device, command->core, handle.kind, (unsigned long long)handle.size,
                    lost, hex);
    if (handle.fd >= 0)
        close(handle.fd);
    control_say("ok");
}
