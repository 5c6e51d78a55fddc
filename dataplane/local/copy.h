/* SPDX-License-Identifier: Apache-2.0 */
/* The thread kvrail-copy: copies the values of STOREs, so that no poll core does. It takes turns
 * between clients, a piece each; one who asks for much waits for itself. */
#pragma once

#include "base/spsc.h"
#include "dataplane/local/client.h"

struct copier;

/* rings: of struct store *, one per core, which pushes; they outlive the thread. clients: bits; the
 * thread sleeps longer while there are none. -ENOMEM, -errno. */
[[nodiscard]] int copier_create(struct copy_stats *stats, const uint64_t *clients,
                                struct spsc *const *rings, unsigned nr_rings, struct copier **out);
/* Ends the thread; copies under way are left as they are. */
void copier_destroy(struct copier *copier);
