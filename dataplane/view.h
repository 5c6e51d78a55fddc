/* SPDX-License-Identifier: Apache-2.0 */
/* Views of a value, as struct kvr_get_req names them: count pieces of len bytes, stride apart. Pure
 * arithmetic on checked numbers; nothing overflows, nothing outside the value is named. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kvrail/proto.h"

struct value_view {
    uint32_t off, piece, stride; /* piece bytes at off, off + stride, .. */
    uint32_t len;                /* of the whole view */
};

/* False: a piece lies outside the value, or the view is longer than KVR_VALUE_MAX. */
[[nodiscard]] bool view_make(struct value_view *view, uint32_t value_len,
                             const struct kvr_get_req *get);

/* End of the window that starts at get->skip (at most view->len), cut to most bytes. */
uint32_t view_window(const struct value_view *view, const struct kvr_get_req *get, uint32_t most);

/* Where view[pos, pos + len) lies if it is in one piece of the value, else NULL. */
const uint8_t *view_contiguous(const struct value_view *view, const uint8_t *value, uint32_t pos,
                               uint32_t len);
/* Gathers view[pos, pos + len). */
void view_copy(const struct value_view *view, const uint8_t *value, uint32_t pos, uint32_t len,
               uint8_t *to);
