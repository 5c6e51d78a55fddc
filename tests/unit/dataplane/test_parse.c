/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stddef.h>
#include <string.h>

#include "base/random.h"
#include "dataplane/parse.h"
#include "message.h"
#include "shm/partition.h"
#include "shm/segment.h"

#define SESSION 77u

static const struct parse_env env = {.seed = 42, .nr_partitions = 4, .own_partition = 2};
static struct request request;
static struct parse_fault fault;
static struct message m;

static enum parse_verdict parse(void)
{
    memset(&request, 0xee, sizeof(request));
    request.msg = m.bytes;
    request.len = m.len;
    return parse_request(&env, &request, &fault);
}

static void begin(void)
{
    message_begin(&m, SESSION);
    m.hdr.seq = m.hdr.floor = 1;
}

static void dropped_for(enum drop_reason reason)
{
    cr_assert_eq(parse(), PARSE_DROP);
    cr_assert_eq(fault.reason, reason);
}

static void refused_with(enum kvr_status status, enum drop_reason reason)
{
    cr_assert_eq(parse(), PARSE_REFUSE);
    cr_assert_eq(fault.status, status, "status %d", fault.status);
    cr_assert_eq(fault.reason, reason, "reason %d", fault.reason);
}

/* Overwrites bytes at an offset of the datagram and makes its CRC right again. */
static void poke(uint32_t at, const void *bytes, size_t len)
{
    memcpy(m.bytes + at, bytes, len);
    message_fix_crc(&m);
}

static void poke8(uint32_t at, uint8_t value)
{
    poke(at, &value, sizeof(value));
}

static void poke16(uint32_t at, uint16_t value)
{
    poke(at, &value, sizeof(value));
}

static void poke32(uint32_t at, uint32_t value)
{
    poke(at, &value, sizeof(value));
}

#define RECORD ((uint32_t)sizeof(struct kvr_hdr)) /* where the first record begins */

Test(parse, takes_every_op_and_fills_in_what_later_stages_need)
{
    uint8_t value[24] = "value";
    struct kvr_hint hint = {.parent = 5, .flags = KVR_HINT_ALIVE};

    begin();
    message_get(&m, "get", NULL, KVR_GET_QUIET | KVR_GET_META);
    message_put(&m, "put", value, 21, KVR_PUT_ADD, 1000);
    message_reserve(&m, "reserve", 1u << 20, 1024, 0);
    message_write(&m, 3u << 24, 0, value, 13, KVR_WRITE_QUIET);
    message_commit(&m, 1u << 24, 1, 2);
    message_abort(&m, 1ull << 40);
    message_match(&m, "key", 3, KVR_MATCH_REFS, 0);
    message_key(&m, KVR_DEL, "del", 9, 0, NULL);
    message_key(&m, KVR_TOUCH, "touch", 0, 5, NULL);
    message_key(&m, KVR_HINT, "hint", 0, 0, &hint);
    message_ping(&m, 1);
    message_stat(&m);
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
    cr_assert_eq(request.nr_ops, 12);
    cr_assert_eq(request.nr_open, 12);
    cr_assert_eq(request.nr_mutations, 5);
    cr_assert(request.kinds & 1u << KVR_WRITE);
    cr_assert_eq(request.hdr.session, SESSION);
    cr_assert_eq(request.ops[0].key_len, 3);
    cr_assert_eq(memcmp(request.ops[0].key, "get", 3), 0);
    cr_assert_eq(request.ops[0].hash.lo, hash_key("get", 3, 42).lo);
    cr_assert_eq(request.ops[0].partition, hash_partition(request.ops[0].hash, 4));
    cr_assert_eq(request.ops[1].mutation, 0);
    cr_assert_eq(request.ops[2].mutation, 1);
    cr_assert_eq(request.ops[7].mutation, 2);
    cr_assert_eq(request.ops[9].mutation, 4);
    cr_assert_eq(request.ops[3].partition, 3);
    cr_assert_eq(request.ops[4].partition, 1);
    cr_assert_eq(request.ops[5].partition, 0);
    cr_assert_eq(request.ops[6].partition, hash_partition(hash_key("key0", 4, 42), 4));
    cr_assert_eq(request.ops[10].partition, 2);
    cr_assert_null(request.ops[10].key);
    for (unsigned i = 0; i < 12; i++)
        cr_assert_eq(request.ops[i].state, OP_PENDING);
}

