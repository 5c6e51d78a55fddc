/* SPDX-License-Identifier: Apache-2.0 */
/* "note TEXT": something is missing or degraded. Goes to the log and to kvraild. Main thread. */
#pragma once

void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
