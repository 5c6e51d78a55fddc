/* SPDX-License-Identifier: Apache-2.0 */
/* Word 0 of a versioned value is its version, masked by the id. Every other word i is seed + i *
 * STEP (a Weyl sequence: no word comes twice, and values of different seeds differ in every word).
 */
#include "tools/content.h"

#define STEP 0x9e3779b97f4a7c15ull
#define CHUNK 64u /* words checked at once */

/* May lie at any address. */
typedef uint64_t word __attribute__((aligned(1), may_alias));

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint64_t seed_of(size_t value_len, uint64_t id, uint64_t version)
{
    return mix(mix(id + STEP) ^ (version * 0xd6e8feb86659fd93ull) ^ mix(value_len));
}

static uint64_t mask_of(uint64_t id)
{
    return mix(id ^ 0x6b767261696c2100ull);
}

static uint64_t first_word(size_t value_len, uint64_t id, uint64_t version)
{
    return value_len >= CONTENT_VERSIONED ? version ^ mask_of(id) : seed_of(value_len, id, version);
}

static void fill_words(word *words, size_t nr, uint64_t x)
{
    for (; nr >= CHUNK; nr -= CHUNK, words += CHUNK, x += CHUNK * STEP)
        for (unsigned i = 0; i < CHUNK; i++)
            words[i] = x + i * STEP;
    for (unsigned i = 0; i < nr; i++)
        words[i] = x + i * STEP;
}

static bool check_words(const word *words, size_t nr, uint64_t x)
{
    uint64_t wrong = 0;

    for (; nr >= CHUNK && !wrong; nr -= CHUNK, words += CHUNK, x += CHUNK * STEP)
        for (unsigned i = 0; i < CHUNK; i++)
            wrong |= words[i] ^ (x + i * STEP);
    for (unsigned i = 0; i < nr && !wrong; i++)
        wrong |= words[i] ^ (x + i * STEP);
    return wrong == 0;
}

void content_fill_part(void *buffer, size_t len, size_t off, size_t value_len, uint64_t id,
                       uint64_t version)
{
    uint64_t first, rest;
    char *bytes = buffer;
    size_t nr = len / 8;

    if (value_len < CONTENT_VERSIONED)
        version = 0;
    first = seed_of(value_len, id, version) + off / 8 * STEP;
    rest = first + nr * STEP;
    fill_words(buffer, nr, first);
    memcpy(bytes + nr * 8, &rest, len % 8);
    if (off == 0) {
        first = first_word(value_len, id, version);
        memcpy(bytes, &first, len < 8 ? len : 8);
    }
}

void content_fill(void *buffer, size_t len, uint64_t id, uint64_t version)
{
    content_fill_part(buffer, len, 0, len, id, version);
}

bool content_check_part(const void *buffer, size_t len, size_t off, size_t value_len, uint64_t id,
                        uint64_t version)
{
    const char *bytes = buffer;
    uint64_t seed, expected;

    if (off > value_len || len > value_len - off)
        return false;
    if (value_len < CONTENT_VERSIONED)
        version = 0;
    seed = seed_of(value_len, id, version);
    while (len > 0) { /* the partial word in front, word 0, the middle, the partial word behind */
        size_t in_word = off % 8, n = 8 - in_word < len ? 8 - in_word : len;

        if (in_word == 0 && off > 0 && len >= 8) {
            n = len & ~(size_t)7;
            if (!check_words((const void *)bytes, n / 8, seed + off / 8 * STEP))
                return false;
        } else {
            expected = off < 8 ? first_word(value_len, id, version) : seed + off / 8 * STEP;
            if (memcmp(bytes, (char *)&expected + in_word, n) != 0)
                return false;
        }
        bytes += n;
        off += n;
        len -= n;
    }
    return true;
}

bool content_check(const void *buffer, size_t len, uint64_t id, uint64_t *version)
{
    uint64_t said = 0;

    if (len >= CONTENT_VERSIONED) {
        memcpy(&said, buffer, 8);
        said ^= mask_of(id);
    }
    if (version)
        *version = said;
    return content_check_part(buffer, len, 0, len, id, said);
}
