/* SPDX-License-Identifier: Apache-2.0 */
/* Keys as people give them: words, or hexadecimal for any bytes; and lists of them from files. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include <kvrail/client.h>

struct key_list {
    struct kvr_key *keys;
    size_t nr, room;
};

/* Adds a copy of text (hex: the bytes its digits spell, "0x" in front allowed). 0, -EINVAL for bad
 * digits or a length outside 1 to KVR_KEY_MAX, -ENOMEM. */
[[nodiscard]] int keys_add(struct key_list *list, const char *text, bool hex);
/* Adds each line of the file ("-" = standard input), without its newline; empty lines are skipped.
 * 0 or -errno; *line is the line that was wrong, 0 if it was the file. */
[[nodiscard]] int keys_read(struct key_list *list, const char *path, bool hex, size_t *line);
void keys_destroy(struct key_list *list);

/* The key as text: as it is if all of it is printable ASCII, else "0x" and hexadecimal digits. Cut
 * with ".." where size (at least 8) is too small. Returns text. */
const char *key_text(const struct kvr_key *key, char *text, size_t size);
/* Sets "key" (printable ASCII) or "key_hex" in object. */
void key_json(json_t *object, const struct kvr_key *key);
