/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as requests to the whole engine, two cores over the mem transport. An input is either
 * one datagram as it is, or steps: a header in few bytes, then ops, each built right from
 * parameters or given as raw bytes, then a few bytes of the whole broken; length and CRC32C are
 * mended last, so that the fuzzer gets behind the first checks. The engine lives on between inputs,
 * but every input is a later time, when the sessions and uploads of the one before are gone.
 * Claims: replies are well formed and no longer than allowed; an unproven address gets no more
 * bytes than it sent; a whole value has its CRC32C; every request is released; now and then, the
 * partitions are consistent. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "dataplane/cookie.h"
#include "dataplane/parse.h"
#include "rig.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define AUDIT_EVERY 4096u
#define STEPS_MAX 24u
#define CLIENTS 3u

enum { FLAG_UNPROVEN = 1, FLAG_WRONG_CORE = 2, FLAG_LATER = 4, FLAG_OWN_PARTITION = 8 };

struct input {
    const uint8_t *at;
    size_t left;
};

static struct rig rig;
static uint64_t upload; /* the last handle that was answered */
static uint64_t last_id;
static bool plain_gets; /* this datagram asks for whole values only */

static uint8_t values[4096];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static unsigned take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static unsigned take2(struct input *input)
{
    unsigned low = take(input);

    return low | take(input) << 8;
}

/* Some key of few; long ones lie in the data segment. */
static const char *take_key(struct input *input)
{
    static const char *const keys[] = {
        "a",
        "bb",
        "a key of seventeen",
        "chain0",
        "chain1",
        "chain2",
        "another key of some length",
        "a key that is longer than thirty-two bytes and so does not lie in its descriptor at all"};

    return keys[take(input) % (sizeof(keys) / sizeof(keys[0]))];
}

static void add_get(struct message *m, struct input *input, unsigned flags)
{
    struct kvr_get_req get = {.count = 1};
    const char *key = take_key(input);

    if (take(input) & 1) {
        plain_gets = false;
        get.off = take(input);
        get.len = take(input);
        get.stride = take(input);
        get.count = (uint16_t)(take(input) % 32);
        get.skip = take2(input);
        get.want = take2(input);
    }
    if (flags & KVR_GET_PIN)
        get.lease_ms = (uint16_t)take(input);
    message_get(m, key, &get, flags & 7);
}

static void add_key_op(struct message *m, struct input *input, unsigned opcode)
{
    struct kvr_hint hint = {.parent = take(input), .cost_us = take2(input)};
    const char *key = take_key(input);
    uint32_t ttl_ms = take2(input);

    message_key(m, opcode, key, 0, ttl_ms, &hint);
}

static uint32_t room_left(const struct message *m)
{
    return KVR_DATAGRAM_MAX - 1300u - m->len;
}

static void add_write(struct message *m, struct input *input, unsigned flags)
{
    uint32_t frag = 512u + 8u * (take(input) & 15u), off = frag * (take(input) & 63u);
    uint32_t len = take(input) & 1 ? frag : take2(input) % frag;

    message_write(m, upload, off, values + off % 512u, len, flags & 1);
}

