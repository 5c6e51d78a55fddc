/* SPDX-License-Identifier: Apache-2.0 */
/* What the protocol's page says of RESERVE to COMMIT, MATCH and GET, as plainly as can be. */
#include "small_server.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/hash.h"
#include "base/random.h"
#include "client/build.h"
#include "tools/content.h"

#define UPLOADS 4096u
#define QUEUE 8192u
#define PIECE 1000u /* bytes of a value in one answer */

struct upload_of {
    uint64_t session, id;
    uint32_t seq, partition, len, frag, received;
    uint8_t *bytes, *have; /* have: a flag for each fragment */
    bool open;
    enum kvr_status status;
    uint64_t ref;
};

struct value {
    uint8_t *bytes;
    uint32_t len;
    uint64_t ref;
};

struct queue {
    struct {
        uint8_t *bytes;
        uint32_t len;
    } all[QUEUE];
    unsigned nr;
};

static struct upload_of uploads[UPLOADS]; /* handle: index + 1 */
static unsigned nr_uploads;
static struct value values[SMALL_KEYS];
static struct queue there, back;
static struct rng rng;
static uint64_t next_ref;
static _Alignas(8) uint8_t reply[KVR_DATAGRAM_MAX];

/* ---- the wire ------------------------------------------------------------------------------ */

static void push(struct small_server *s, struct queue *queue, const uint8_t *bytes, uint32_t len)
{
    unsigned copies = rng_below(&rng, 1000) < s->doubles ? 2 : 1;

    if (rng_below(&rng, 1000) < s->loss) {
        s->lost++;
        return;
    }
    for (; copies > 0; copies--) {
        cr_assert_lt(queue->nr, QUEUE);
        queue->all[queue->nr].bytes = aligned_alloc(8, (len + 7) / 8 * 8);
        memcpy(queue->all[queue->nr].bytes, bytes, len);
        queue->all[queue->nr++].len = len;
    }
}

/* In order, but where it reorders. The caller frees it. */
static uint8_t *pop(const struct small_server *s, struct queue *queue, uint32_t *len)
{
    unsigned at = s->reorders ? (unsigned)rng_below(&rng, queue->nr < 8 ? queue->nr : 8) : 0;
    uint8_t *bytes = queue->all[at].bytes;

    *len = queue->all[at].len;
    queue->nr--;
    memmove(&queue->all[at], &queue->all[at + 1], (queue->nr - at) * sizeof(queue->all[0]));
    return bytes;
}

/* ---- answers ------------------------------------------------------------------------------- */

static struct kvr_hdr *begin(const struct kvr_hdr *asked)
{
    struct kvr_hdr *hdr = (void *)reply;

    memset(reply, 0, sizeof(reply));
    *hdr = *asked;
    hdr->kind = KVR_REPLY;
    hdr->nr_ops = 0;
    hdr->len = sizeof(*hdr);
    return hdr;
}

static void *add(struct kvr_hdr *hdr, const struct kvr_op *asked, enum kvr_status status,
                 size_t size)
{
    struct kvr_op *op = (void *)(reply + hdr->len);

    *op = (struct kvr_op){.op = asked->op,
                          .idx = asked->idx,
                          .status = (uint8_t)status,
                          .size = (uint16_t)pad8((uint32_t)size)};
    hdr->len = (uint16_t)(hdr->len + op->size);
    hdr->nr_ops++;
    return op;
}

static void send(struct small_server *s, struct kvr_hdr *hdr)
{
    hdr->crc = 0;
    hdr->crc = build_crc(reply, hdr->len, NULL, 0);
    push(s, &back, reply, hdr->len);
}

static void say(struct small_server *s, const struct kvr_hdr *asked, const struct kvr_op *op,
                enum kvr_status status)
{
    struct kvr_hdr *hdr = begin(asked);

    add(hdr, op, status, sizeof(*op));
    send(s, hdr);
}

static void say_put(struct small_server *s, const struct kvr_hdr *asked, const struct kvr_op *op,
                    uint64_t ref)
{
    struct kvr_hdr *hdr = begin(asked);
    struct kvr_put_rep *rep = add(hdr, op, KVR_OK, sizeof(*rep));

    rep->ref = ref;
    send(s, hdr);
}

/* ---- operations ---------------------------------------------------------------------------- */

