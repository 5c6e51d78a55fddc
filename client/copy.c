/* SPDX-License-Identifier: Apache-2.0 */
/* A transfer without a device: GETs into buffers, from which the pieces are copied to where the
 * form wants them; or the other way round and PUTs. Some calls at a time; where layers are asked
 * for, each brings one layer of a block, and all of a layer before the next. */
#include <stdlib.h>
#include <string.h>

#include "client/form.h"
#include "client/task.h"
#include "client/transfer.h"

#define BYTES_MAX (16u << 20) /* in buffers */
#define PARTS_MAX 64u

static uint8_t *block_at(const struct transfer *transfer, uint32_t index)
{
    return (uint8_t *)transfer->said->region->spec.base + transfer->said->offs[index];
}

static uint32_t whole_len(const struct transfer *transfer)
{
    return form_layer_bytes(&transfer->said->form) * transfer->said->form.nr_layers;
}

static bool is_pending(const struct transfer *transfer, uint32_t index)
{
    return transfer->statuses[index] == PENDING;
}

/* A step of a block is over, for good or bad. */
static void count(struct transfer *transfer, uint32_t index, uint32_t step)
{
    uint32_t layers = transfer->told;

    if (--transfer->steps_left[index] == 0 && is_pending(transfer, index))
        transfer_arrived(transfer, index);
    if (!transfer->left)
        return;
    transfer->left[step]--;
    while (layers < transfer->layers && transfer->left[layers] == 0)
        layers++;
    transfer_tell(transfer, layers);
}

static void run(struct part *part);

/* A GET whose view lies outside the value says that the form is not the value's. */
static enum kvr_status check_loaded(const struct part *part)
{
    const struct kvr_call *call = &part->call;
    uint32_t len = form_layer_bytes(&part->transfer->said->form) * part->nr;

    if (call->status == KVR_BAD_RANGE || call->status == KVR_BUFFER_TOO_SMALL)
        return KVR_MISFIT;
    if (call->status != KVR_OK)
        return call->status;
    return call->stored_len == whole_len(part->transfer) && call->result_len == len ? KVR_OK
                                                                                    : KVR_MISFIT;
}

static void ended(struct kvr_call *call)
{
    struct part *part = (struct part *)(void *)call;
    struct transfer *transfer = part->transfer;
    uint32_t step = part->first - transfer->first;
    enum kvr_status status = call->status;

    transfer->nr_running--;
    if (!transfer->stores)
        status = check_loaded(part);
    else if (status == KVR_EXISTS)
        status = KVR_OK;
    if (status != KVR_OK && is_pending(transfer, part->index))
        transfer_failed(transfer, part->index, status);
    else if (status == KVR_OK && !transfer->stores)
        form_scatter(&transfer->said->form, part->first, part->nr, part->buffer,
                     block_at(transfer, part->index));
    count(transfer, part->index, step);
    run(part);
    if (transfer->nr_running == 0)
        transfer_end(transfer);
}

static void fill_get(struct part *part)
{
    const struct transfer *transfer = part->transfer;
    uint32_t layer_bytes = form_layer_bytes(&transfer->said->form);
    bool whole = part->nr == transfer->said->form.nr_layers;

    part->call.op = KVR_CALL_GET;
    part->call.buffer = part->buffer;
    part->call.buffer_len = (size_t)layer_bytes * part->nr;
    if (!whole) {
        part->call.off = layer_bytes * part->first;
        part->call.len = layer_bytes * part->nr;
    }
    if (transfer->matches)
        part->call.if_ref = transfer->matches[part->index].ref;
}

static void fill_put(struct part *part)
{
    const struct transfer *transfer = part->transfer;
    const struct kvr_transfer *said = transfer->said;

    form_gather(&said->form, 0, said->form.nr_layers, block_at(transfer, part->index),
                part->buffer);
    part->call.op = KVR_CALL_PUT;
    part->call.value = part->buffer;
    part->call.value_len = whole_len(transfer);
    part->call.ttl_ms = said->ttl_ms;
    part->call.layout = said->layout;
    part->call.add = said->add;
    if (said->hints)
        part->call.hint = said->hints[part->index];
}

