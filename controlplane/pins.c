/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds what since when: looks at the hazard slots of all clients a few times a second and
 * keeps since when each holds what it holds. Only for people: the reclaimer's own looks decide.
 * What the slots say is checked before anything is looked up by it. */
#include <stdlib.h>
#include <string.h>

#include "controlplane/kvraild.h"
#include "shm/words.h"

#define LOOK_MS 250u

static void look_client(struct client *client, uint64_t now_ns)
{
    uint32_t used = shared_load(&client->segment.header->slots_used);
    uint32_t last = client->pins_used, n = 0;

    if (used > client->segment.spec.nr_slots)
        used = client->segment.spec.nr_slots;
    client->pins_used = 0;
    for (uint32_t i = 0; i < used || i < last; i++) {
        uint64_t ref = i < used ? shared_load(&client->segment.slots[i]) : 0;

        if (ref != client->pins[i].ref)
            client->pins[i] = (struct pin){ref, now_ns};
        if (ref)
            n = i + 1;
    }
    client->pins_used = n;
}

static void look_all(struct kvraild *kvraild)
{
    uint64_t now_ns = clock_ns();

    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        if (kvraild->clients.rows[i].state == CLIENT_LIVE)
            look_client(&kvraild->clients.rows[i], now_ns);
}

static void look(void *owner)
{
    struct kvraild *kvraild = owner;

    look_all(kvraild);
    loop_arm(&kvraild->loop, &kvraild->pins_timer, LOOK_MS, look, kvraild);
}

void pins_start(struct kvraild *kvraild)
{
    look(kvraild);
}

void pins_stop(struct kvraild *kvraild)
{
    loop_disarm(&kvraild->loop, &kvraild->pins_timer);
}

/* ---- What a reference means -------------------------------------------------------------------
 */

/* A copy of the descriptor that a slot holds; false if it holds nothing (any more). */
static bool block_of(const struct arena *arena, uint64_t ref, struct block_desc *copy)
{
    uint32_t nr_blocks = arena->maps[0].nr_blocks, block = (uint32_t)ref;
    const uint64_t *from;
    uint64_t *to = (uint64_t *)(void *)copy;

    if (!ref || block / nr_blocks >= arena->nr_partitions)
        return false;
    from = (const uint64_t *)(const void *)&arena->maps[block / nr_blocks].descs[block % nr_blocks];
    for (size_t i = 0; i < DESC_WORDS; i++)
        to[i] = shared_load(&from[i]);
    return copy->generation == (uint32_t)(ref >> 32) && copy->generation == (uint32_t)from[0] &&
           (copy->state == BLOCK_SEALED || copy->state == BLOCK_UNLINKED);
}

/* Printable keys as they are, others as hexadecimal digits. */
static void key_add(json_t *row, const struct arena *arena, const struct block_desc *desc)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *key = desc->key;
    char text[2 * KVR_KEY_MAX + 1];
    size_t len = desc->key_len;
    bool printable = true;

    if (len > KEY_INLINE) {
        uint64_t off = (uint64_t)desc->far_key.place * DATA_UNIT;

        if (len > KVR_KEY_MAX || off > arena->data_size || len > arena->data_size - off)
            return; /* damaged */
        key = arena->data + off;
    }
    for (size_t i = 0; i < len; i++)
        printable &= key[i] >= ' ' && key[i] < 0x7f;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = key[i]; /* others may write the data */

        if (printable) {
            text[i] = byte >= ' ' && byte < 0x7f ? (char)byte : '?';
            continue;
        }
        text[2 * i] = digits[byte >> 4];
        text[2 * i + 1] = digits[byte & 15];
    }
    text[printable ? len : 2 * len] = '\0';
    json_object_set_new(row, printable ? "key" : "key_hex", json_string(text));
}

/* ---- The answers ------------------------------------------------------------------------------
 */

struct found {
    const struct client *client;
    const struct pin *pin;
};

static int oldest_first(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return x->pin->since_ns < y->pin->since_ns ? -1 : x->pin->since_ns > y->pin->since_ns;
}

static void held_by(const struct arena *arena, const struct client *client, uint64_t *blocks,
                    uint64_t *bytes)
{
    struct block_desc desc;

    *blocks = *bytes = 0;
    for (uint32_t i = 0; i < client->pins_used; i++)
        if (block_of(arena, client->pins[i].ref, &desc)) {
            ++*blocks;
            *bytes += desc.value_len;
        }
}