static uint64_t id_of(const struct small_server *s, const void *key)
{
    const struct bench_settings *b = &s->settings->bench;
    uint8_t made[KVR_KEY_MAX];

    for (uint64_t id = 0; id < b->keys; id++) {
        content_key(made, b->key_len, id, b->salt);
        if (memcmp(made, key, b->key_len) == 0)
            return id;
    }
    cr_assert_fail("a key of nobody");
    return 0;
}

static uint64_t store(uint64_t id, uint8_t *bytes, uint32_t len)
{
    free(values[id].bytes);
    values[id] = (struct value){bytes, len, ++next_ref};
    return next_ref;
}

static void put(struct small_server *s, const struct kvr_hdr *asked, const struct kvr_put_req *req)
{
    const uint8_t *key = (const uint8_t *)(req + 1), *value = key + pad8(req->op.key_len);
    uint8_t *copy = malloc(req->value_len + 1);

    cr_assert_eq(req->value_crc, crc32c(0, value, req->value_len));
    memcpy(copy, value, req->value_len);
    say_put(s, asked, &req->op, store(id_of(s, key), copy, req->value_len));
}

static void reserve(struct small_server *s, const struct kvr_hdr *asked,
                    const struct kvr_put_req *req)
{
    struct upload_of *u = &uploads[nr_uploads];

    for (unsigned i = 0; i < nr_uploads; i++)
        if (uploads[i].session == asked->session && uploads[i].seq == asked->seq &&
            uploads[i].partition == asked->partition) {
            say_put(s, asked, &req->op, i + 1);
            return;
        }
    cr_assert_lt(nr_uploads, UPLOADS);
    cr_assert(req->frag >= KVR_FRAG_MIN && req->frag % 8 == 0 && req->value_crc == 0);
    cr_assert_neq(asked->seq, 0);
    *u = (struct upload_of){.session = asked->session,
                            .id = id_of(s, req + 1),
                            .seq = asked->seq,
                            .partition = asked->partition,
                            .len = req->value_len,
                            .frag = req->frag,
                            .bytes = calloc(1, req->value_len),
                            .have = calloc(1, req->value_len / req->frag + 1),
                            .open = !s->forgets,
                            .status = KVR_NO_UPLOAD};
    say_put(s, asked, &req->op, ++nr_uploads);
}

static struct upload_of *upload_of(const struct kvr_hdr *asked, uint64_t handle)
{
    struct upload_of *u = &uploads[handle - 1];

    cr_assert(handle > 0 && handle <= nr_uploads);
    cr_assert(u->session == asked->session && u->seq == asked->seq &&
              u->partition == asked->partition);
    return u;
}

static void take_fragment(struct small_server *s, const struct kvr_hdr *asked,
                          const struct kvr_write_req *req)
{
    struct upload_of *u = upload_of(asked, req->upload);
    uint32_t left = u->len - req->off, at = req->off / u->frag;

    s->writes++;
    s->quiet += req->op.flags == KVR_WRITE_QUIET;
    cr_assert(req->off < u->len && req->off % u->frag == 0);
    cr_assert_eq(req->len, left < u->frag ? left : u->frag);
    if (u->open && !u->have[at]) {
        memcpy(u->bytes + req->off, req + 1, req->len);
        u->have[at] = 1;
        u->received += req->len;
    }
    if (!u->open && u->status != KVR_OK)
        say(s, asked, &req->op, u->status);
    else if (req->op.flags != KVR_WRITE_QUIET)
        say(s, asked, &req->op, KVR_OK);
}

static void say_missing(struct small_server *s, const struct kvr_hdr *asked,
                        const struct upload_of *u, const struct kvr_op *op)
{
    struct kvr_hdr *hdr = begin(asked);
    struct kvr_range ranges[3]; /* few, so that the asker has to come back */
    struct kvr_put_rep *rep;
    uint32_t nr = 0;

    for (uint32_t off = 0; off < u->len && nr < 3 && !s->names_nothing; off += u->frag)
        if (!u->have[off / u->frag])
            ranges[nr++] = (struct kvr_range){off, u->len - off < u->frag ? u->len - off : u->frag};
    rep = add(hdr, op, KVR_INCOMPLETE, sizeof(*rep) + nr * sizeof(ranges[0]));
    rep->nr_ranges = nr;
    memcpy(rep + 1, ranges, nr * sizeof(ranges[0]));
    s->incompletes++;
    send(s, hdr);
}