Test(parse, takes_the_ops_of_clients_on_this_host)
{
    begin();
    m.hdr.partition = 3;
    message_place(&m, "key", 70000, KVR_TICKETS - 1, KVR_PUT_ADD);
    message_end_place(&m, KVR_SEAL, 5ull << 32 | 7, 1, 99);
    message_end_place(&m, KVR_DROP, 5ull << 32 | 7, 1, 0);
    message_store(&m, "key", 1ull << 40, 70000, 1, 0);
    message_load(&m, "key", 1, 0, UINT64_MAX);
    message_save(&m, "key", 1, UINT64_MAX, KVR_PUT_ADD);
    message_look(&m, "key", KVR_TICKETS - 1, UINT16_MAX, 9);
    message_end_place(&m, KVR_RELEASE, 1ull << 32, KVR_TICKETS - 1, 0);
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
    cr_assert_eq(request.nr_mutations, 7);
    cr_assert_eq(request.kinds, OPS_LOCAL);
    cr_assert_eq(request.ops[0].partition, hash_partition(hash_key("key", 3, 42), 4));
    cr_assert_eq(request.ops[1].partition, 3, "where the datagram belongs");
    cr_assert_eq(request.ops[2].partition, 3);
    cr_assert_eq(memcmp(request.ops[3].key, "key", 3), 0);
}

Test(parse, refuses_places_with_fields_out_of_range)
{
    begin();
    message_place(&m, "key", 1, KVR_TICKETS, 0);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_end_place(&m, KVR_SEAL, 1, KVR_TICKETS, 0);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_end_place(&m, KVR_DROP, 1, 0, 1);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_end_place(&m, KVR_RELEASE, 1, KVR_TICKETS, 0);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_end_place(&m, KVR_RELEASE, 1, 0, 1);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_look(&m, "key", KVR_TICKETS, 0, 0);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_store(&m, "key", 0, 1, 0, 0);
    message_seal(&m);
    poke32(RECORD + offsetof(struct kvr_store_req, ttl_ms), PARTITION_TTL_MAX_MS + 1);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_store(&m, "key", 0, 1, 0, 0);
    message_seal(&m);
    poke8(RECORD + offsetof(struct kvr_op, size), sizeof(struct kvr_store_req) + 16);
    refused_with(KVR_BAD_LENGTH, DROP_bad_length);
}

static void refused_load(uint32_t at, uint16_t value, enum kvr_status status,
                         enum drop_reason reason)
{
    begin();
    message_load(&m, "key", 0, 0, UINT64_MAX);
    message_seal(&m);
    poke16(RECORD + at, value);
    refused_with(status, reason);
}

Test(parse, refuses_loads_and_saves_with_fields_out_of_range)
{
    refused_load(offsetof(struct kvr_load_req, region), KVR_REGIONS_MAX, KVR_BAD_FIELD,
                 DROP_bad_field);
    refused_load(offsetof(struct kvr_load_req, word), SEGMENT_WORDS, KVR_BAD_FIELD, DROP_bad_field);
    refused_load(offsetof(struct kvr_load_req, first_layer), 1, KVR_BAD_FIELD, DROP_bad_field);
    refused_load(offsetof(struct kvr_op, size), sizeof(struct kvr_load_req) + 16, KVR_BAD_LENGTH,
                 DROP_bad_length);
    begin();
    message_save(&m, "key", KVR_REGIONS_MAX, UINT64_MAX, 0);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_save(&m, "key", 0, UINT64_MAX, 0);
    message_seal(&m);
    poke32(RECORD + offsetof(struct kvr_save_req, ttl_ms), PARTITION_TTL_MAX_MS + 1);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_save(&m, "key", 0, UINT64_MAX, 0);
    message_seal(&m);
    poke32(RECORD + offsetof(struct kvr_save_req, zero), 1);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
}

Test(parse, drops_what_is_no_kvrail_request_without_an_answer)
{
    begin();
    message_ping(&m, 1);
    message_seal(&m);
    for (uint32_t len = 0; len < sizeof(struct kvr_hdr); len++) {
        m.len = len;
        dropped_for(DROP_short_header);
    }
    m.len = 80;
    poke32(offsetof(struct kvr_hdr, magic), 0x12345678);
    dropped_for(DROP_bad_magic);
    poke32(offsetof(struct kvr_hdr, magic), KVR_MAGIC);
    poke8(offsetof(struct kvr_hdr, kind), KVR_REPLY);
    dropped_for(DROP_bad_kind);
    poke8(offsetof(struct kvr_hdr, kind), 0);
    dropped_for(DROP_bad_kind);
    poke8(offsetof(struct kvr_hdr, kind), KVR_REQUEST);
    cr_assert_eq(parse(), PARSE_OK);
}

