/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a transfer: checked, MATCH, its parts, the end, told exactly once. Invariant: it is
 * in client->transfers while any call of it runs, and ends in a callback of the last. */
#include "client/transfer.h"

#include <stdlib.h>
#include <string.h>

#include "client/form.h"
#include "client/local.h"
#include "client/poll.h"
#include "client/task.h"

#define MARGIN_MAX_NS (100 * NS_PER_MS)

uint32_t transfer_left_ms(const struct transfer *transfer)
{
    uint64_t now_ns = transfer->client->now_ns;

    if (now_ns >= transfer->deadline_ns)
        return 0;
    return (uint32_t)((transfer->deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

void transfer_failed(struct transfer *transfer, uint32_t index, enum kvr_status status)
{
    transfer->statuses[index] = status;
    if (index < transfer->said->prefix)
        transfer->said->prefix = index;
}

void transfer_arrived(struct transfer *transfer, uint32_t index)
{
    transfer->statuses[index] = KVR_OK;
    transfer->said->nr_done++;
    transfer->said->bytes += (uint64_t)form_layer_bytes(&transfer->said->form) * transfer->layers;
}

void transfer_tell(struct transfer *transfer, uint32_t layers)
{
    if (layers <= transfer->told)
        return;
    transfer->told = layers;
    if (transfer->said->on_layer && transfer->said->prefix > 0)
        transfer->said->on_layer(transfer->said, layers);
}

static bool by_device(const struct transfer *transfer)
{
    return transfer->said->region->by_device;
}

static void free_all(struct transfer *transfer)
{
    if (by_device(transfer))
        moves_free(transfer);
    else
        copies_free(transfer);
    free(transfer->matches);
    free(transfer->statuses);
    free(transfer);
}

static enum kvr_status status_of_all(const struct transfer *transfer)
{
    for (uint32_t i = 0; i < transfer->nr; i++)
        if (transfer->statuses[i] != KVR_OK)
            return transfer->statuses[i];
    return KVR_OK;
}

void transfer_end(struct transfer *transfer)
{
    transfer->ended = true;
    transfer->client->nr_ended++;
}

static void report(struct transfer *transfer)
{
    struct kvr_transfer *said = transfer->said;
    struct kvr_client *client = transfer->client;
    bool *over = transfer->over;

    said->status =
        transfer->match.status != KVR_OK ? transfer->match.status : status_of_all(transfer);
    if (said->status == KVR_OK || said->prefix > 0)
        transfer_tell(transfer, said->prefix > 0 ? transfer->layers : 0);
    if (said->statuses)
        memcpy(said->statuses, transfer->statuses, said->nr_keys * sizeof(*said->statuses));
    client->now_ns = clock_ns();
    said->latency_ns = client->now_ns - transfer->started_ns;
    said->private_state = NULL;
    said->region->nr_transfers--;
    client->nr_watching -= transfer->watches;
    client->nr_ended--;
    TAILQ_REMOVE(&client->transfers, transfer, all);
    free_all(transfer);
    if (over)
        *over = true;
    else if (said->done)
        said->done(said);
}

int transfers_report(struct kvr_client *client)
{
    int n = 0;

    while (client->nr_ended > 0) {
        struct transfer *transfer = TAILQ_FIRST(&client->transfers);

        while (!transfer->ended)
            transfer = TAILQ_NEXT(transfer, all);
        report(transfer);
        n++;
    }
    return n;
}

void transfers_look(struct kvr_client *client)
{
    struct transfer *transfer;

    for (transfer = TAILQ_FIRST(&client->transfers); transfer; transfer = TAILQ_NEXT(transfer, all))
        if (transfer->watches && transfer->nr_running > 0)
            transfer_tell(transfer, moves_layers(transfer));
}

/* The blocks themselves. */
static void start_parts(struct transfer *transfer)
{
    enum kvr_status status = KVR_OK;

    transfer->said->prefix = transfer->nr;
    if (transfer->nr > 0)
        status = by_device(transfer) ? moves_start(transfer) : copies_start(transfer);
    for (uint32_t i = 0; status != KVR_OK && i < transfer->nr; i++)
        transfer_failed(transfer, i, status);
    if (transfer->nr_running == 0)
        transfer_end(transfer);
}

static void matched(struct kvr_call *call)
{
    struct transfer *transfer = call->user;

    transfer->nr = call->status == KVR_OK ? call->prefix : 0;
    for (uint32_t i = transfer->nr; i < transfer->said->nr_keys; i++)
        transfer->statuses[i] = call->status == KVR_OK ? KVR_MISS : call->status;
    start_parts(transfer);
}

/* ---- Start ---- */

static bool layers_valid(const struct kvr_transfer *said, bool stores)
{
    if (said->nr_layers == 0)
        return said->first_layer == 0;
    return !stores && (uint32_t)said->first_layer + said->nr_layers <= said->form.nr_layers;
}

static enum kvr_status check(const struct kvr_client *client, const struct kvr_transfer *said,
                             bool stores)
{
    uint64_t extent;

    if (client->local && local_forked(client->local))
        return KVR_INVALID;
    if (!said || !said->region || said->private_state || client->closing ||
        (said->nr_keys > 0 && (!said->keys || !said->offs)) ||
        (said->priority_set && said->priority >= KVR_PRIORITIES) || said->ttl_ms > KVR_TTL_MAX_MS ||
        !form_good(&said->form, &said->conversion) || !layers_valid(said, stores))
        return KVR_INVALID;
    if (!said->region->by_device && !form_is_plain(&said->conversion))
        return KVR_INVALID;
    extent = form_extent(&said->form);
    for (uint32_t i = 0; i < said->nr_keys; i++) {
        uint64_t off = said->offs[i], size = said->region->spec.size;

        if (!said->keys[i].data || said->keys[i].len == 0 || said->keys[i].len > KVR_KEY_MAX)
            return KVR_INVALID;
        if (off % 16 != 0 || off > size || extent > size - off)
            return KVR_BAD_RANGE;
    }
    return KVR_OK;
}

static struct transfer *make(struct kvr_client *client, struct kvr_transfer *said, bool stores)
{
    struct transfer *transfer = calloc(1, sizeof(*transfer));
    uint32_t timeout_ms = said->timeout_ms ? said->timeout_ms : client->options.timeout_ms;
    uint64_t timeout_ns = timeout_ms * NS_PER_MS, margin_ns = timeout_ns / 8;
    bool layered = !stores && said->on_layer;

    if (!transfer)
        return NULL;
    transfer->client = client;
    transfer->said = said;
    transfer->stores = stores;
    transfer->first = said->first_layer;
    transfer->layers = said->nr_layers ? said->nr_layers : said->form.nr_layers;
    transfer->started_ns = client->now_ns;
    transfer->deadline_ns = client->now_ns + timeout_ns;
    /* What a device has begun by then is answered in time. */
    transfer->until_ns =
        transfer->deadline_ns - (margin_ns < MARGIN_MAX_NS ? margin_ns : MARGIN_MAX_NS);
    transfer->statuses = calloc(said->nr_keys + 1, sizeof(*transfer->statuses));
    if (layered && !said->region->by_device)
        transfer->matches = calloc(said->nr_keys + 1, sizeof(*transfer->matches));
    if (!transfer->statuses || (layered && !said->region->by_device && !transfer->matches)) {
        free(transfer->statuses);
        free(transfer->matches);
        free(transfer);
        return NULL;
    }
    transfer->watches = layered && said->region->by_device;
    return transfer;
}

/* The keys are asked for first, of a load; nothing of the transfer ends before kvr_poll. */
static enum kvr_status start(struct transfer *transfer)
{
    struct kvr_transfer *said = transfer->said;

    transfer->match = (struct kvr_call){.op = KVR_CALL_MATCH,
                                        .priority_set = said->priority_set,
                                        .priority = said->priority,
                                        .keys = said->keys,
                                        .nr_keys = said->nr_keys,
                                        .matches = transfer->matches,
                                        .timeout_ms = transfer_left_ms(transfer),
                                        .done = matched,
                                        .user = transfer};
    return task_start(transfer->client, &transfer->match, NULL);
}

static enum kvr_status begin(struct kvr_client *client, struct kvr_transfer *said, bool stores,
                             bool *over)
{
    enum kvr_status status = check(client, said, stores);
    struct transfer *transfer;

    if (status != KVR_OK)
        return status;
    client->now_ns = clock_ns();
    transfer = make(client, said, stores);
    if (!transfer)
        return KVR_NO_MEMORY;
    for (uint32_t i = 0; i < said->nr_keys; i++)
        transfer->statuses[i] = PENDING;
    said->status = KVR_TIMEOUT;
    said->prefix = said->nr_done = 0;
    said->bytes = said->latency_ns = 0;
    transfer->over = over;
    said->private_state = transfer;
    said->region->nr_transfers++;
    client->nr_watching += transfer->watches;
    TAILQ_INSERT_TAIL(&client->transfers, transfer, all);
    if (stores || said->nr_keys == 0) {
        transfer->nr = said->nr_keys;
        start_parts(transfer);
        return KVR_OK;
    }
    status = start(transfer);
    if (status != KVR_OK) {
        said->private_state = NULL;
        said->region->nr_transfers--;
        client->nr_watching -= transfer->watches;
        TAILQ_REMOVE(&client->transfers, transfer, all);
        free_all(transfer);
    }
    return status;
}

/* Until it has ended, which its deadline makes sure of. */
static enum kvr_status run(struct kvr_client *client, struct kvr_transfer *said, bool stores)
{
    bool over = false;
    enum kvr_status status = begin(client, said, stores, &over);

    if (status != KVR_OK)
        return status;
    while (!over)
        (void)kvr_poll(client, -1);
    return said->status;
}

enum kvr_status kvr_load(struct kvr_client *client, struct kvr_transfer *transfer)
{
    return run(client, transfer, false);
}

enum kvr_status kvr_store(struct kvr_client *client, struct kvr_transfer *transfer)
{
    return run(client, transfer, true);
}

static enum kvr_status submit(struct kvr_client *client, struct kvr_transfer *said, bool stores)
{
    enum kvr_status status = begin(client, said, stores, NULL);

    client->wake->asked = true;
    poll_arm(client);
    return status;
}

enum kvr_status kvr_submit_load(struct kvr_client *client, struct kvr_transfer *transfer)
{
    return submit(client, transfer, false);
}

enum kvr_status kvr_submit_store(struct kvr_client *client, struct kvr_transfer *transfer)
{
    return submit(client, transfer, true);
}
