/* SPDX-License-Identifier: Apache-2.0 */
/* The rings. Made before the cores run, destroyed after they ended and emptied theirs. */
#include "dataplane/handoff.h"

#include <errno.h>
#include <stdlib.h>

#include "base/spsc.h"

#define RING_SLOTS 1024u

struct handoff {
    unsigned nr_cores;
    struct spsc rings[]; /* from * nr_cores + to */
};

int handoff_create(unsigned nr_cores, struct handoff **out)
{
    size_t nr = (size_t)nr_cores * nr_cores;
    size_t size = sizeof(struct handoff) + nr * sizeof(struct spsc);
    struct handoff *handoff =
        aligned_alloc(CACHE_LINE, (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);

    if (!handoff)
        return -ENOMEM;
    handoff->nr_cores = nr_cores;
    for (size_t i = 0; i < nr; i++) {
        if (spsc_create(&handoff->rings[i], RING_SLOTS) == 0)
            continue;
        while (i-- > 0)
            spsc_destroy(&handoff->rings[i]);
        free(handoff);
        return -ENOMEM;
    }
    *out = handoff;
    return 0;
}

void handoff_destroy(struct handoff *handoff)
{
    if (!handoff)
        return;
    for (size_t i = 0; i < (size_t)handoff->nr_cores * handoff->nr_cores; i++)
        spsc_destroy(&handoff->rings[i]);
    free(handoff);
}

bool handoff_push(struct core *core, unsigned to, struct request *request)
{
    struct handoff *handoff = core->handoff;

    return spsc_push(&handoff->rings[core->index * handoff->nr_cores + to],
                     (uint64_t)(uintptr_t)request);
}

struct request *handoff_pop(struct core *core, unsigned *ring)
{
    struct handoff *handoff = core->handoff;
    uint64_t word;

    for (; *ring < handoff->nr_cores; ++*ring)
        if (spsc_pop(&handoff->rings[*ring * handoff->nr_cores + core->index], &word))
            return (struct request *)(uintptr_t)word;
    return NULL;
}