Test(parse, drops_a_datagram_with_any_one_bit_flipped_or_any_tail_cut_off)
{
    begin();
    message_get(&m, "some key", NULL, 0);
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
    for (uint32_t bit = 0; bit < m.len * 8; bit++) {
        m.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        cr_assert_eq(parse(), PARSE_DROP, "bit %u", bit);
        m.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (uint32_t full = m.len; m.len > 0;) {
        m.len--;
        cr_assert_eq(parse(), PARSE_DROP, "%u of %u bytes", m.len, full);
    }
}

Test(parse, refuses_header_fields_outside_their_range)
{
    begin();
    message_ping(&m, 1);
    message_seal(&m);
    poke8(offsetof(struct kvr_hdr, version), 2);
    refused_with(KVR_BAD_VERSION, DROP_bad_version);
    message_seal(&m);
    poke8(offsetof(struct kvr_hdr, status), 1);
    refused_with(KVR_BAD_FIELD, DROP_bad_header);
    message_seal(&m);
    poke8(offsetof(struct kvr_hdr, priority), KVR_PRIORITIES);
    refused_with(KVR_BAD_FIELD, DROP_bad_header);
    message_seal(&m);
    poke8(offsetof(struct kvr_hdr, nr_ops), 0);
    refused_with(KVR_BAD_FIELD, DROP_bad_header);
    poke8(offsetof(struct kvr_hdr, nr_ops), KVR_OPS_MAX + 1);
    refused_with(KVR_BAD_FIELD, DROP_bad_header);
    message_seal(&m);
    for (uint8_t i = 1; i < 19; i++) {
        poke8(offsetof(struct kvr_hdr, reply_max), i);
        refused_with(KVR_BAD_FIELD, DROP_bad_header);
    }
    poke8(offsetof(struct kvr_hdr, reply_max), 19);
    cr_assert_eq(parse(), PARSE_OK);
    message_seal(&m);
    m.hdr.session = 0;
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_header);
    m.hdr.session = 1;
    m.hdr.partition = 4;
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_header);
}

Test(parse, refuses_lengths_that_do_not_fit)
{
    begin();
    message_get(&m, "abc", NULL, 0); /* 56 + 48 */
    message_seal(&m);
    poke16(offsetof(struct kvr_hdr, len), 96);
    refused_with(KVR_BAD_LENGTH, DROP_bad_length);
    message_seal(&m);
    for (uint16_t size = 0; size < 200; size++) {
        if (size == 48)
            continue;
        poke16(RECORD + offsetof(struct kvr_op, size), size);
        refused_with(KVR_BAD_LENGTH, DROP_bad_length);
    }
    poke16(RECORD + offsetof(struct kvr_op, size), 48);
    cr_assert_eq(parse(), PARSE_OK);
    poke16(RECORD + offsetof(struct kvr_op, key_len), 9); /* one more than there is room for */
    refused_with(KVR_BAD_LENGTH, DROP_bad_length);
    poke16(RECORD + offsetof(struct kvr_op, key_len), 3);
    poke8(offsetof(struct kvr_hdr, nr_ops), 2); /* says one more than there are */
    refused_with(KVR_BAD_LENGTH, DROP_bad_length);
    message_seal(&m);
    m.len += 8; /* bytes behind the last record */
    m.hdr.len = (uint16_t)m.len;
    memcpy(m.bytes, &m.hdr, sizeof(m.hdr));
    message_fix_crc(&m);
    refused_with(KVR_BAD_LENGTH, DROP_bad_length);
}

Test(parse, refuses_unknown_ops_flags_indexes_and_statuses)
{
    static const uint8_t unknown[] = {0, KVR_OPCODES, 31, 64, 255};

    begin();
    message_get(&m, "abc", NULL, 0);
    message_seal(&m);
    for (unsigned i = 0; i < sizeof(unknown); i++) {
        poke8(RECORD, unknown[i]);
        refused_with(KVR_BAD_OP, DROP_bad_op);
        cr_assert_eq(fault.opcode, unknown[i]);
    }
    poke8(RECORD, KVR_GET);
    for (unsigned i = 1; i < 256; i++) {
        poke8(RECORD + offsetof(struct kvr_op, idx), (uint8_t)i);
        refused_with(KVR_BAD_FIELD, DROP_bad_field);
    }
    poke8(RECORD + offsetof(struct kvr_op, idx), 0);
    poke8(RECORD + offsetof(struct kvr_op, flags), 0x10);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    poke8(RECORD + offsetof(struct kvr_op, flags), 0);
    poke8(RECORD + offsetof(struct kvr_op, status), KVR_MISS);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
}

