/* SPDX-License-Identifier: Apache-2.0 */
/* Cookies prove that a client receives at the address that it sends from. A cookie is SipHash-2-4
 * over address, port, session and epoch: nothing is stored per client. Valid in its epoch and in
 * the next one, so for cookie_ms at least and twice that at most. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/core.h"

/* Never 0. */
uint64_t cookie_make(const struct cookie_keys *keys, const struct peer *peer, uint64_t session,
                     uint64_t epoch);

/* Whether hdr.cookie is valid now. The core's cache of what was verified answers the common case.
 */
[[nodiscard]] bool cookie_check(struct core *core, const struct request *request);

[[nodiscard]] int cookie_cache_create(struct cookie_cache **out);
void cookie_cache_destroy(struct cookie_cache *cache);
