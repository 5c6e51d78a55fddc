/* SPDX-License-Identifier: Apache-2.0 */
/* "note TEXT": something is missing or degraded. Goes to kvraild, which logs it, or
 * to the log where there is none. Main thread. */
#pragma once

void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