Test(parse, refuses_keys_outside_1_to_1024_bytes)
{
    char key[KVR_KEY_MAX + 2];

    memset(key, 'k', sizeof(key));
    key[KVR_KEY_MAX + 1] = 0;
    begin();
    message_get(&m, key, NULL, 0);
    message_seal(&m);
    refused_with(KVR_BAD_KEY, DROP_bad_key);
    key[KVR_KEY_MAX] = 0;
    begin();
    message_get(&m, key, NULL, 0);
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
    begin();
    message_get(&m, "", NULL, 0);
    message_seal(&m);
    refused_with(KVR_BAD_KEY, DROP_bad_key);
    begin();
    message_ping(&m, 0);
    message_seal(&m);
    poke16(RECORD + offsetof(struct kvr_op, key_len), 1); /* PING has no key */
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
}

Test(parse, refuses_a_hello_that_is_too_short_for_its_answer_or_not_alone)
{
    uint8_t small[KVR_HELLO_SIZE - 8] = {0};

    begin();
    message_record(&m, KVR_HELLO, 0, small, sizeof(small), 0, NULL, 0);
    message_seal(&m);
    refused_with(KVR_BAD_LENGTH, DROP_hello_small);
    begin();
    message_hello(&m);
    message_ping(&m, 0);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_hello(&m);
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
}

static void get_like(struct kvr_get_req like, unsigned flags)
{
    begin();
    message_get(&m, "abc", &like, flags);
    message_seal(&m);
}

Test(parse, checks_the_fields_of_get)
{
    get_like((struct kvr_get_req){.count = 0}, 0);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    get_like((struct kvr_get_req){.count = 2, .len = 0}, 0);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    get_like((struct kvr_get_req){.count = 1, .lease_ms = 5}, 0);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    get_like((struct kvr_get_req){.count = 1, .lease_ms = 0}, KVR_GET_PIN);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    get_like((struct kvr_get_req){.count = 65535, .len = UINT32_MAX, .stride = UINT32_MAX}, 0);
    cr_assert_eq(parse(), PARSE_OK); /* whether it fits the value is known later */
}

static void put_with(uint32_t offset, uint32_t value)
{
    begin();
    message_put(&m, "abc", "0123456789", 10, 0, 0);
    message_seal(&m);
    poke32(RECORD + offset, value);
}

static void reserve_with(uint32_t offset, uint32_t value)
{
    begin();
    message_reserve(&m, "abc", 1u << 20, 1024, 0);
    message_seal(&m);
    poke32(RECORD + offset, value);
}

Test(parse, checks_the_fields_of_put_and_reserve)
{
    static const uint32_t lengths[] = {0, 8, 17, 100, 65535, 65536, UINT32_MAX, UINT32_MAX - 7};
    static const uint32_t frags[] = {0, 8, 504, 513, 516, KVR_DATAGRAM_MAX, UINT32_MAX - 7};

    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        put_with(offsetof(struct kvr_put_req, value_len), lengths[i]);
        refused_with(KVR_BAD_LENGTH, DROP_bad_length);
    }
    put_with(offsetof(struct kvr_put_req, frag), 512);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    put_with(offsetof(struct kvr_put_req, zero2), 1);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    put_with(offsetof(struct kvr_put_req, layout), 0x10000); /* the field behind it */
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    put_with(offsetof(struct kvr_put_req, ttl_ms), PARTITION_TTL_MAX_MS + 1);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    put_with(offsetof(struct kvr_put_req, hint) + offsetof(struct kvr_hint, flags), 4);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    put_with(offsetof(struct kvr_put_req, hint) + offsetof(struct kvr_hint, flags), 0x100);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    for (unsigned i = 0; i < sizeof(frags) / sizeof(frags[0]); i++) {
        reserve_with(offsetof(struct kvr_put_req, frag), frags[i]);
        refused_with(KVR_BAD_FIELD, DROP_bad_field);
    }
    reserve_with(offsetof(struct kvr_put_req, value_crc), 1);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    reserve_with(offsetof(struct kvr_put_req, value_len), UINT32_MAX); /* TOO_LARGE later */
    cr_assert_eq(parse(), PARSE_OK);
}

