/* SPDX-License-Identifier: Apache-2.0 */
/* Views of a value, as struct kvr_get_req names them: count pieces of len bytes, stride apart. Pure
 * arithmetic on checked numbers; nothing overflows, nothing outside the value is named. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvrail/proto.h"

struct value_view {
    uint32_t off, piece, stride; /* piece bytes at off, off + stride, .. */
    uint32_t len;                /* of the whole view */
};

/* False: a piece lies outside the value, or the view is longer than KVR_VALUE_MAX. */
[[nodiscard]] static inline bool view_make(struct value_view *view, uint32_t value_len,
                                           const struct kvr_get_req *get)
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

/* End of the window that starts at get->skip (at most view->len), cut to most bytes. */
static inline uint32_t view_window(const struct value_view *view, const struct kvr_get_req *get,
                                   uint32_t most)
{
    uint32_t len = view->len - get->skip;

    if (get->want > 0 && get->want < len)
        len = get->want;
    return get->skip + (len < most ? len : most);
}

/* Where view[pos, pos + len) lies if it is in one piece of the value, else NULL. */
static inline const uint8_t *view_contiguous(const struct value_view *view, const uint8_t *value,
                                             uint32_t pos, uint32_t len)
{
    uint32_t within;

    if (view->piece == view->len)
        return value + view->off + pos;
    within = pos % view->piece;
    if (view->piece - within < len)
        return NULL;
    return value + view->off + (uint64_t)(pos / view->piece) * view->stride + within;
}

/* Gathers view[pos, pos + len). */
void view_copy(const struct value_view *view, const uint8_t *value, uint32_t pos, uint32_t len,
               uint8_t *to);
