/* SPDX-License-Identifier: Apache-2.0 */
/* Why the dataplane cannot start: one line, what is wrong and how to mend it. Main thread. */
#pragma once

#include <stdarg.h>
#include <stdio.h>

struct fault {
    char text[512];
};

/* Writes the line and returns rc, so that a caller can say "return fault_set(...)". */
__attribute__((format(printf, 3, 4))) static inline int fault_set(struct fault *fault, int rc,
                                                                  const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(fault->text, sizeof(fault->text), format, args);
    va_end(args);
    return rc;
}
