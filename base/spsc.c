/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the rings. */
#include "base/spsc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int spsc_create(struct spsc *ring, uint32_t capacity)
{
    memset(ring, 0, sizeof(*ring));
    ring->slots = calloc(capacity, sizeof(*ring->slots));
    if (!ring->slots)
        return -ENOMEM;
    ring->mask = capacity - 1;
    return 0;
}

void spsc_destroy(struct spsc *ring)
{
    free(ring->slots);
    ring->slots = NULL;
}