static void commit(struct small_server *s, const struct kvr_hdr *asked,
                   const struct kvr_commit_req *req)
{
    struct upload_of *u = upload_of(asked, req->upload);

    cr_assert_eq(req->value_len, u->len);
    if (u->open && u->received < u->len) {
        say_missing(s, asked, u, &req->op);
        return;
    }
    if (u->open) {
        cr_assert_eq(req->value_crc, crc32c(0, u->bytes, u->len));
        u->open = false;
        u->status = KVR_OK;
        u->ref = store(u->id, u->bytes, u->len);
        u->bytes = NULL;
        s->commits++;
    }
    if (u->status == KVR_OK)
        say_put(s, asked, &req->op, u->ref);
    else
        say(s, asked, &req->op, u->status);
}

static void abandon(struct small_server *s, const struct kvr_hdr *asked,
                    const struct kvr_commit_req *req)
{
    struct upload_of *u = upload_of(asked, req->upload);

    s->aborts++;
    u->open = false;
    say(s, asked, &req->op, KVR_OK);
}

static void get(struct small_server *s, const struct kvr_hdr *asked, const struct kvr_get_req *req)
{
    const struct value *value = &values[id_of(s, req + 1)];
    uint32_t end =
        req->want && value->len - req->skip > req->want ? req->skip + req->want : value->len;

    s->gets++;
    if (!value->bytes || (req->ref && req->ref != value->ref)) {
        say(s, asked, &req->op, value->bytes ? KVR_STALE : KVR_MISS);
        return;
    }
    cr_assert_leq(end - req->skip, s->hello.train_max);
    for (uint32_t pos = req->skip; pos < end || end == 0; pos += PIECE) {
        uint32_t len = end - pos < PIECE ? end - pos : PIECE;
        struct kvr_hdr *hdr = begin(asked);
        struct kvr_get_rep *rep = add(hdr, &req->op, KVR_OK, sizeof(*rep) + len);

        rep->value_len = rep->view_len = value->len;
        rep->value_crc = crc32c(0, value->bytes, value->len);
        rep->ref = value->ref;
        rep->pos = pos;
        rep->len = len;
        rep->tier = KVR_TIER_HOST;
        memcpy(rep + 1, value->bytes + pos, len);
        if (s->lies && len > 0)
            ((uint8_t *)(rep + 1))[len / 2] ^= 1;
        send(s, hdr);
        if (end == 0)
            break;
    }
}

static void match(struct small_server *s, const struct kvr_hdr *asked,
                  const struct kvr_match_req *req)
{
    const uint8_t *key = (const uint8_t *)(req + 1);
    struct kvr_hdr *hdr = begin(asked);
    struct kvr_match_rep *rep =
        add(hdr, &req->op, KVR_OK, sizeof(*rep) + pad8((req->nr_keys + 7u) / 8));
    uint8_t *bits = (uint8_t *)(rep + 1);

    s->matches++;
    rep->nr_keys = rep->prefix = req->nr_keys;
    for (unsigned i = 0; i < req->nr_keys; i++, key += req->key_size) {
        cr_assert_eq(
            hash_partition(hash_key(key, req->key_size, s->hello.seed), s->hello.nr_partitions),
            asked->partition);
        if (id_of(s, key) < s->present)
            bits[i / 8] = (uint8_t)(bits[i / 8] | 1u << i % 8);
        else if (i < rep->prefix)
            rep->prefix = (uint16_t)i;
    }
    send(s, hdr);
}

static void say_hello(struct small_server *s, const struct kvr_hdr *asked, const struct kvr_op *op)
{
    struct kvr_hdr *hdr = begin(asked);
    struct kvr_hello_rep *rep = add(hdr, op, KVR_OK, sizeof(*rep));
    struct kvr_op head = rep->op;

    *rep = s->hello;
    rep->op = head;
    hdr->cookie = s->cookie;
    send(s, hdr);
}

static void serve_op(struct small_server *s, const struct kvr_hdr *asked, const struct kvr_op *op)
{
    switch (op->op) {
    case KVR_PUT:
        put(s, asked, (const void *)op);
        break;
    case KVR_RESERVE:
        reserve(s, asked, (const void *)op);
        break;
    case KVR_WRITE:
        take_fragment(s, asked, (const void *)op);
        break;
    case KVR_COMMIT:
        commit(s, asked, (const void *)op);
        break;
    case KVR_ABORT:
        abandon(s, asked, (const void *)op);
        break;
    case KVR_GET:
        get(s, asked, (const void *)op);
        break;
    case KVR_MATCH:
        match(s, asked, (const void *)op);
        break;
    default:
        cr_assert_fail("an op of which the test knows nothing");
    }
}

