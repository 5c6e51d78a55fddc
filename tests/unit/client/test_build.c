/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/crc32c.h"
#include "client/build.h"

static _Alignas(8) uint8_t bytes[KVR_DATAGRAM_MAX + 8];

static const void *record(uint32_t at)
{
    return bytes + sizeof(struct kvr_hdr) + at;
}

static uint32_t finish(struct writer *writer)
{
    struct kvr_hdr hdr = {.id = 7, .session = 8, .kind = 99, .status = 99, .crc = 99};

    return build_finish(writer, &hdr, NULL, 0);
}

static void check_crc(uint32_t len)
{
    struct kvr_hdr hdr;
    uint32_t crc;

    memcpy(&hdr, bytes, sizeof(hdr));
    crc = hdr.crc;
    hdr.crc = 0;
    cr_assert_eq(crc32c(crc32c(0, &hdr, sizeof(hdr)), bytes + sizeof(hdr), len - sizeof(hdr)), crc);
}

Test(build, a_hello_is_as_large_as_its_answer_may_be)
{
    struct writer writer;
    const struct kvr_hello_req *req = record(0);

    build_begin(&writer, bytes);
    build_hello(&writer, 1472);
    cr_assert_eq(finish(&writer), sizeof(struct kvr_hdr) + KVR_HELLO_SIZE);
    check_crc(sizeof(struct kvr_hdr) + KVR_HELLO_SIZE);
    cr_assert_eq(req->op.op, KVR_HELLO);
    cr_assert_eq(req->op.size, KVR_HELLO_SIZE);
    cr_assert_eq(req->version_min, KVR_VERSION);
    cr_assert_eq(req->max_datagram, 1472);
}

Test(build, the_header_says_what_follows)
{
    struct kvr_hdr hdr;
    struct writer writer;
    uint32_t len;

    build_begin(&writer, bytes);
    build_ping(&writer, 42);
    build_stat(&writer);
    len = finish(&writer);
    memcpy(&hdr, bytes, sizeof(hdr));
    cr_assert_eq(hdr.magic, KVR_MAGIC);
    cr_assert_eq(hdr.version, KVR_VERSION);
    cr_assert_eq(hdr.kind, KVR_REQUEST);
    cr_assert_eq(hdr.status, 0);
    cr_assert_eq(hdr.len, len);
    cr_assert_eq(hdr.nr_ops, 2);
    cr_assert_eq(hdr.id, 7);
    check_crc(len);
    cr_assert_eq(((const struct kvr_op *)record(0))->idx, 0);
    cr_assert_eq(((const struct kvr_op *)record(sizeof(struct kvr_ping)))->idx, 1);
}

Test(build, keys_and_values_are_padded_with_zeroes)
{
    for (uint32_t key_len = 1; key_len < 20; key_len++)
        for (uint32_t value_len = 0; value_len < 20; value_len++) {
            struct kvr_put_req req = {.value_len = value_len, .op.flags = KVR_PUT_ADD};
            const struct kvr_put_req *put = record(0);
            const uint8_t *at = record(sizeof(*put));
            struct writer writer;

            memset(bytes, 0xff, sizeof(bytes));
            build_begin(&writer, bytes);
            build_put(&writer, &req, "kkkkkkkkkkkkkkkkkkkk", key_len, "vvvvvvvvvvvvvvvvvvvv");
            finish(&writer);
            cr_assert_eq(put->op.op, KVR_PUT);
            cr_assert_eq(put->op.flags, KVR_PUT_ADD);
            cr_assert_eq(put->op.size, build_put_size(key_len, value_len));
            cr_assert_eq(put->op.size % 8, 0);
            cr_assert_eq(put->op.key_len, key_len);
            for (uint32_t i = 0; i < pad8(key_len); i++)
                cr_assert_eq(at[i], i < key_len ? 'k' : 0);
            for (uint32_t i = 0; i < pad8(value_len); i++)
                cr_assert_eq(at[pad8(key_len) + i], i < value_len ? 'v' : 0);
        }
}

