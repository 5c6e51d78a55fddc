/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing and showing keys. */
#include "tools/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_hex(const char *text, size_t len, unsigned char *bytes)
{
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);

        if (high < 0 || low < 0)
            return -EINVAL;
        bytes[i / 2] = (unsigned char)(high << 4 | low);
    }
    return 0;
}

static int add_bytes(struct key_list *list, const char *text, size_t len, bool hex)
{
    unsigned char *bytes;

    if (hex && len >= 2 && text[0] == '0' && (text[1] | 0x20) == 'x') {
        text += 2;
        len -= 2;
    }
    if (len == 0 || (hex && len % 2) || len > (hex ? 2 * KVR_KEY_MAX : KVR_KEY_MAX))
        return -EINVAL;
    if (list->nr == list->room) {
        size_t room = list->room ? 2 * list->room : 16;
        struct kvr_key *keys = reallocarray(list->keys, room, sizeof(*keys));

        if (!keys)
            return -ENOMEM;
        list->keys = keys;
        list->room = room;
    }
    bytes = malloc(len);
    if (!bytes)
        return -ENOMEM;
    if (hex && parse_hex(text, len, bytes)) {
        free(bytes);
        return -EINVAL;
    }
    if (!hex)
        memcpy(bytes, text, len);
    list->keys[list->nr++] = (struct kvr_key){bytes, (uint32_t)(hex ? len / 2 : len)};
    return 0;
}

int keys_add(struct key_list *list, const char *text, bool hex)
{
    return add_bytes(list, text, strlen(text), hex);
}

int keys_read(struct key_list *list, const char *path, bool hex, size_t *line)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *in = standard ? stdin : fopen(path, "re");
    char *text = NULL;
    size_t room = 0, nr = 0;
    ssize_t len;
    int rc = 0;

    *line = 0;
    if (!in)
        return -errno;
    while (rc == 0 && (len = getline(&text, &room, in)) >= 0) {
        nr++;
        if (len > 0 && text[len - 1] == '\n')
            len--;
        if (len > 0)
            rc = add_bytes(list, text, (size_t)len, hex);
        if (rc)
            *line = nr;
    }
    if (rc == 0 && ferror(in))
        rc = -EIO;
    free(text);
    if (!standard)
        fclose(in);
    return rc;
}

void keys_destroy(struct key_list *list)
{
    for (size_t i = 0; i < list->nr; i++)
        free((void *)(uintptr_t)list->keys[i].data);
    free(list->keys);
    *list = (struct key_list){0};
}

static bool printable(const struct kvr_key *key)
{
    const unsigned char *bytes = key->data;

    for (uint32_t i = 0; i < key->len; i++)
        if (bytes[i] < 0x20 || bytes[i] > 0x7e)
            return false;
    return true;
}

const char *key_text(const struct kvr_key *key, char *text, size_t size)
{
    const unsigned char *bytes = key->data;
    bool plain = printable(key);
    size_t step = plain ? 1 : 2, used = plain ? 0 : 2;
    size_t room = used + step * key->len < size ? size : size - 2; /* else ".." ends it */

    snprintf(text, size, "%s", plain ? "" : "0x");
    for (uint32_t i = 0; i < key->len && used + step < room; i++, used += step)
        snprintf(text + used, size - used, plain ? "%c" : "%02x", bytes[i]);
    if (room < size)
        snprintf(text + used, size - used, "..");
    return text;
}

void key_json(json_t *object, const struct kvr_key *key)
{
    char text[2 * KVR_KEY_MAX + 3];

    key_text(key, text, sizeof(text));
    if (printable(key))
        json_object_set_new(object, "key", json_stringn(text, key->len));
    else
        json_object_set_new(object, "key_hex", json_string(text + 2));
}
