/* SPDX-License-Identifier: Apache-2.0 */
/* Reads hazard slots and the descriptors they name, and tells of clients and what they hold. A slot
 * may say anything at any time: a reference counts if its block is of that generation, before and
 * after its descriptor was copied. */
#include "controlplane/pins.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/words.h"

/* A consistent copy of the descriptor that a slot names; false: the slot names nothing. */
static bool desc_of_ref(const struct arena *arena, uint64_t ref, struct block_desc *desc)
{
    uint32_t block = (uint32_t)ref, generation = (uint32_t)(ref >> 32);
    uint32_t nr_blocks = arena->maps[0].nr_blocks;
    const struct block_desc *shared;
    const uint64_t *from;

    if (!generation || block / nr_blocks >= arena->nr_partitions)
        return false;
    shared = &arena->maps[block / nr_blocks].descs[block % nr_blocks];
    from = (const uint64_t *)(const void *)shared;
    for (size_t i = 0; i < DESC_WORDS; i++)
        ((uint64_t *)(void *)desc)[i] = shared_load(&from[i]);
    return desc->generation == generation && shared_load(&shared->generation) == generation &&
           (desc->state == BLOCK_SEALED || desc->state == BLOCK_UNLINKED);
}

static uint32_t slots_used(const struct client *client)
{
    uint32_t used = shared_load(&client->segment.header->slots_used);

    return used < client->segment.spec.nr_slots ? used : client->segment.spec.nr_slots;
}

void pins_scan(struct client *client, const struct arena *arena, uint64_t now_ns)
{
    uint32_t used = slots_used(client);
    struct block_desc desc;

    client->held = client->held_bytes = 0;
    for (uint32_t i = 0; i < client->segment.spec.nr_slots; i++) {
        uint64_t ref = i < used ? shared_load(&client->segment.slots[i]) : 0;

        if (ref != client->seen[i]) {
            client->seen[i] = ref;
            client->since_ns[i] = now_ns;
        }
        if (ref && desc_of_ref(arena, ref, &desc)) {
            client->held++;
            client->held_bytes += desc.value_len;
        }
    }
}

/* ---- client-list ------------------------------------------------------------------------------
 */

static void program_of(uint32_t pid, char *text, size_t size)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%u/comm", pid);
    text[0] = '\0';
    file = fopen(path, "re");
    if (!file)
        return;
    if (!fgets(text, (int)size, file))
        text[0] = '\0';
    fclose(file);
    text[strcspn(text, "\n")] = '\0';
    for (char *c = text; *c; c++)
        if (!isprint((unsigned char)*c))
            *c = '?';
}

static json_t *client_build(const struct client *client)
{
    const struct segment_header *header = client->segment.header;
    uint64_t region_bytes;
    unsigned regions = regions_count(client, &region_bytes);
    char program[32];

    program_of(client->spec.pid, program, sizeof(program));
    return json_pack(
        "{s:I, s:I, s:I, s:s, s:s, s:I, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:I, s:I, s:i, s:I}",
        "id", (json_int_t)client->spec.id, "pid", (json_int_t)client->spec.pid, "uid",
        (json_int_t)client->spec.uid, "name", client->name, "program", program, "since_ms",
        (json_int_t)client->since_wall_ms, "may_write", client->spec.may_write, "state",
        client->leaving ? "leaving" : "attached", "held", (json_int_t)client->held, "held_bytes",
        (json_int_t)client->held_bytes, "held_bytes_max", (json_int_t)client->spec.pinned_max,
        "hits", (json_int_t)shared_load(&header->hits), "misses",
        (json_int_t)shared_load(&header->misses), "hit_bytes",
        (json_int_t)shared_load(&header->hit_bytes), "matches",
        (json_int_t)shared_load(&header->matches), "puts", (json_int_t)shared_load(&header->puts),
        "put_bytes", (json_int_t)shared_load(&header->put_bytes), "regions", (int)regions,
        "region_bytes", (json_int_t)region_bytes);
}

json_t *clients_build(const struct clients *clients)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < clients->nr; i++)
        json_array_append_new(array, client_build(clients->list[i]));
    return json_pack("{s:o}", "clients", array);
}

/* ---- pins -------------------------------------------------------------------------------------
 */

static void key_set(json_t *object, const uint8_t *key, uint32_t len)
{
    char hex[2 * KVR_KEY_MAX + 1];
    bool printable = true;

    for (uint32_t i = 0; i < len; i++)
        printable = printable && key[i] >= 0x20 && key[i] < 0x7f;
    if (printable) {
        json_object_set_new(object, "key", json_stringn((const char *)key, len));
        return;
    }
    for (uint32_t i = 0; i < len; i++)
        snprintf(hex + (size_t)2 * i, 3, "%02x", key[i]);
    json_object_set_new(object, "key_hex", json_string(hex));
}

/* NULL: held no more. Of a long key only what lies inside the data is read. */
static json_t *pin_build(const struct client *client, const struct arena *arena, uint32_t slot,
                         uint64_t now_ns)
{
    uint64_t ref = client->seen[slot], far_key;
    struct block_desc desc;
    json_t *pin;

    if (!ref || !desc_of_ref(arena, ref, &desc) || desc.key_len > KVR_KEY_MAX)
        return NULL;
    far_key = (uint64_t)desc.far_key.place * DATA_UNIT;
    pin = json_pack("{s:I, s:I, s:I, s:I, s:b}", "client", (json_int_t)client->spec.id, "pid",
                    (json_int_t)client->spec.pid, "bytes", (json_int_t)desc.value_len, "held_ms",
                    (json_int_t)((now_ns - client->since_ns[slot]) / NS_PER_MS), "stored",
                    desc.state == BLOCK_SEALED);
    if (desc.key_len <= KEY_INLINE)
        key_set(pin, desc.key, desc.key_len);
    else if (far_key + desc.key_len <= arena->data_size)
        key_set(pin, arena->data + far_key, desc.key_len);
    return pin;
}

json_t *pins_build(const struct clients *clients, uint32_t id, unsigned limit)
{
    uint64_t now_ns = clock_ns(), held = 0, bytes = 0;
    json_t *array = json_array();

    for (unsigned i = 0; i < clients->nr; i++) {
        struct client *client = clients->list[i];

        if (id && client->spec.id != id)
            continue;
        pins_scan(client, clients->arena, now_ns);
        held += client->held;
        bytes += client->held_bytes;
        for (uint32_t slot = 0;
             slot < client->segment.spec.nr_slots && json_array_size(array) < limit; slot++) {
            json_t *pin = pin_build(client, clients->arena, slot, now_ns);

            if (pin)
                json_array_append_new(array, pin);
        }
    }
    return json_pack("{s:I, s:I, s:o}", "held", (json_int_t)held, "held_bytes", (json_int_t)bytes,
                     "pins", array);
}