static enum kvr_status begin(struct part *part)
{
    const struct transfer *transfer = part->transfer;
    const struct kvr_transfer *said = transfer->said;

    part->call = (struct kvr_call){.priority_set = said->priority_set,
                                   .priority = said->priority,
                                   .key = said->keys[part->index],
                                   .timeout_ms = transfer_left_ms(transfer),
                                   .done = ended};
    if (part->call.timeout_ms == 0)
        return KVR_TIMEOUT;
    if (transfer->stores)
        fill_put(part);
    else
        fill_get(part);
    transfer->client->wake->asked = true;
    return task_start(transfer->client, &part->call, NULL);
}

/* The next step that is worth a call, if there is one. */
static void run(struct part *part)
{
    struct transfer *transfer = part->transfer;

    while (transfer->next_step < (uint64_t)transfer->nr * transfer->steps) {
        uint64_t step = transfer->next_step++;
        uint32_t layers = transfer->layers / transfer->steps;
        enum kvr_status status = KVR_OK;

        part->index = (uint32_t)(step % transfer->nr);
        part->first = transfer->first + (uint32_t)(step / transfer->nr) * layers;
        part->nr = layers;
        if (is_pending(transfer, part->index)) {
            status = begin(part);
            if (status == KVR_OK) {
                transfer->nr_running++;
                return;
            }
            transfer_failed(transfer, part->index,
                            transfer->client->closing ? KVR_CANCELED : status);
        }
        count(transfer, part->index, part->first - transfer->first);
    }
}

static bool make(struct transfer *transfer, uint32_t part_bytes)
{
    uint64_t most = (uint64_t)transfer->nr * transfer->steps;

    transfer->nr_parts = BYTES_MAX / part_bytes;
    if (transfer->nr_parts > PARTS_MAX)
        transfer->nr_parts = PARTS_MAX;
    if (transfer->nr_parts > most)
        transfer->nr_parts = (uint32_t)most;
    if (transfer->nr_parts == 0)
        transfer->nr_parts = 1;
    transfer->parts = calloc(transfer->nr_parts, sizeof(*transfer->parts));
    transfer->buffers = malloc((size_t)transfer->nr_parts * part_bytes);
    transfer->steps_left = calloc(transfer->nr, sizeof(*transfer->steps_left));
    for (uint32_t i = 0; transfer->steps_left && i < transfer->nr; i++)
        transfer->steps_left[i] = transfer->steps;
    if (transfer->matches)
        transfer->left = calloc(transfer->layers, sizeof(*transfer->left));
    for (uint32_t i = 0; transfer->left && i < transfer->layers; i++)
        transfer->left[i] = transfer->nr;
    return transfer->parts && transfer->buffers && transfer->steps_left &&
           (transfer->left || !transfer->matches);
}

enum kvr_status copies_start(struct transfer *transfer)
{
    uint32_t layer_bytes = form_layer_bytes(&transfer->said->form), part_bytes;

    transfer->steps = transfer->matches ? transfer->layers : 1;
    part_bytes = layer_bytes * (transfer->layers / transfer->steps);
    if (!make(transfer, part_bytes))
        return KVR_NO_MEMORY;
    for (uint32_t i = 0; i < transfer->nr_parts; i++) {
        transfer->parts[i].transfer = transfer;
        transfer->parts[i].buffer = transfer->buffers + (size_t)i * part_bytes;
        run(&transfer->parts[i]);
    }
    return KVR_OK;
}

void copies_free(struct transfer *transfer)
{
    free(transfer->parts);
    free(transfer->buffers);
    free(transfer->left);
    free(transfer->steps_left);
}
