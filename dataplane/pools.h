/* SPDX-License-Identifier: Apache-2.0 */
/* The pools in GPU memory (gpu/pool.h): one for each poll core, of the blocks of its partitions.
 * The main thread makes and ends them while the cores do not run, and tells of them; between that
 * they are their core's (local/tier.c). */
#pragma once

#include "dataplane/core.h"
#include "dataplane/eth/fault.h"
#include "gpu/fleet.h"

/* After the cores are made. None, and 0, with gpu_pool 0; else the fault names the setting. */
[[nodiscard]] int pools_start(const struct settings *settings, struct gpu_fleet *fleet,
                              struct core **cores, unsigned nr_cores, struct fault *fault);
/* They load nothing more: local_set_fleet then waits for what is on its way. */
void pools_quiet(struct core **cores, unsigned nr_cores);
/* No job names them any more. */
void pools_stop(struct core **cores, unsigned nr_cores);
/* The memory of a core's pool on a device, for a client that may write the arena; *lost: see
 * gpu/pool.h. The descriptor is the caller's. Main thread, while the cores run too. -ENODEV: no
 * such pool; -EINVAL: no such core; else as pool_export. */
[[nodiscard]] int pools_export(struct core **cores, unsigned nr_cores, unsigned core,
                               unsigned device, struct gpu_handle *handle, uint32_t *lost);
/* Adds up their figures where others look: superblock.gpus. Any thread but cores'. */
void pools_tell(struct core **cores, unsigned nr_cores, struct arena *arena);