static json_t *pin_build(const struct arena *arena, const struct found *found, uint64_t now_ns)
{
    const struct client *client = found->client;
    struct block_desc desc;
    json_t *row;

    if (!block_of(arena, found->pin->ref, &desc))
        return NULL;
    row =
        json_pack("{s:I, s:i, s:s, s:I, s:I, s:b}", "client", (json_int_t)client->spec.id, "pid",
                  (int)client->spec.pid, "name", client->name, "bytes", (json_int_t)desc.value_len,
                  "held_ms", (json_int_t)((now_ns - found->pin->since_ns) / NS_PER_MS), "unlinked",
                  desc.state == BLOCK_UNLINKED);
    key_add(row, arena, &desc);
    return row;
}

/* client 0: of all. *nr: how many; the array is the caller's. */
static struct found *pins_collect(const struct kvraild *kvraild, uint32_t client, size_t *nr)
{
    struct found *all = NULL;
    size_t room = 0;

    *nr = 0;
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        room += kvraild->clients.rows[i].pins_used;
    all = calloc(room ? room : 1, sizeof(*all));
    for (unsigned i = 0; all && i < LOCAL_CLIENTS_MAX; i++) {
        const struct client *row = &kvraild->clients.rows[i];

        if (row->state != CLIENT_LIVE || (client && row->spec.id != client))
            continue;
        for (uint32_t slot = 0; slot < row->pins_used; slot++)
            if (row->pins[slot].ref)
                all[(*nr)++] = (struct found){row, &row->pins[slot]};
    }
    return all;
}

json_t *pins_build(struct kvraild *kvraild, uint32_t client, unsigned limit)
{
    json_t *rows = json_array();
    uint64_t now_ns, total = 0, bytes = 0;
    struct found *all;
    size_t nr;

    look_all(kvraild);
    now_ns = clock_ns();
    all = pins_collect(kvraild, client, &nr);
    if (!all) {
        json_decref(rows);
        return NULL;
    }
    qsort(all, nr, sizeof(*all), oldest_first);
    for (size_t i = 0; i < nr; i++) {
        struct block_desc desc;

        if (!block_of(&kvraild->arena, all[i].pin->ref, &desc))
            continue;
        total++;
        bytes += desc.value_len;
        if (json_array_size(rows) < limit) {
            json_t *row = pin_build(&kvraild->arena, &all[i], now_ns);

            if (row)
                json_array_append_new(rows, row);
        }
    }
    free(all);
    return json_pack("{s:I, s:I, s:o}", "blocks", (json_int_t)total, "bytes", (json_int_t)bytes,
                     "pins", rows);
}

static json_t *client_build(const struct arena *arena, const struct client *client)
{
    static const char *const states[] = {"free", "joining", "live", "leaving"};
    const struct segment_header *header = client->segment.header;
    uint64_t blocks, bytes;

    held_by(arena, client, &blocks, &bytes);
    return json_pack(
        "{s:I, s:i, s:i, s:s, s:s, s:s, s:s, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "id",
        (json_int_t)client->spec.id, "pid", (int)client->spec.pid, "uid", (int)client->spec.uid,
        "name", client->name, "comm", client->comm, "state", states[client->state], "rights",
        client->spec.may_write ? "write" : "read", "since_ms", (json_int_t)client->since_ms,
        "connected", client->conn >= 0, "held_blocks", (json_int_t)blocks, "held_bytes",
        (json_int_t)bytes, "pinned_max", (json_int_t)client->spec.pinned_max, "hits",
        (json_int_t)counter_read(&header->hits), "misses",
        (json_int_t)counter_read(&header->misses), "puts", (json_int_t)counter_read(&header->puts));
}

json_t *clients_build(struct kvraild *kvraild)
{
    json_t *rows = json_array();

    look_all(kvraild);
    for (unsigned i = 0; i < LOCAL_CLIENTS_MAX; i++)
        if (kvraild->clients.rows[i].state != CLIENT_FREE)
            json_array_append_new(rows, client_build(&kvraild->arena, &kvraild->clients.rows[i]));
    return json_pack(
        "{s:s, s:I, s:o}", "socket", kvraild->attach.fd < 0 ? "" : kvraild->attach.address.sun_path,
        "max", (json_int_t)options_number(&kvraild->options, OPT_clients_max), "clients", rows);
}
