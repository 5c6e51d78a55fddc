/* SPDX-License-Identifier: Apache-2.0 */
/* The clients' hazard slots, as the reclaimer looks at them: which blocks some client holds, and
 * how much each client holds. Private to reclaim.c, whose thread calls scan_run and scan_due; the
 * main thread adds and removes clients; anyone may ask scan_held. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"

struct arena;
struct scan;

/* 0 or -ENOMEM. */
[[nodiscard]] int scan_create(const struct arena *arena, struct scan **out);
void scan_destroy(struct scan *scan);

/* As reclaim_client_* in reclaim.h. */
[[nodiscard]] int scan_client_add(struct scan *scan, uint32_t id, const struct segment *segment);
void scan_client_remove(struct scan *scan, uint32_t id);
bool scan_client_held(struct scan *scan, uint32_t id, uint64_t *blocks, uint64_t *bytes);

/* Whether it is time to look even though nothing waits to be given back. */
bool scan_due(const struct scan *scan, uint64_t now_ns);
/* Fences, then looks at every slot in use once. Blocks that were unlinked before, in the order of
 * happens-before, are held now or will never be held again. */
void scan_run(struct scan *scan, uint64_t now_ns);

/* As of the last scan. Blocks are counted over all partitions; any number may be asked for. */
bool scan_held(const struct scan *scan, uint32_t block);
bool scan_holds_any(const struct scan *scan);
/* Changes after blocks that were held are not any more. */
uint64_t scan_releases(const struct scan *scan);
