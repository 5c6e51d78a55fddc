/* SPDX-License-Identifier: Apache-2.0 */
#include "get_bed.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/random.h"

struct rig rig;
uint8_t value[VALUE];

void get_bed_open(const struct rig_options *options)
{
    struct rng rng;

    rng_seed(&rng, 5);
    for (unsigned i = 0; i < VALUE; i++)
        value[i] = (uint8_t)rng_next(&rng);
    rig_open(&rig, options);
    rig_hello(&rig);
}

void get_bed_close(void)
{
    rig_close(&rig);
}

void get_bed_store(const char *key, uint32_t len, uint64_t *ref)
{
    struct message m;
    struct record record;
    uint8_t bytes[KVR_DATAGRAM_MAX];
    uint64_t handle;
    uint32_t seq;

    rig_begin_write(&rig, &m, key);
    seq = m.hdr.seq;
    message_reserve(&m, key, len, 1024, 0);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    memcpy(&handle, record.body, sizeof(handle));
    for (uint32_t off = 0; off < len; off += 1024) {
        rig_begin(&rig, &m);
        m.hdr.partition = (uint16_t)rig_partition(&rig, key);
        m.hdr.seq = m.hdr.floor = seq;
        message_write(&m, handle, off, value + off, len - off < 1024 ? len - off : 1024,
                      KVR_WRITE_QUIET);
        cr_assert_eq(rig_status(&rig, &m, NULL, NULL), -1);
    }
    rig_begin(&rig, &m);
    m.hdr.partition = (uint16_t)rig_partition(&rig, key);
    m.hdr.seq = m.hdr.floor = seq;
    message_commit(&m, handle, crc32c(0, value, len), len);
    cr_assert_eq(rig_status(&rig, &m, &record, bytes), KVR_OK);
    if (ref)
        memcpy(ref, record.body, sizeof(*ref));
}

void get_bed_fetch(const char *key, const struct kvr_get_req *like, unsigned flags,
                   uint8_t reply_max, struct fetched *fetched)
{
    struct replies replies;
    struct message m;

    memset(fetched, 0, sizeof(*fetched));
    rig_begin(&rig, &m);
    m.hdr.partition = (uint16_t)rig_partition(&rig, key);
    m.hdr.reply_max = reply_max;
    message_get(&m, key, like, flags);
    rig_inject(&rig, &m);
    rig_settle(&rig);
    rig_replies(&rig, &replies);
    for (unsigned i = 0; i < replies.nr; i++) {
        uint32_t at = sizeof(struct kvr_hdr);
        struct kvr_get_rep rep;
        struct record record;

        fetched->datagrams++;
        if (replies.list[i]->len > fetched->largest)
            fetched->largest = replies.list[i]->len;
        while (reply_next(replies.list[i]->bytes, replies.list[i]->len, &at, &record)) {
            cr_assert_eq(record.op.status, KVR_OK);
            memcpy(&rep, record.bytes, sizeof(rep));
            if (fetched->records++ == 0) {
                fetched->first = rep;
                fetched->from = fetched->to = rep.pos;
                fetched->bytes = calloc(1, rep.view_len + 1u);
            }
            cr_assert_eq(rep.pos, fetched->to);
            cr_assert_eq(record.op.size, sizeof(rep) + ((rep.len + 7u) & ~7u));
            memcpy(fetched->bytes + rep.pos, record.bytes + sizeof(rep), rep.len);
            fetched->to += rep.len;
        }
    }
    replies_free(&replies);
}
