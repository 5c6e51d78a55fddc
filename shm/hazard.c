/* SPDX-License-Identifier: Apache-2.0 */
/* The slow side of hazard slots: their free list, and whether this process leaves its fences to the
 * reclaimer's membarrier(2). Client's thread. */
#include "shm/hazard.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int hazards_open(struct hazards *hazards, const struct segment *segment, bool asymmetric)
{
    uint32_t nr = segment->spec.nr_slots;

    *hazards = (struct hazards){
        .slots = segment->slots,
        .slots_used = &segment->header->slots_used,
        .nr_free = nr,
        .nr_slots = nr,
        .asymmetric = asymmetric,
    };
    hazards->free = malloc(nr * sizeof(*hazards->free));
    if (!hazards->free)
        return -ENOMEM;
    for (uint32_t i = 0; i < nr; i++)
        hazards->free[i] = nr - 1 - i;
    shared_store(&segment->header->asymmetric, (uint32_t)asymmetric);
    return 0;
}

void hazards_close(struct hazards *hazards)
{
    free(hazards->free);
    memset(hazards, 0, sizeof(*hazards));
}

bool hazards_supported(void)
{
    long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

    return commands >= 0 && (commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

bool hazards_register(void)
{
    return hazards_supported() &&
           syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}
