/* SPDX-License-Identifier: Apache-2.0 */
/* One socket on 127.0.0.1, one partition, one value. */
#include "fake_server.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "client/build.h"

static struct kvr_hdr *out(struct fake_exchange *exchange)
{
    return (struct kvr_hdr *)(void *)exchange->reply;
}

void fake_begin(struct fake_exchange *exchange, enum kvr_status status)
{
    *out(exchange) = exchange->hdr;
    out(exchange)->kind = KVR_REPLY;
    out(exchange)->status = (uint8_t)status;
    out(exchange)->nr_ops = 0;
    out(exchange)->deadline_us = 0;
    out(exchange)->reply_max = 0;
    exchange->reply_len = sizeof(struct kvr_hdr);
}

void *fake_record(struct fake_exchange *exchange, const struct kvr_op *request,
                  enum kvr_status status, uint32_t size)
{
    struct kvr_op *record = (struct kvr_op *)(void *)(exchange->reply + exchange->reply_len);

    memset(record, 0, size);
    record->op = request->op;
    record->idx = request->idx;
    record->status = (uint8_t)status;
    record->size = (uint16_t)size;
    exchange->reply_len += size;
    out(exchange)->nr_ops++;
    return record;
}

void fake_send(struct fake_exchange *exchange)
{
    out(exchange)->len = (uint16_t)exchange->reply_len;
    out(exchange)->crc = 0;
    out(exchange)->crc = build_crc(exchange->reply, exchange->reply_len, NULL, 0);
    (void)!sendto(exchange->fake->fd, exchange->reply, exchange->reply_len, 0,
                  (struct sockaddr *)&exchange->from, exchange->from_len);
}

void fake_refuse(struct fake_exchange *exchange, enum kvr_status status, uint32_t retry_us)
{
    fake_begin(exchange, status);
    out(exchange)->deadline_us = retry_us;
    fake_send(exchange);
}

/* One record with as much of the window as a small datagram takes; the client asks for the rest. */
static void answer_get(struct fake_exchange *exchange, const struct kvr_op *request)
{
    const struct kvr_get_req *req = (const void *)request;
    struct fake_server *fake = exchange->fake;
    uint32_t view = req->len ? req->len : fake->value_len - req->off;
    uint32_t len = view - req->skip < req->want ? view - req->skip : req->want;
    struct kvr_get_rep *rep;

    if (!fake->value) {
        fake_record(exchange, request, KVR_MISS, sizeof(struct kvr_op));
        return;
    }
    if (request->flags & KVR_GET_META)
        len = 0;
    if (len > 1000)
        len = 1000;
    rep = fake_record(exchange, request, KVR_OK, (uint32_t)sizeof(*rep) + pad8(len));
    rep->value_len = fake->value_len;
    rep->value_crc = fake->value_crc;
    rep->ref = fake->ref;
    rep->view_len = view;
    rep->pos = req->skip;
    rep->len = len;
    memcpy(rep + 1, fake->value + req->off + req->skip, len);
}

void fake_default_record(struct fake_exchange *exchange, const struct kvr_op *request)
{
    switch (request->op) {
    case KVR_GET:
        answer_get(exchange, request);
        break;
    case KVR_PING:
        *(struct kvr_ping *)fake_record(exchange, request, KVR_OK, sizeof(struct kvr_ping)) =
            (struct kvr_ping){
                .op = {.op = KVR_PING, .idx = request->idx, .size = sizeof(struct kvr_ping)},
                .token = ((const struct kvr_ping *)(const void *)request)->token};
        break;
    case KVR_PUT:
    case KVR_RESERVE:
    case KVR_COMMIT:
        ((struct kvr_put_rep *)fake_record(exchange, request, KVR_OK, sizeof(struct kvr_put_rep)))
            ->ref = exchange->fake->ref;
        break;
    case KVR_STAT:
        fake_record(exchange, request, KVR_OK, sizeof(struct kvr_stat_rep));
        break;
    default:
        fake_record(exchange, request, KVR_OK, sizeof(struct kvr_op));
    }
}

void fake_default(struct fake_exchange *exchange)
{
    fake_begin(exchange, KVR_OK);
    for (unsigned i = 0; i < exchange->hdr.nr_ops; i++)
        fake_default_record(exchange, exchange->records[i]);
    fake_send(exchange);
}

static void answer_hello(struct fake_exchange *exchange)
{
    struct kvr_hello_rep *rep;

    exchange->fake->nr_hellos++;
    fake_begin(exchange, KVR_OK);
    out(exchange)->cookie = exchange->fake->cookie;
    rep = fake_record(exchange, exchange->records[0], KVR_OK, sizeof(*rep));
    exchange->fake->hello.op = rep->op;
    *rep = exchange->fake->hello;
    fake_send(exchange);
}

