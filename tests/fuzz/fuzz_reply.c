/* SPDX-License-Identifier: Apache-2.0 */
/* Replies to a client with one call of every kind in flight, through the whole library but its
 * sockets: this file stands in for client/wire_udp.c. The input is a list of replies; each is given
 * the header that its datagram in flight waits for, so that the fuzzer need not guess ids and CRCs,
 * or is taken as it is. After every one the books of the handle must balance. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "client/datagram.h"
#include "client/link.h"
#include "client/pack.h"
#include "client/poll.h"
#include "client/session.h"
#include "client/task.h"

#define CALLS 10u
#define KEYS 300u
#define TURNS_MAX 64u

#define must(c)                                                                                    \
    do {                                                                                           \
        if (!(c)) {                                                                                \
            fprintf(stderr, "line %d: %s\n", __LINE__, #c);                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct input {
    const uint8_t *at, *end;
};

static uint8_t nr_partitions;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* ---- what wire_udp.c does, without a socket ---- */

static int wire_open(struct link *link)
{
    link->client->mtu_payload = 1472;
    return 0;
}

static void wire_close(struct link *link)
{
    (void)link;
}

/* Every HELLO is answered at once. */
static void wire_send(struct link *link, const uint8_t *bytes, uint32_t len)
{
    struct checked_reply reply = {0};
    struct kvr_hello_rep hello = {.op = {.op = KVR_HELLO, .size = sizeof(hello)},
                                  .version = KVR_VERSION,
                                  .nr_partitions = nr_partitions,
                                  .base_port = KVR_PORT,
                                  .max_ops = KVR_OPS_MAX,
                                  .max_datagram = 1472,
                                  .max_value = KVR_VALUE_MAX,
                                  .train_max = 16384,
                                  .cookie_ms = 60000,
                                  .seed = 1,
                                  .boot = 1};

    memcpy(&reply.hdr, bytes, sizeof(reply.hdr));
    must(len >= sizeof(reply.hdr) + sizeof(struct kvr_op));
    if (((const struct kvr_op *)(const void *)(bytes + sizeof(reply.hdr)))->op != KVR_HELLO)
        return;
    reply.hdr.cookie = 1;
    reply.hdr.nr_ops = 1;
    reply.records[0] = &hello.op;
    session_answer(link, &reply);
}

static void wire_transmit(struct link *link)
{
    for (uint32_t i = 0; i < link->nr_out; i++) {
        must(link->out[i]->link == link);
        must(datagram_len(link->out[i]) <= link->client->max_datagram);
        must(link->out[i]->nr_ops > 0 && link->out[i]->nr_ops <= KVR_OPS_MAX);
    }
    link->nr_out = 0;
}

static unsigned wire_receive(struct link *link)
{
    (void)link;
    return 0;
}

const struct wire wire_udp = {
    .open = wire_open,
    .close = wire_close,
    .transmit = wire_transmit,
    .send = wire_send,
    .receive = wire_receive,
};

/* ---- the calls ---- */

struct scene {
    struct kvr_client *client;
    struct kvr_call calls[CALLS];
    struct kvr_key keys[KEYS];
    char names[KEYS][8];
    struct kvr_match *matches;
    uint8_t *small, *large, *value;
    unsigned nr_done;
};

static void done(struct kvr_call *call)
{
    struct scene *scene = call->user;

    scene->nr_done++;
    must(!call->private_state);
    if (call->op == KVR_CALL_GET && call->status == KVR_OK)
        must(call->result_len <= call->buffer_len);
    if (call->op == KVR_CALL_MATCH && call->status == KVR_OK)
        must(call->prefix <= call->nr_present && call->nr_present <= call->nr_keys);
}

static void submit_all(struct scene *scene)
{
    const struct kvr_call calls[CALLS] = {
        {.op = KVR_CALL_GET, .buffer = scene->small, .buffer_len = 100},
        {.op = KVR_CALL_GET, .buffer = scene->large, .buffer_len = 50000, .lease_ms = 5},
        {.op = KVR_CALL_GET,
         .buffer = scene->small,
         .buffer_len = 100,
         .off = 3,
         .len = 5,
         .stride = 7,
         .count = 20},
        {.op = KVR_CALL_GET, .meta_only = 1},
        {.op = KVR_CALL_PUT, .value = scene->value, .value_len = 10},
        {.op = KVR_CALL_PUT, .value = scene->value, .value_len = 20000},
        {.op = KVR_CALL_DEL},
        {.op = KVR_CALL_MATCH, .keys = scene->keys, .nr_keys = KEYS, .matches = scene->matches},
        {.op = KVR_CALL_PING},
        {.op = KVR_CALL_STAT}};

    for (unsigned i = 0; i < CALLS; i++) {
        scene->calls[i] = calls[i];
        scene->calls[i].key = (struct kvr_key){"key", 3};
        scene->calls[i].done = done;
        scene->calls[i].user = scene;
        must(kvr_submit(scene->client, &scene->calls[i]) == KVR_OK);
    }
    pack_all(scene->client);
}