Test(parse, checks_the_fields_of_write_commit_and_key_ops)
{
    static const uint32_t lengths[] = {0, 8, 17, 65535, 65536, UINT32_MAX, UINT32_MAX - 15};

    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        begin();
        message_write(&m, 0, 0, "0123456789", 10, 0);
        message_seal(&m);
        poke32(RECORD + offsetof(struct kvr_write_req, len), lengths[i]);
        refused_with(KVR_BAD_LENGTH, DROP_bad_length);
    }
    begin();
    message_write(&m, UINT64_MAX, 0, "0123456789", 10, 0); /* a handle of no partition */
    m.hdr.partition = 3;
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
    cr_assert_eq(request.ops[0].partition, 3);
    begin();
    message_key(&m, KVR_TOUCH, "abc", 0, PARTITION_TTL_MAX_MS + 1, NULL);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_key(&m, KVR_DEL, "abc", 0, 0, NULL);
    message_seal(&m);
    poke32(RECORD + offsetof(struct kvr_key_req, zero), 1);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
}

Test(parse, checks_every_key_of_match)
{
    uint8_t fixed[3 * 16] = "sixteen bytes..";
    struct kvr_match_req req = {.nr_keys = 3, .key_size = 16};

    begin();
    message_match(&m, "chain", 40, KVR_MATCH_REFS, 0);
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
    poke16(RECORD + sizeof(req), 7); /* the first key's length: the rest is read askew */
    cr_assert_eq(parse(), PARSE_REFUSE);
    poke16(RECORD + sizeof(req), 0);
    refused_with(KVR_BAD_KEY, DROP_bad_key);
    poke16(RECORD + sizeof(req), 6);
    poke16(RECORD + offsetof(struct kvr_match_req, nr_keys), 60);
    cr_assert_eq(parse(), PARSE_REFUSE);
    poke16(RECORD + offsetof(struct kvr_match_req, nr_keys), 0);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    message_record(&m, KVR_MATCH, 0, &req, sizeof(req), 0, fixed, sizeof(fixed));
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
    poke16(RECORD + offsetof(struct kvr_match_req, key_size), 17);
    refused_with(KVR_BAD_LENGTH, DROP_bad_length);
    poke16(RECORD + offsetof(struct kvr_match_req, key_size), KVR_KEY_MAX + 1);
    refused_with(KVR_BAD_KEY, DROP_bad_key);
    poke16(RECORD + offsetof(struct kvr_match_req, key_size), 8); /* bytes left over */
    refused_with(KVR_BAD_LENGTH, DROP_bad_length);
}

Test(parse, refuses_writes_without_a_seq_and_too_many_of_them)
{
    begin();
    m.hdr.seq = 0;
    message_key(&m, KVR_DEL, "abc", 0, 0, NULL);
    message_seal(&m);
    refused_with(KVR_BAD_FIELD, DROP_bad_field);
    begin();
    for (unsigned i = 0; i < KVR_MUTATIONS_MAX; i++)
        message_key(&m, KVR_DEL, "abc", 0, 0, NULL);
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
    message_key(&m, KVR_DEL, "abc", 0, 0, NULL);
    message_seal(&m);
    refused_with(KVR_LIMIT, DROP_limit);
    begin();
    m.hdr.seq = 0;
    for (unsigned i = 0; i < KVR_OPS_MAX; i++)
        message_get(&m, "abc", NULL, 0);
    message_seal(&m);
    cr_assert_eq(parse(), PARSE_OK);
}

Test(parse, reads_nothing_outside_random_datagrams_and_accepts_only_what_fits)
{
    struct rng rng;
    unsigned accepted = 0;

    rng_seed(&rng, 7);
    for (unsigned turn = 0; turn < 200000; turn++) {
        uint8_t *heap;

        begin();
        message_get(&m, "some key", NULL, 0);
        message_put(&m, "other key", "0123456789abcdef", 16, 0, 0);
        message_match(&m, "chain", 5, 0, 0);
        message_seal(&m);
        for (uint64_t n = rng_below(&rng, 4); n > 0; n--)
            m.bytes[8 + rng_below(&rng, m.len - 8)] = (uint8_t)rng_next(&rng);
        if (rng_below(&rng, 4) == 0)
            m.len = (uint32_t)rng_below(&rng, m.len + 1);
        if (m.len >= sizeof(struct kvr_hdr)) {
            uint16_t len = (uint16_t)m.len;

            memcpy(m.bytes + offsetof(struct kvr_hdr, len), &len, sizeof(len));
            message_fix_crc(&m);
        }
        heap = malloc(m.len + 1); /* exact, so that AddressSanitizer sees one byte too many */
        memcpy(heap, m.bytes, m.len);
        request.msg = heap;
        request.len = m.len;
        if (parse_request(&env, &request, &fault) == PARSE_OK) {
            accepted++;
            for (unsigned i = 0; i < request.nr_ops; i++)
                cr_assert_lt(request.ops[i].partition, 4);
        }
        free(heap);
    }
    cr_assert_gt(accepted, 1000);
}