static void take(struct fake_server *fake, struct fake_exchange *exchange, const uint8_t *bytes,
                 uint32_t len)
{
    uint32_t at = sizeof(struct kvr_hdr);

    memcpy(&exchange->hdr, bytes, sizeof(exchange->hdr));
    cr_assert_eq(exchange->hdr.len, len);
    cr_assert_eq(exchange->hdr.crc, build_crc(bytes, len, NULL, 0));
    for (unsigned i = 0; i < exchange->hdr.nr_ops; i++) {
        exchange->records[i] = (const struct kvr_op *)(const void *)(bytes + at);
        cr_assert_eq(exchange->records[i]->idx, i);
        at += exchange->records[i]->size;
    }
    cr_assert_eq(at, len);
    if (exchange->records[0]->op != KVR_HELLO) {
        cr_assert_lt(fake->nr_seen, FAKE_SEEN_MAX);
        exchange->nth = fake->nr_seen;
        fake->seen[fake->nr_seen].hdr = exchange->hdr;
        fake->seen[fake->nr_seen++].op = exchange->records[0]->op;
    }
    if (fake->answer && fake->answer(exchange))
        return;
    if (exchange->records[0]->op == KVR_HELLO)
        answer_hello(exchange);
    else
        fake_default(exchange);
}

static void *serve(void *arg)
{
    struct fake_server *fake = arg;
    static _Thread_local struct fake_exchange exchange;
    static _Thread_local _Alignas(8) uint8_t bytes[KVR_DATAGRAM_MAX + 8];

    while (!__atomic_load_n(&fake->stop, __ATOMIC_ACQUIRE)) {
        struct pollfd fd = {.fd = fake->fd, .events = POLLIN};
        ssize_t len;

        if (poll(&fd, 1, 20) <= 0)
            continue;
        exchange.fake = fake;
        exchange.from_len = sizeof(exchange.from);
        len = recvfrom(fake->fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&exchange.from,
                       &exchange.from_len);
        if (len >= (ssize_t)sizeof(struct kvr_hdr))
            take(fake, &exchange, bytes, (uint32_t)len);
    }
    return NULL;
}

void fake_setup(struct fake_server *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->hello = (struct kvr_hello_rep){.version = KVR_VERSION,
                                         .nr_partitions = 1,
                                         .max_ops = KVR_OPS_MAX,
                                         .max_datagram = 1472,
                                         .max_value = KVR_VALUE_MAX,
                                         .train_max = 65536,
                                         .cookie_ms = 60000,
                                         .boot = 1,
                                         .arena = 1};
    fake->cookie = 0xc00c1e;
    fake->ref = 0x100000001;
}

void fake_start(struct fake_server *fake)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(own);

    if (fake->value)
        fake->value_crc = crc32c(0, fake->value, fake->value_len);
    fake->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fake->fd, (struct sockaddr *)&own, len), 0);
    cr_assert_eq(getsockname(fake->fd, (struct sockaddr *)&own, &len), 0);
    fake->port = ntohs(own.sin_port);
    cr_assert_eq(pthread_create(&fake->thread, NULL, serve, fake), 0);
}

void fake_stop(struct fake_server *fake)
{
    __atomic_store_n(&fake->stop, true, __ATOMIC_RELEASE);
    pthread_join(fake->thread, NULL);
    close(fake->fd);
}

struct kvr_client *fake_client(struct fake_server *fake, const struct kvr_options *options)
{
    struct kvr_options patient;
    struct kvr_client *client = NULL;
    char url[64];

    snprintf(url, sizeof(url), "udp://127.0.0.1:%u", fake->port);
    kvr_options_init(&patient);
    patient.timeout_ms = patient.connect_ms = 20000; /* on a busy machine */
    cr_assert_eq(kvr_open(url, options ? options : &patient, &client), KVR_OK);
    return client;
}

struct kvr_client *fake_open(struct fake_server *fake, bool (*answer)(struct fake_exchange *))
{
    fake_setup(fake);
    fake->answer = answer;
    fake_start(fake);
    return fake_client(fake, NULL);
}

struct kvr_client_stats fake_finish(struct fake_server *fake, struct kvr_client *client)
{
    struct kvr_client_stats stats;

    kvr_client_stats(client, &stats);
    kvr_close(client);
    fake_stop(fake);
    return stats;
}

bool fake_is_hello(const struct fake_exchange *exchange)
{
    return exchange->records[0]->op == KVR_HELLO;
}

unsigned fake_count(const struct fake_server *fake, enum kvr_opcode op)
{
    unsigned n = 0;

    for (unsigned i = 0; i < fake->nr_seen; i++)
        n += fake->seen[i].op == op;
    return n;
}
