/* SPDX-License-Identifier: Apache-2.0 */
/* Starts and ends DPDK's environment layer: its arguments are made from the settings. Main thread.
 */
#pragma once

#include <stdbool.h>

#include "dataplane/eth/cpus.h"
#include "dataplane/eth/fault.h"
#include "dataplane/settings.h"

/* Worker i becomes lcore i + 1, pinned to its CPU; lcore 0 is the calling thread and floats over
 * the allowed CPUs. */
[[nodiscard]] int eal_start(const struct settings *settings, const struct cpu_plan *plan,
                            const cpu_set_t *allowed, struct fault *fault);
void eal_stop(void);

/* Runs a function on the thread of worker i; waits until it has returned. -EBUSY: it runs one. */
[[nodiscard]] int eal_launch(unsigned worker, int (*run)(void *), void *arg);
void eal_wait(unsigned worker);
bool eal_has_hugepages(void);
