/* SPDX-License-Identifier: Apache-2.0 */
/* DPDK's own log lines: kept silent unless log_level is debug, but warnings and errors are
 * remembered, because they say why a device does not start. */
#pragma once

/* Before EAL starts. -errno. */
[[nodiscard]] int eal_log_open(void);
/* The first of them since the last call, joined; "" if none. Main thread. */
const char *eal_log_errors(void);
