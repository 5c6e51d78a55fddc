/* SPDX-License-Identifier: Apache-2.0 */
/* memcached's text protocol and Redis' RESP. Keys are written as redis-benchmark writes its own, so
 * that it finds the same values. */
#include "protocol.h"

#include <stdio.h>
#include <string.h>

#include "tools/content.h"

static size_t put_text(char *out, const char *text)
{
    size_t len = strlen(text);

    memcpy(out, text, len);
    return len;
}

/* "key:" and 12 digits. */
static size_t put_key(char *out, uint64_t id)
{
    memcpy(out, "key:", 4);
    for (unsigned i = PEER_KEY_LEN; i-- > 4; id /= 10)
        out[i] = (char)('0' + id % 10);
    return PEER_KEY_LEN;
}

static size_t digits(uint32_t n)
{
    size_t len = 1;

    while (n >= 10) {
        n /= 10;
        len++;
    }
    return len;
}

/* ---- memcached ---- */

static size_t multiget(char *out, const uint64_t *ids, unsigned n)
{
    size_t len = put_text(out, "get");

    for (unsigned i = 0; i < n; i++) {
        out[len++] = ' ';
        len += put_key(out + len, ids[i]);
    }
    return len + put_text(out + len, "\r\n");
}

static size_t many_gets(char *out, const uint64_t *ids, unsigned n)
{
    size_t len = 0;

    for (unsigned i = 0; i < n; i++)
        len += multiget(out + len, ids + i, 1);
    return len;
}

static size_t set(char *out, uint64_t id, uint32_t value_len)
{
    size_t len = put_text(out, "set ");

    len += put_key(out + len, id);
    len += (size_t)sprintf(out + len, " 0 0 %u\r\n", value_len);
    content_fill(out + len, value_len, id, 0);
    len += value_len;
    return len + put_text(out + len, "\r\n");
}

#define VALUE_HEAD (6 + PEER_KEY_LEN + 3) /* "VALUE ", key, " 0 " */

static size_t value_size(uint32_t value_len)
{
    return VALUE_HEAD + digits(value_len) + 2 + value_len + 2;
}

static size_t multiget_len(unsigned n, uint32_t value_len)
{
    return n * value_size(value_len) + 5; /* "END\r\n" */
}

static size_t many_gets_len(unsigned n, uint32_t value_len)
{
    return n * (value_size(value_len) + 5);
}

static size_t multiget_at(unsigned i, unsigned n, uint32_t value_len)
{
    (void)n;
    return i * value_size(value_len) + VALUE_HEAD + digits(value_len) + 2;
}

static size_t many_gets_at(unsigned i, unsigned n, uint32_t value_len)
{
    return multiget_at(i, n, value_len) + i * 5;
}

/* ---- Redis ---- */

static size_t resp_get(char *out, const uint64_t *ids, unsigned n)
{
    size_t len = 0;

    for (unsigned i = 0; i < n; i++) {
        len += put_text(out + len, "*2\r\n$3\r\nGET\r\n$16\r\n");
        len += put_key(out + len, ids[i]);
        len += put_text(out + len, "\r\n");
    }
    return len;
}

static size_t resp_mget(char *out, const uint64_t *ids, unsigned n)
{
    size_t len = (size_t)sprintf(out, "*%u\r\n$4\r\nMGET\r\n", n + 1);

    for (unsigned i = 0; i < n; i++) {
        len += put_text(out + len, "$16\r\n");
        len += put_key(out + len, ids[i]);
        len += put_text(out + len, "\r\n");
    }
    return len;
}

static size_t resp_set(char *out, uint64_t id, uint32_t value_len)
{
    size_t len = put_text(out, "*3\r\n$3\r\nSET\r\n$16\r\n");

    len += put_key(out + len, id);
    len += (size_t)sprintf(out + len, "\r\n$%u\r\n", value_len);
    content_fill(out + len, value_len, id, 0);
    len += value_len;
    return len + put_text(out + len, "\r\n");
}

static size_t bulk_size(uint32_t value_len)
{
    return 1 + digits(value_len) + 2 + value_len + 2;
}

static size_t resp_len(unsigned n, uint32_t value_len)
{
    return n * bulk_size(value_len);
}

static size_t resp_at(unsigned i, unsigned n, uint32_t value_len)
{
    (void)n;
    return i * bulk_size(value_len) + 1 + digits(value_len) + 2;
}

static size_t mget_head(unsigned n)
{
    return 1 + digits(n) + 2;
}

static size_t mget_len(unsigned n, uint32_t value_len)
{
    return mget_head(n) + resp_len(n, value_len);
}

static size_t mget_at(unsigned i, unsigned n, uint32_t value_len)
{
    return mget_head(n) + resp_at(i, n, value_len);
}

static const struct protocol protocols[] = {
    {"memcached", multiget, set, 8, multiget_len, multiget_at}, /* "STORED\r\n" */
    {"memcached-pipeline", many_gets, set, 8, many_gets_len, many_gets_at},
    {"redis", resp_get, resp_set, 5, resp_len, resp_at}, /* "+OK\r\n" */
    {"redis-mget", resp_mget, resp_set, 5, mget_len, mget_at},
};

const struct protocol *protocol_find(const char *name)
{
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
        if (!strcmp(protocols[i].name, name))
            return &protocols[i];
    return NULL;
}

bool protocol_right(const struct protocol *protocol, const char *reply, const uint64_t *ids,
                    unsigned n, uint32_t value_len)
{
    uint64_t version;

    for (unsigned i = 0; i < n; i++) {
        const char *value = reply + protocol->value_at(i, n, value_len);

        if (!content_check(value, value_len, ids[i], &version))
            return false;
    }
    return true;
}
