/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of size mixes, choice of a size by id. */
#include "tools/sizes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <kvrail/proto.h>

#include "base/hash.h"
#include "tools/units.h"

#define WEIGHT_MAX 1000000u

static int parse_entry(char *text, struct sizes *sizes)
{
    char *colon = strchr(text, ':');
    uint64_t bytes, weight = 1;

    if (sizes->nr == SIZES_MAX)
        return -EINVAL;
    if (colon) {
        *colon = 0;
        if (units_parse_count(colon + 1, &weight) || weight == 0 || weight > WEIGHT_MAX)
            return -EINVAL;
    }
    if (units_parse_bytes(text, &bytes) || bytes > KVR_VALUE_MAX)
        return -EINVAL;
    sizes->entries[sizes->nr].bytes = (uint32_t)bytes;
    sizes->entries[sizes->nr++].weight = (uint32_t)weight;
    sizes->weights += weight;
    if (bytes > sizes->largest)
        sizes->largest = (uint32_t)bytes;
    return 0;
}

int sizes_parse(const char *text, struct sizes *sizes)
{
    char copy[512], *rest = copy, *entry;

    *sizes = (struct sizes){0};
    if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
        return -EINVAL;
    while ((entry = strsep(&rest, ",")))
        if (parse_entry(entry, sizes))
            return -EINVAL;
    return 0;
}

uint32_t sizes_of(const struct sizes *sizes, uint64_t id)
{
    uint64_t at;

    if (sizes->nr == 1)
        return sizes->entries[0].bytes;
    at = hash_key(&id, sizeof(id), 0x73697a65).lo % sizes->weights;
    for (unsigned i = 0; i < sizes->nr; i++) {
        if (at < sizes->entries[i].weight)
            return sizes->entries[i].bytes;
        at -= sizes->entries[i].weight;
    }
    return 0;
}

double sizes_mean(const struct sizes *sizes)
{
    double sum = 0;

    for (unsigned i = 0; i < sizes->nr; i++)
        sum += (double)sizes->entries[i].bytes * sizes->entries[i].weight;
    return sum / (double)sizes->weights;
}
