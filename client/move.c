/* SPDX-License-Identifier: Apache-2.0 */
/* LOAD and SAVE: a device of the server moves a block between the arena and a region. A task for
 * each block; how far a LOAD is stands in a word of the segment, with the token that it was given:
 * what an older one leaves there is told apart. */
#include <stdlib.h>

#include "client/datagram.h"
#include "client/form.h"
#include "client/local.h"
#include "client/task.h"
#include "client/transfer.h"

_Static_assert(sizeof(((struct kvr_client *)0)->words) * 8 == SEGMENT_WORDS, "a bit for each word");

static struct part *part_of(const struct task *task)
{
    return (struct part *)(void *)task->call;
}

static uint16_t word_take(struct kvr_client *client)
{
    for (unsigned i = 0; i < SEGMENT_WORDS / 64; i++) {
        unsigned bit;

        if (client->words[i] == UINT64_MAX)
            continue;
        bit = (unsigned)__builtin_ctzll(~client->words[i]);
        client->words[i] |= 1ull << bit;
        return (uint16_t)(i * 64 + bit);
    }
    return KVR_NO_WORD;
}

static void word_give(struct kvr_client *client, uint16_t word)
{
    if (word != KVR_NO_WORD)
        client->words[word / 64] &= ~(1ull << word % 64);
}

/* ---- The two kinds of task ---- */

static uint32_t move_size(const struct kvr_client *, const struct task *task)
{
    bool stores = part_of(task)->transfer->stores;

    return (uint32_t)(stores ? sizeof(struct kvr_save_req) : sizeof(struct kvr_load_req)) +
           pad8(task->call->key.len);
}

static uint32_t no_weight(const struct kvr_client *, const struct task *)
{
    return 0;
}

static void load_write(const struct part *part, struct writer *writer)
{
    const struct transfer *transfer = part->transfer;
    const struct kvr_transfer *said = transfer->said;
    struct kvr_load_req req = {.off = said->offs[part->index],
                               .until_ns = transfer->until_ns,
                               .form = said->form,
                               .conversion = said->conversion,
                               .first_layer = said->first_layer,
                               .nr_layers = said->nr_layers,
                               .region = said->region->number,
                               .word = part->word,
                               .token = part->token};

    build_load(writer, &req, part->call.key.data, part->call.key.len);
}

static void save_write(const struct part *part, struct writer *writer)
{
    const struct transfer *transfer = part->transfer;
    const struct kvr_transfer *said = transfer->said;
    struct kvr_save_req req = {.op.flags = said->add ? KVR_PUT_ADD : 0,
                               .off = said->offs[part->index],
                               .until_ns = transfer->until_ns,
                               .form = said->form,
                               .conversion = said->conversion,
                               .region = said->region->number,
                               .layout = said->layout,
                               .ttl_ms = said->ttl_ms,
                               .hint = part->call.hint};

    build_save(writer, &req, part->call.key.data, part->call.key.len);
}

static void move_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                       struct writer *writer)
{
    const struct part *part = part_of(datagram->entries[entry].task);

    if (part->transfer->stores)
        save_write(part, writer);
    else
        load_write(part, writer);
}

static void move_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                        const struct kvr_op *record)
{
    struct task *task = datagram->entries[entry].task;
    enum kvr_status status = (enum kvr_status)record->status;

    if (record->op != (part_of(task)->transfer->stores ? KVR_SAVE : KVR_LOAD)) {
        client->stats.rx_unexpected++;
        return;
    }
    datagram_close(datagram, entry);
    if (status != KVR_EXPIRED && task_soft(client, task, status))
        return;
    task_end(client, task, status);
}

static void move_restart(struct kvr_client *client, struct task *task)
{
    datagram_abandon(client, task);
    task_unqueue(client, task);
    task->traffic = TRAFFIC_WRITE;
}

static enum prepared move_prepare(struct kvr_client *client, struct task *task)
{
    return region_prepare(client, part_of(task)->transfer->said->region, &task->call->status);
}

static const struct task_kind move_kind = {
    .size = move_size,
    .weight = no_weight,
    .write = move_write,
    .answer = move_answer,
    .restart = move_restart,
    .prepare = move_prepare,
};

/* ---- The parts of a transfer ---- */

static void ended(struct kvr_call *call)
{
    struct part *part = (struct part *)(void *)call;
    struct transfer *transfer = part->transfer;

    word_give(transfer->client, part->word);
    part->word = KVR_NO_WORD;
    if (call->status == KVR_OK || (transfer->stores && call->status == KVR_EXISTS)) {
        part->layers = transfer->layers;
        transfer_arrived(transfer, part->index);
    } else {
        transfer_failed(transfer, part->index, call->status);
    }
    if (--transfer->nr_running == 0)
        transfer_end(transfer);
    else if (transfer->watches)
        transfer_tell(transfer, moves_layers(transfer));
}

static void start(struct transfer *transfer, uint32_t index)
{
    const struct kvr_transfer *said = transfer->said;
    struct kvr_client *client = transfer->client;
    struct part *part = &transfer->parts[index];
    enum kvr_status status;

    *part = (struct part){.call = {.op = transfer->stores ? KVR_CALL_PUT : KVR_CALL_GET,
                                   .priority_set = said->priority_set,
                                   .priority = said->priority,
                                   .key = said->keys[index],
                                   .timeout_ms = transfer_left_ms(transfer),
                                   .done = ended},
                          .transfer = transfer,
                          .index = index,
                          .token = ++client->next_token,
                          .word = transfer->watches ? word_take(client) : KVR_NO_WORD};
    if (transfer->stores && said->hints)
        part->call.hint = said->hints[index];
    status = part->call.timeout_ms == 0 ? KVR_TIMEOUT
                                        : task_start_as(client, &part->call, &move_kind, NULL);
    client->wake->asked = true;
    if (status == KVR_OK) {
        transfer->nr_running++;
        return;
    }
    word_give(client, part->word);
    transfer_failed(transfer, index, client->closing ? KVR_CANCELED : status);
}

enum kvr_status moves_start(struct transfer *transfer)
{
    transfer->parts = calloc(transfer->nr, sizeof(*transfer->parts));
    if (!transfer->parts)
        return KVR_NO_MEMORY;
    for (uint32_t i = 0; i < transfer->nr; i++)
        start(transfer, i);
    return KVR_OK;
}

void moves_free(struct transfer *transfer)
{
    free(transfer->parts);
}

static uint32_t layers_of(const struct kvr_client *client, struct part *part)
{
    uint64_t word;

    if (part->word == KVR_NO_WORD)
        return part->layers;
    /* Pairs with the server's release: the bytes of so many layers are there. */
    word = __atomic_load_n(&client->local->mount->segment.words[part->word], __ATOMIC_ACQUIRE);
    if (word >> 32 == part->token && (uint32_t)word > part->layers)
        part->layers =
            (uint32_t)word < part->transfer->layers ? (uint32_t)word : part->transfer->layers;
    return part->layers;
}

uint32_t moves_layers(struct transfer *transfer)
{
    uint32_t least = transfer->layers;

    for (uint32_t i = 0; i < transfer->said->prefix && least > transfer->told; i++) {
        uint32_t layers = layers_of(transfer->client, &transfer->parts[i]);

        if (layers < least)
            least = layers;
    }
    return least;
}