static void add_built(struct message *m, struct input *input, unsigned opcode, unsigned flags)
{
    const char *key;
    uint32_t len;

    switch (opcode) {
    case KVR_HELLO:
        message_hello(m);
        break;
    case KVR_PING:
        message_ping(m, 1);
        break;
    case KVR_GET:
        add_get(m, input, flags);
        break;
    case KVR_PUT:
        key = take_key(input);
        len = take2(input) % 1200u;
        message_put(m, key, values + flags, len, flags & 1, take2(input));
        break;
    case KVR_RESERVE:
        key = take_key(input);
        len = take2(input) * 4u;
        message_reserve(m, key, len, 512u + 8u * (take(input) & 15u), flags & 1);
        break;
    case KVR_WRITE:
        add_write(m, input, flags);
        break;
    case KVR_COMMIT:
        len = take2(input) * 4u;
        message_commit(m, upload, len <= 3500 ? crc32c(0, values, len) : 0, len);
        break;
    case KVR_ABORT:
        message_abort(m, upload);
        break;
    case KVR_MATCH:
        len = take(input);
        message_match(m, "chain", len, flags & 3, flags & KVR_MATCH_PIN ? 100 : 0);
        break;
    case KVR_STAT:
        message_stat(m);
        break;
    case KVR_PLACE:
        key = take_key(input);
        message_place(m, key, take2(input), take(input) & 127u, flags & 1);
        break;
    case KVR_SEAL:
    case KVR_DROP:
    case KVR_RELEASE:
        message_end_place(m, opcode, 1ull << 32 | take(input), take(input) & 127u, take(input));
        break;
    case KVR_LOOK:
        key = take_key(input);
        message_look(m, key, take(input) & 127u, take(input), take(input));
        break;
    case KVR_LOAD:
        key = take_key(input);
        message_load(m, key, take(input) % 20u, take2(input), 0);
        break;
    case KVR_SAVE:
        key = take_key(input);
        message_save(m, key, take(input) % 20u, take2(input), flags & 1);
        break;
    case KVR_STORE:
        key = take_key(input);
        message_store(m, key, take2(input), take2(input), take(input), flags & 1);
        break;
    default:
        add_key_op(m, input, opcode);
    }
}

/* A record of the fuzzer's own bytes; only its head's size and position are right. */
static void add_raw(struct message *m, struct input *input, unsigned opcode, unsigned flags)
{
    uint8_t body[1024 + 8] = {0};
    uint32_t key_len = take(input), len = take(input) * 4u;

    plain_gets = false;
    for (uint32_t i = 0; i < len && input->left > 0; i++)
        body[8 + i] = (uint8_t)take(input);
    message_record(m, opcode, flags, body, 8 + len, key_len, NULL, 0);
}

static void become(struct input *input, unsigned flags)
{
    rig_become(&rig, 1 + take(input) % CLIENTS);
    if (!(flags & FLAG_UNPROVEN))
        rig.cookie = cookie_make(rig.cookies, &rig.peer, rig.session, rig.cores[0]->epoch);
}

static void build(struct message *m, struct input *input, unsigned flags)
{
    plain_gets = true;
    rig_begin(&rig, m);
    m->hdr.id = ++last_id;
    m->hdr.seq = take(input);
    m->hdr.floor = take(input);
    m->hdr.priority = (uint8_t)(take(input) % 5);
    m->hdr.reply_max = (uint8_t)take(input);
    m->hdr.deadline_us = take(input) * 1000u;
    m->hdr.partition = (uint16_t)(take(input) & 1);
    for (unsigned n = take(input) % 9; n > 0 && room_left(m) < KVR_DATAGRAM_MAX; n--) {
        unsigned opcode = take(input), op_flags = take(input);

        if (opcode < 128)
            add_built(m, input, 1 + opcode % (KVR_OPCODES - 1), op_flags);
        else
            add_raw(m, input, opcode & 31u, op_flags);
        if (m->len > 5000)
            break;
    }
    if (flags & FLAG_OWN_PARTITION && m->nr_ops > 0 && m->hdr.seq != 0)
        m->hdr.partition = (uint16_t)(upload_partition(upload) & 1u);
    message_seal(m);
    for (unsigned n = take(input) & 3u; n > 0; n--) {
        unsigned at = take2(input) % m->len;

        plain_gets = false;
        m->bytes[at] = (uint8_t)take(input);
    }
    message_fix_crc(m);
}

static void check_record(const struct record *record)
{
    struct kvr_get_rep get;
    struct kvr_put_rep put;
    bool whole;

    CHECK(record->op.status <= KVR_MISFIT && record->op.idx < KVR_OPS_MAX);
    CHECK(record->op.op > 0 && record->op.op < KVR_OPCODES && record->op.flags == 0);
    if (record->op.status != KVR_OK)
        return;
    if (record->op.op == KVR_RESERVE) {
        memcpy(&put, record->bytes, sizeof(put));
        upload = put.ref;
    }
    if (record->op.op != KVR_GET)
        return;
    memcpy(&get, record->bytes, sizeof(get));
    whole = plain_gets && get.len == get.value_len && get.view_len == get.value_len;
    CHECK(record->op.size == sizeof(get) + align8(get.len));
    CHECK(get.pos <= get.view_len && get.len <= get.view_len - get.pos);
    CHECK(!whole || crc32c(0, record->bytes + sizeof(get), get.len) == get.value_crc);
}

