/* SPDX-License-Identifier: Apache-2.0 */
/* What a check of a plain program says when it does not hold: where and what; the check is false.
 */
#pragma once

#include <stdio.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                 \
            return false;                                                                          \
        }                                                                                          \
    } while (0)
