/* SPDX-License-Identifier: Apache-2.0 */
/* Keys by number, lengths by a hash of number and version. */
#include "torture/blocks.h"

#include "base/hash.h"
#include "tools/content.h"

#define KEY_SHORT 16u
#define SALT 0x6b696c6cull

uint32_t block_key(uint8_t key[BLOCK_KEY_MAX], uint64_t number)
{
    uint32_t len = number % 4 == 3 ? BLOCK_KEY_MAX : KEY_SHORT;

    content_key(key, len, number, SALT);
    return len;
}

uint32_t block_len(uint64_t number, uint64_t version)
{
    uint64_t both[2] = {number, version};
    struct key_hash hash = hash_key(both, sizeof(both), SALT);
    uint32_t most = BLOCK_LEN_MAX >> (hash.hi % 8);

    return BLOCK_LEN_MIN + (uint32_t)(hash.lo % (most - BLOCK_LEN_MIN + 1));
}

void block_fill(void *value, uint64_t number, uint64_t version)
{
    content_fill(value, block_len(number, version), number, version);
}

bool block_check(const void *value, size_t len, uint64_t number, uint64_t *version)
{
    uint64_t said = 0;

    if (!content_check(value, len, number, &said) || len != block_len(number, said))
        return false;
    if (version)
        *version = said;
    return true;
}