/* An answer to the request that asked; its bytes, or 0 if it answers an earlier one. */
static uint32_t check_reply(const struct mem_reply *reply, const struct kvr_hdr *asked)
{
    uint32_t at = sizeof(struct kvr_hdr), limit = asked->reply_max * 64u, nr = 0;
    struct record record;
    struct kvr_hdr hdr;

    if (limit == 0)
        limit = KVR_DATAGRAM_MIN_MAX;
    CHECK(reply_ok(reply->bytes, reply->len, &hdr));
    if (hdr.id != asked->id)
        return 0;
    CHECK(reply->len <= limit || hdr.status != KVR_OK);
    while (reply_next(reply->bytes, reply->len, &at, &record)) {
        check_record(&record);
        nr++;
    }
    CHECK(nr == hdr.nr_ops && (hdr.status == KVR_OK) == (nr > 0));
    return reply->len;
}

/* Sends one datagram and looks at what comes back. */
static void exchange(const struct message *m, unsigned core, bool unproven)
{
    struct kvr_hdr asked = {0};
    static struct replies replies; /* too large for a stack that AddressSanitizer watches */
    uint32_t bytes = 0;

    if (m->len >= sizeof(asked))
        memcpy(&asked, m->bytes, sizeof(asked));
    rig_inject_at(&rig, core, m);
    rig_turn(&rig);
    rig_turn(&rig);
    rig_replies(&rig, &replies);
    for (unsigned i = 0; i < replies.nr; i++)
        bytes += check_reply(replies.list[i], &asked);
    CHECK(!unproven || bytes <= m->len);
    replies_free(&replies);
}

static void run_steps(struct input *input)
{
    for (unsigned i = 0; i < STEPS_MAX && input->left > 0; i++) {
        unsigned flags = take(input);
        static struct message m;

        if (flags & FLAG_LATER)
            rig.now_ns += take(input) * 10000000ull;
        become(input, flags);
        build(&m, input, flags);
        exchange(&m, flags & FLAG_WRONG_CORE ? 1 : 0, flags & FLAG_UNPROVEN);
    }
}

static void run_raw(const struct input *input)
{
    static struct message m;

    m.len = (uint32_t)(input->left < KVR_DATAGRAM_MAX ? input->left : KVR_DATAGRAM_MAX);
    memcpy(m.bytes, input->at, m.len);
    rig_become(&rig, 9);
    exchange(&m, 0, true);
}

/* What the last input left behind must go: sessions, uploads, parked requests. */
static void forget(void)
{
    static unsigned turns;

    rig.now_ns += 65000000000ull; /* past every deadline */
    rig_turn(&rig);
    rig_turn(&rig);
    for (unsigned i = 0; i < rig.nr_cores; i++) {
        struct mem_reply *reply;

        while ((reply = mem_take(rig.transports[i])) != NULL)
            mem_free(reply);
        CHECK(mem_outstanding(rig.transports[i]) == 0);
        CHECK(rig.cores[i]->nr_parked == 0);
    }
    if (++turns % AUDIT_EVERY == 0)
        for (unsigned p = 0; p < rig.nr_partitions; p++)
            CHECK(partition_audit(rig.cores[p % rig.nr_cores]->partitions[p]) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct rig_options options;

    (void)argc, (void)argv;
    for (unsigned i = 0; i < sizeof(values); i++)
        values[i] = (uint8_t)(i * 7 + i / 256);
    rig_defaults(&options);
    options.nr_cores = 2;
    options.data_size = 2u << 20;
    options.sessions_max = 64;
    options.uploads_max = 16;
    options.zero_copy_min = 1024;
    options.live.cookie_ms = 1000;
    options.live.upload_idle_ms = 500;
    rig_open(&rig, &options);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input input = {bytes, len};

    if (take(&input) == 'R')
        run_raw(&input);
    else
        run_steps(&input);
    forget();
    return 0;
}