static void serve(struct small_server *s, const uint8_t *bytes, uint32_t len)
{
    const struct kvr_hdr *asked = (const void *)bytes;
    const uint8_t *at = bytes + sizeof(*asked);
    enum kvr_status refusal = KVR_OK;
    struct kvr_hdr *hdr;

    cr_assert_eq(asked->len, len);
    cr_assert_eq(asked->crc, build_crc(bytes, len, NULL, 0));
    if (((const struct kvr_op *)(const void *)at)->op == KVR_HELLO) {
        say_hello(s, asked, (const void *)at);
        return;
    }
    if (s->mute)
        return;
    if (asked->cookie != s->cookie)
        refusal = KVR_NEED_COOKIE;
    else if (s->nr_busy > 0 && s->nr_busy-- > 0)
        refusal = (enum kvr_status)s->busy;
    if (refusal) {
        hdr = begin(asked);
        hdr->status = (uint8_t)refusal;
        send(s, hdr);
        return;
    }
    for (unsigned i = 0; i < asked->nr_ops; i++) {
        const struct kvr_op *op = (const void *)at;

        serve_op(s, asked, op);
        at += op->size;
    }
    cr_assert_eq(at - bytes, len, "records fill the datagram");
}

/* ---- life ---------------------------------------------------------------------------------- */

void small_server_setup(struct small_server *s, const struct load_settings *settings)
{
    *s = (struct small_server){.settings = settings, .cookie = SMALL_COOKIE};
    s->hello = (struct kvr_hello_rep){.op = {.op = KVR_HELLO, .size = sizeof(s->hello)},
                                      .version = KVR_VERSION,
                                      .nr_partitions = 3,
                                      .base_port = KVR_PORT,
                                      .max_ops = 32,
                                      .max_datagram = 1472,
                                      .max_value = KVR_VALUE_MAX,
                                      .train_max = 65536,
                                      .cookie_ms = 3600000,
                                      .seed = 99,
                                      .boot = 1};
    rng_seed(&rng, 7);
    there.nr = back.nr = nr_uploads = 0;
    memset(values, 0, sizeof(values));
}

void small_server_teardown(struct small_server *s)
{
    uint32_t len;

    while (there.nr > 0)
        free(pop(s, &there, &len));
    while (back.nr > 0)
        free(pop(s, &back, &len));
    for (unsigned i = 0; i < nr_uploads; i++) {
        free(uploads[i].bytes);
        free(uploads[i].have);
    }
    for (unsigned i = 0; i < SMALL_KEYS; i++)
        free(values[i].bytes);
}

bool small_server_holds(const struct small_server *s, uint64_t id)
{
    const struct value *value = &values[id];

    return value->bytes && value->len == sizes_of(&s->settings->bench.sizes, id) &&
           content_check(value->bytes, value->len, id, NULL);
}

unsigned small_server_open(const struct small_server *)
{
    unsigned open = 0;

    for (unsigned i = 0; i < nr_uploads; i++)
        open += uploads[i].open;
    return open;
}

static void listen_to(struct small_server *s, struct asker *a, bool starts, uint64_t now_ns)
{
    static _Alignas(8) uint8_t bytes[KVR_DATAGRAM_MAX];
    uint16_t partition;
    uint32_t len = asker_hello(a, now_ns, bytes);

    if (len > 0)
        push(s, &there, bytes, len);
    while (asker_ready(a) && asker_has_more(a) &&
           (len = asker_more(a, now_ns, bytes, &partition)) > 0)
        push(s, &there, bytes, len);
    while (starts && asker_ready(a) && asker_has_room(a) &&
           (len = asker_next(a, now_ns, now_ns, bytes, &partition)) > 0)
        push(s, &there, bytes, len);
}

void small_server_turn(struct small_server *s, struct asker *a, bool starts, uint64_t now_ns)
{
    uint8_t *bytes;
    uint32_t len;

    asker_expire(a, now_ns);
    listen_to(s, a, starts, now_ns);
    while (there.nr > 0) {
        bytes = pop(s, &there, &len);
        serve(s, bytes, len);
        free(bytes);
    }
    while (back.nr > 0) {
        bytes = pop(s, &back, &len);
        asker_take(a, bytes, len, now_ns);
        free(bytes);
    }
}
