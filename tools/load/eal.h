/* SPDX-License-Identifier: Apache-2.0 */
/* Starts and ends DPDK's environment layer for the load threads. Main thread. */
#pragma once

#include <stdbool.h>

#include "dataplane/eth/fault.h"
#include "tools/load/settings.h"

/* Thread i becomes lcore i + 1, pinned to its CPU; lcore 0 is the calling thread. memory: MiB.
 * -errno and the fault's text. */
[[nodiscard]] int load_eal_start(const struct load_settings *s, unsigned memory,
                                 struct fault *fault);
void load_eal_stop(void);
bool load_eal_has_hugepages(void);

[[nodiscard]] int load_eal_launch(unsigned thread, int (*run)(void *), void *arg);
/* Whether it still runs what was launched. */
bool load_eal_runs(unsigned thread);
