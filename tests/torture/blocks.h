/* SPDX-License-Identifier: Apache-2.0 */
/* Numbered keys and values that tell which they are (tools/content.h), for the programs that kill
 * things: every byte can be checked by whoever sees it, knowing nothing but the key's number. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvrail/client.h"

#define BLOCK_KEY_MAX 48u
#define BLOCK_LEN_MIN 64u
#define BLOCK_LEN_MAX (48u << 10)

/* The key of that number: every fourth is longer than a descriptor holds. Returns its length. */
uint32_t block_key(uint8_t key[BLOCK_KEY_MAX], uint64_t number);
/* How long the value of that version is, BLOCK_LEN_MIN to BLOCK_LEN_MAX; small ones are many. */
uint32_t block_len(uint64_t number, uint64_t version);
void block_fill(void *value, uint64_t number, uint64_t version);
/* Whether it is a whole value of that number, in the version it says. version may be NULL. */
bool block_check(const void *value, size_t len, uint64_t number, uint64_t *version);