Test(build, a_put_without_value_is_a_reserve)
{
    struct kvr_put_req req = {.value_len = 1 << 20, .frag = 1024};
    const struct kvr_put_req *put = record(0);
    struct writer writer;

    build_begin(&writer, bytes);
    build_put(&writer, &req, "key", 3, NULL);
    cr_assert_eq(put->op.op, KVR_RESERVE);
    cr_assert_eq(put->op.size, sizeof(*put) + 8);
    cr_assert_eq(put->value_len, 1 << 20);
    cr_assert_eq(put->frag, 1024);
}

Test(build, the_tail_of_a_write_counts_like_bytes_of_the_datagram)
{
    const uint8_t value[] = "thirteen byte";
    struct kvr_hdr hdr = {.session = 1};
    struct writer writer;
    uint32_t len;

    build_begin(&writer, bytes);
    build_write(&writer, KVR_WRITE_QUIET, 5, 16, 13);
    len = build_finish(&writer, &hdr, value, 13);
    cr_assert_eq(len, sizeof(struct kvr_hdr) + sizeof(struct kvr_write_req) + 16);
    cr_assert_eq(((const struct kvr_op *)record(0))->size, sizeof(struct kvr_write_req) + 16);
    /* Put together, it must be what was signed. */
    memset(bytes + writer.len, 0, 16);
    memcpy(bytes + writer.len, value, 13);
    check_crc(len);
}

Test(build, a_match_holds_keys_of_one_length_back_to_back_or_each_with_its_own)
{
    struct kvr_match_req *req;
    struct writer writer;

    build_begin(&writer, bytes);
    req = build_match(&writer, KVR_MATCH_REFS, 3, 5, 0);
    for (int i = 0; i < 3; i++)
        build_match_key(&writer, req, "abcde", 5);
    build_match_end(&writer, req);
    cr_assert_eq(req->op.size, sizeof(*req) + 16);
    cr_assert_arr_eq(record(sizeof(*req)), "abcdeabcdeabcde\0", 16);

    build_begin(&writer, bytes);
    req = build_match(&writer, 0, 2, 0, 0);
    build_match_key(&writer, req, "ab", 2);
    build_match_key(&writer, req, "cde", 3);
    build_match_end(&writer, req);
    cr_assert_eq(req->op.size, sizeof(*req) + 16);
    cr_assert_arr_eq(record(sizeof(*req)), "\2\0ab\3\0cde\0\0\0\0\0\0\0", 16);
}

Test(build, a_form_of_gets_makes_what_records_one_by_one_would)
{
    static _Alignas(8) uint8_t copied[KVR_DATAGRAM_MAX], room[KVR_DATAGRAM_MAX];
    const struct kvr_hdr like = {.session = 8, .cookie = 9, .deadline_us = 20000, .tenant = 3};
    struct kvr_get_req req = {.count = 1, .op.flags = KVR_GET_QUIET};

    for (uint32_t key_len = 1; key_len < 40; key_len += 7)
        for (unsigned nr = 1; nr <= 32; nr += 15) {
            struct kvr_hdr hdr = like;
            struct get_form form;
            struct writer writer;

            build_get_form(&form, room, &like, &req, key_len, nr);
            build_gets(&form, copied);
            build_begin(&writer, bytes);
            for (unsigned i = 0; i < nr; i++) {
                uint8_t key[40];

                memset(key, (int)(i + 1), sizeof(key));
                build_get(&writer, &req, key, key_len);
                memcpy(build_gets_key(&form, copied, i), key, key_len);
            }
            hdr.id = 0x123456789abcdef0;
            hdr.partition = 0xbeef;
            cr_assert_eq(build_gets_finish(&form, hdr.id, hdr.partition, copied),
                         build_finish(&writer, &hdr, NULL, 0));
            cr_assert_arr_eq(copied, bytes, form.len, "%u keys of %u bytes", nr, key_len);
        }
}
