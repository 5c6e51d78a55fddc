/* SPDX-License-Identifier: Apache-2.0 */
/* The free slots of a client's segment, and the registration that lets it do without a fence. */
#include "shm/hazard.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int hazards_open(struct hazards *hazards, const struct segment *segment, bool asymmetric)
{
    uint32_t nr = segment->spec.nr_slots;

    *hazards = (struct hazards){.slots = segment->slots,
                                .slots_used = &segment->header->slots_used,
                                .free = malloc(nr * sizeof(*hazards->free)),
                                .nr_free = nr,
                                .nr_slots = nr,
                                .asymmetric = asymmetric};
    if (!hazards->free)
        return -ENOMEM;
    /* The lowest on top: few slots in use are few slots to scan. */
    for (uint32_t i = 0; i < nr; i++)
        hazards->free[i] = nr - 1 - i;
    return 0;
}

void hazards_close(struct hazards *hazards)
{
    free(hazards->free);
    hazards->free = NULL;
}

bool hazards_register(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}
