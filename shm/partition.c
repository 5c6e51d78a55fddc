/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a block. */
#include "shm/partition.h"
#include <errno.h>

int partition_open(struct arena *arena, unsigned number, const struct partition_options *options,
                   struct partition **out, struct partition_recovery *recovery)
{
    (void)arena;
    (void)number;
    (void)options;
    (void)out;
    (void)recovery;
    return -ENOMEM;
}
void partition_close(struct partition *p)
{
    (void)p;
}
enum kvr_status partition_reserve(struct partition *p, const struct block_request *r,
                                  uint32_t now_ms, uint32_t *block)
{
    (void)p;
    (void)r;
    (void)now_ms;
    (void)block;
    return KVR_NO_SPACE;
}
uint8_t *partition_value(struct partition *p, uint32_t block)
{
    (void)p;
    (void)block;
    return NULL;
}
enum kvr_status partition_seal(struct partition *p, uint32_t block, uint32_t value_crc, bool add,
                               uint32_t now_ms, uint64_t *ref)
{
    (void)p;
    (void)block;
    (void)value_crc;
    (void)add;
    (void)now_ms;
    (void)ref;
    return KVR_INTERNAL;
}
void partition_abort(struct partition *p, uint32_t block)
{
    (void)p;
    (void)block;
}
enum kvr_status partition_del(struct partition *p, struct key_hash hash, const void *key,
                              uint32_t key_len, uint64_t ref, uint32_t now_ms)
{
    (void)p;
    (void)hash;
    (void)key;
    (void)key_len;
    (void)ref;
    (void)now_ms;
    return KVR_MISS;
}
enum kvr_status partition_touch(struct partition *p, struct key_hash hash, const void *key,
                                uint32_t key_len, uint32_t ttl_ms, uint32_t now_ms)
{
    (void)p;
    (void)hash;
    (void)key;
    (void)key_len;
    (void)ttl_ms;
    (void)now_ms;
    return KVR_MISS;
}
enum kvr_status partition_hint(struct partition *p, struct key_hash hash, const void *key,
                               uint32_t key_len, const struct kvr_hint *hint, uint32_t now_ms)
{
    (void)p;
    (void)hash;
    (void)key;
    (void)key_len;
    (void)hint;
    (void)now_ms;
    return KVR_MISS;
}
void partition_hit(struct partition *p, uint32_t block)
{
    (void)p;
    (void)block;
}
bool partition_lease(struct partition *p, uint32_t block, uint32_t lease_ms, uint32_t now_ms)
{
    (void)p;
    (void)block;
    (void)lease_ms;
    (void)now_ms;
    return false;
}
void partition_pin(struct partition *p, uint32_t block)
{
    (void)p;
    (void)block;
}
void partition_unpin(struct partition *p, uint32_t block)
{
    (void)p;
    (void)block;
}
uint64_t partition_pinned(const struct partition *p)
{
    (void)p;
    return 0;
}
bool partition_poll(struct partition *p, uint32_t now_ms)
{
    (void)p;
    (void)now_ms;
    return false;
}
int partition_set_policy(struct partition *p, const char *policy, uint32_t now_ms)
{
    (void)p;
    (void)policy;
    (void)now_ms;
    return -EINVAL;
}
int partition_audit(const struct partition *p)
{
    (void)p;
    return 0;
}