static void set_scene(struct scene *scene)
{
    *scene = (struct scene){.small = malloc(100),
                            .large = malloc(50000),
                            .value = calloc(1, 20000),
                            .matches = calloc(KEYS, sizeof(struct kvr_match))};
    for (unsigned i = 0; i < KEYS; i++) {
        int len = snprintf(scene->names[i], sizeof(scene->names[i]), "k%u", i);
        scene->keys[i] = (struct kvr_key){scene->names[i], (uint32_t)len};
    }
    must(kvr_open("udp://127.0.0.1", NULL, &scene->client) == KVR_OK);
    submit_all(scene);
}

static void strike_scene(struct scene *scene)
{
    kvr_close(scene->client);
    must(scene->nr_done == CALLS);
    free(scene->small);
    free(scene->large);
    free(scene->value);
    free(scene->matches);
}

/* What is in flight, as datagrams count it and as tasks count it. */
static void audit(const struct kvr_client *client)
{
    uint32_t flying = 0, bytes = 0;

    for (uint32_t i = 0; i < client->nr_datagrams; i++) {
        const struct datagram *datagram = &client->datagrams[i];
        unsigned open = 0;

        if (!datagram->in_use)
            continue;
        flying++;
        bytes += datagram->weight;
        for (unsigned e = 0; e < datagram->nr_entries; e++)
            if (datagram->entries[e].task) {
                open++;
                must(datagram->entries[e].task->nr_entries > 0);
            }
        must(open == datagram->nr_open && open > 0);
    }
    must(flying == client->nr_flying);
    must(bytes == client->flying_bytes);
}

static uint8_t take(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

/* The datagram that the next reply is for; NULL: none is in flight. */
static struct datagram *choose(struct kvr_client *client, uint8_t choice)
{
    struct datagram *found = NULL;
    unsigned n = client->nr_flying ? choice % client->nr_flying : 0;

    for (uint32_t i = 0; i < client->nr_datagrams && !found; i++)
        if (client->datagrams[i].in_use && n-- == 0)
            found = &client->datagrams[i];
    return found;
}

static void play(struct scene *scene, struct input *input)
{
    static _Alignas(8) uint8_t bytes[KVR_DATAGRAM_MAX];
    struct kvr_client *client = scene->client;
    uint8_t choice = take(input), shape = take(input), nr_ops = take(input), status = take(input);
    struct datagram *datagram = choose(client, choice);
    struct kvr_hdr *hdr = (struct kvr_hdr *)(void *)bytes;
    size_t len = (size_t)take(input) * 8, left = (size_t)(input->end - input->at);
    struct checked_reply reply;

    if (!datagram)
        return;
    len = len < left ? len : left;
    memset(bytes, 0, sizeof(*hdr));
    if (shape & 1)
        memcpy(bytes, input->at, len);
    else
        memcpy(bytes + sizeof(*hdr), input->at, len);
    input->at += len;
    if (!(shape & 1)) {
        len = (len + sizeof(*hdr)) & ~(size_t)7;
        *hdr = (struct kvr_hdr){.magic = KVR_MAGIC,
                                .version = KVR_VERSION,
                                .kind = KVR_REPLY,
                                .status = shape & 2 ? status : 0,
                                .len = (uint16_t)len,
                                .nr_ops = nr_ops,
                                .id = datagram->id,
                                .session = client->session,
                                .cookie = 1,
                                .seq = datagram->seq,
                                .floor = datagram->link->order.floor};
        hdr->crc = build_crc(bytes, (uint32_t)len, NULL, 0);
    }
    client->now_ns = clock_ns();
    if (check_reply(bytes, (uint32_t)len, &reply) != CHECK_OK)
        return;
    if ((reply.hdr.id & SLOT_HELLO) == SLOT_HELLO)
        session_answer(datagram->link, &reply);
    else
        datagram_answer(datagram->link, &reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input input = {bytes, bytes + len};
    struct scene scene;

    nr_partitions = 1 + take(&input) % 3;
    set_scene(&scene);
    for (unsigned turn = 0; turn < TURNS_MAX && input.at < input.end; turn++) {
        play(&scene, &input);
        audit(scene.client);
        tasks_report(scene.client);
        pack_all(scene.client);
        audit(scene.client);
    }
    strike_scene(&scene);
    return 0;
}
