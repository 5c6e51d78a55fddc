/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of GET's views, in 64 bits where a product or sum could pass 32. */
#include "dataplane/view.h"

#include <string.h>

void view_copy(const struct value_view *view, const uint8_t *value, uint32_t pos, uint32_t len,
               uint8_t *to)
{
    const uint8_t *piece = value + view->off + (uint64_t)(pos / view->piece) * view->stride;
    uint32_t within = pos % view->piece;

    while (len > 0) {
        uint32_t run = view->piece - within < len ? view->piece - within : len;

        memcpy(to, piece + within, run);
        to += run;
        len -= run;
        piece += view->stride;
        within = 0;
    }
}
