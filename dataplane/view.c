/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of GET's views, in 64 bits where a product or sum could pass 32. */
#include "dataplane/view.h"

#include <string.h>

bool view_make(struct value_view *view, uint32_t value_len, const struct kvr_get_req *get)
{
    uint64_t last, len;

    if (get->off > value_len)
        return false;
    *view = (struct value_view){.off = get->off, .piece = get->len, .stride = get->stride};
    if (get->len == 0) { /* parse made sure of count 1 */
        view->piece = value_len - get->off;
        view->len = view->piece;
        return true;
    }
    last = get->off + (uint64_t)(get->count - 1u) * get->stride;
    len = (uint64_t)get->count * get->len;
    if (last + get->len > value_len || len > KVR_VALUE_MAX)
        return false;
    view->len = (uint32_t)len;
    if (get->stride == get->len) /* one after the other: a single piece */
        view->piece = view->len;
    return true;
}

uint32_t view_window(const struct value_view *view, const struct kvr_get_req *get, uint32_t most)
{
    uint32_t len = view->len - get->skip;

    if (get->want > 0 && get->want < len)
        len = get->want;
    return get->skip + (len < most ? len : most);
}

const uint8_t *view_contiguous(const struct value_view *view, const uint8_t *value, uint32_t pos,
                               uint32_t len)
{
    uint32_t within;

    if (view->piece == view->len)
        return value + view->off + pos;
    within = pos % view->piece;
    if (view->piece - within < len)
        return NULL;
    return value + view->off + (uint64_t)(pos / view->piece) * view->stride + within;
}

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
