/* SPDX-License-Identifier: Apache-2.0 */
/* Random calls and what may come of them. */
#include "model.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define SHARED_VERSION 1u
#define SLACK_MS 250u

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

static uint32_t value_size(const struct model_key *key, uint32_t version)
{
    uint64_t hash = mix(key->id * 1000003 + version);

    /* Half of them small, a quarter around the size of datagrams, a quarter long. */
    switch (hash >> 62) {
    case 0:
    case 1:
        return (uint32_t)(hash % 512);
    case 2:
        return (uint32_t)(1200 + hash % 16000);
    default:
        return (uint32_t)(hash % MODEL_VALUE_MAX);
    }
}

static uint32_t make_value(const struct model_key *key, uint32_t version, uint8_t *bytes)
{
    uint32_t size = value_size(key, version);
    uint64_t state = mix(key->id) + version * 0x9e3779b97f4a7c15ull;

    for (uint32_t at = 0; at < size; at += 8) {
        uint64_t word = mix(state + at);
        memcpy(bytes + at, &word, size - at < 8 ? size - at : 8);
    }
    return size;
}

[[gnu::format(printf, 2, 3)]] static bool wrong(struct tester *tester, const char *format, ...)
{
    va_list args;

    if (tester->wrong[0] == '\0') {
        va_start(args, format);
        vsnprintf(tester->wrong, sizeof(tester->wrong), format, args);
        va_end(args);
    }
    return false;
}

static void name_key(struct model_key *key, const char *kind, unsigned number, unsigned i)
{
    *key = (struct model_key){.id = (uint64_t)number << 32 | i, .next_version = 1};
    key->name_len = (uint32_t)snprintf(key->name, sizeof(key->name), "%s-%u-%u", kind, number, i);
}

int tester_setup(struct tester *tester, struct kvr_client *client, unsigned number, uint64_t seed,
                 uint32_t timeout_ms)
{
    *tester = (struct tester){.client = client, .timeout_ms = timeout_ms, .slack_ms = SLACK_MS};
    rng_seed(&tester->rng, seed * 64 + number);
    for (unsigned i = 0; i < MODEL_KEYS; i++)
        name_key(&tester->keys[i], "own", number + 1, i);
    for (unsigned i = 0; i < MODEL_SHARED; i++) {
        name_key(&tester->shared[i], "shared", 0, i);
        tester->shared[i].possible[0] = SHARED_VERSION;
        tester->shared[i].nr_possible = 1;
    }
    tester->buffer = malloc(MODEL_VALUE_MAX);
    tester->wanted = malloc(MODEL_VALUE_MAX);
    return tester->buffer && tester->wanted ? 0 : -ENOMEM;
}

void tester_teardown(struct tester *tester)
{
    free(tester->buffer);
    free(tester->wanted);
}

/* Runs the call and checks the one thing that all have in common: it ends in time. */
static bool run(struct tester *tester, struct kvr_call *call)
{
    uint64_t before_ns = clock_ns(), took_ns;

    call->timeout_ms = tester->timeout_ms;
    kvr_do(tester->client, call);
    took_ns = clock_ns() - before_ns;
    if (took_ns > tester->worst_ns)
        tester->worst_ns = took_ns;
    if (call->status == KVR_TIMEOUT)
        tester->timeouts++;
    if (took_ns > (tester->timeout_ms + tester->slack_ms) * NS_PER_MS)
        return wrong(tester, "op %d took %lu ms, deadline %u ms", call->op,
                     (unsigned long)(took_ns / NS_PER_MS), tester->timeout_ms);
    return true;
}

static struct kvr_call call_for(const struct model_key *key, enum kvr_call_op op)
{
    return (struct kvr_call){.op = op, .key = {key->name, key->name_len}};
}

static void only(struct model_key *key, uint32_t version)
{
    key->possible[0] = version;
    key->nr_possible = 1;
}

static bool put_version(struct tester *tester, struct model_key *key, uint32_t version)
{
    struct kvr_call call = call_for(key, KVR_CALL_PUT);

    call.value_len = make_value(key, version, tester->buffer);
    call.value = tester->buffer;
    call.add = key->nr_possible > 0 && rng_below(&tester->rng, 8) == 0;
    tester->puts++;
    if (!run(tester, &call))
        return false;
    switch (call.status) {
    case KVR_OK:
        tester->put_oks++;
        only(key, version);
        return true;
    case KVR_EXISTS:
        /* Also when an answer got lost and the server had already stored this very version. */
        if (!call.add)
            return wrong(tester, "%s: EXISTS without ADD", key->name);
        [[fallthrough]];
    case KVR_TIMEOUT:
    case KVR_BUSY:
    case KVR_LIMIT:
    case KVR_NO_SPACE:
        tester->refused += call.status != KVR_TIMEOUT;
        key->possible[key->nr_possible++] = version;
        return true;
    default:
        return wrong(tester, "%s: PUT of %zu bytes says %s", key->name, call.value_len,
                     kvr_status_name(call.status));
    }
}

void tester_share(struct tester *tester)
{
    for (unsigned i = 0; i < MODEL_SHARED; i++) {
        (void)put_version(tester, &tester->shared[i], SHARED_VERSION);
        only(&tester->shared[i], SHARED_VERSION);
    }
}

static bool put(struct tester *tester, struct model_key *key)
{
    return put_version(tester, key, key->next_version++);
}

/* Keeps the possible versions whose bytes these are. view: [off, off + len) of the value. */
static bool narrow(struct tester *tester, struct model_key *key, const struct kvr_call *call,
                   uint32_t off, bool view)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < key->nr_possible; i++) {
        uint32_t size = make_value(key, key->possible[i], tester->wanted);

        if (call->stored_len != size || (!view && call->result_len != size))
            continue;
        if (memcmp(tester->buffer, tester->wanted + off, call->result_len) == 0)
            key->possible[kept++] = key->possible[i];
    }
    if (kept == 0)
        return wrong(tester, "%s: %zu bytes at %u of %u are none of %u possible values", key->name,
                     call->result_len, off, call->stored_len, key->nr_possible);
    key->nr_possible = kept;
    return true;
}

static bool got(struct tester *tester, struct model_key *key, const struct kvr_call *call,
                uint32_t off, bool view)
{
    switch (call->status) {
    case KVR_OK:
        tester->hits++;
        return narrow(tester, key, call, off, view);
    case KVR_MISS:
        tester->misses++;
        key->nr_possible = 0;
        return true;
    case KVR_BAD_RANGE:
        return view ? true : wrong(tester, "%s: whole GET says BAD_RANGE", key->name);
    case KVR_TIMEOUT:
    case KVR_BUSY:
        return true;
    default:
        return wrong(tester, "%s: GET says %s", key->name, kvr_status_name(call->status));
    }
}

static bool get(struct tester *tester, struct model_key *key)
{
    struct kvr_call call = call_for(key, KVR_CALL_GET);

    call.buffer = tester->buffer;
    call.buffer_len = MODEL_VALUE_MAX;
    tester->gets++;
    return run(tester, &call) && got(tester, key, &call, 0, false);
}

static bool get_view(struct tester *tester, struct model_key *key)
{
    struct kvr_call call = call_for(key, KVR_CALL_GET);
    uint32_t size;

    if (key->nr_possible == 0)
        return get(tester, key);
    size = value_size(key, key->possible[key->nr_possible - 1]);
    if (size < 2)
        return get(tester, key);
    call.off = (uint32_t)rng_below(&tester->rng, size - 1);
    call.len = (uint32_t)(1 + rng_below(&tester->rng, size - call.off));
    call.buffer = tester->buffer;
    call.buffer_len = MODEL_VALUE_MAX;
    tester->gets++;
    if (!run(tester, &call))
        return false;
    if (call.status == KVR_OK && call.result_len != call.len)
        return wrong(tester, "%s: view of %u bytes gave %zu", key->name, call.len, call.result_len);
    return got(tester, key, &call, call.off, true);
}

static bool del(struct tester *tester, struct model_key *key)
{
    struct kvr_call call = call_for(key, KVR_CALL_DEL);

    tester->others++;
    if (!run(tester, &call))
        return false;
    if (call.status == KVR_OK || call.status == KVR_MISS)
        key->nr_possible = 0;
    else if (call.status != KVR_TIMEOUT && call.status != KVR_BUSY && call.status != KVR_LIMIT)
        return wrong(tester, "%s: DEL says %s", key->name, kvr_status_name(call.status));
    return true;
}

static bool touch(struct tester *tester, struct model_key *key)
{
    struct kvr_call call = call_for(key, KVR_CALL_TOUCH);

    tester->others++;
    if (!run(tester, &call))
        return false;
    if (call.status == KVR_MISS)
        key->nr_possible = 0;
    if (call.status == KVR_OK && key->nr_possible == 0)
        return wrong(tester, "%s: TOUCH found what cannot be there", key->name);
    return true;
}

static bool may_have_size(const struct model_key *key, uint32_t size)
{
    for (uint32_t i = 0; i < key->nr_possible; i++)
        if (value_size(key, key->possible[i]) == size)
            return true;
    return false;
}

static bool match(struct tester *tester)
{
    struct kvr_key keys[MODEL_KEYS];
    struct kvr_match matches[MODEL_KEYS];
    struct kvr_call call = {
        .op = KVR_CALL_MATCH, .keys = keys, .nr_keys = MODEL_KEYS, .matches = matches};

    for (unsigned i = 0; i < MODEL_KEYS; i++)
        keys[i] = (struct kvr_key){tester->keys[i].name, tester->keys[i].name_len};
    tester->matches++;
    if (!run(tester, &call))
        return false;
    if (call.status != KVR_OK)
        return call.status == KVR_TIMEOUT || call.status == KVR_BUSY ||
               wrong(tester, "MATCH says %s", kvr_status_name(call.status));
    for (unsigned i = 0; i < MODEL_KEYS; i++) {
        if (i < call.prefix && !matches[i].present)
            return wrong(tester, "MATCH: key %u is absent inside the prefix %u", i, call.prefix);
        if (i == call.prefix && matches[i].present)
            return wrong(tester, "MATCH: prefix ends at a present key");
        if (matches[i].present && !may_have_size(&tester->keys[i], matches[i].value_len))
            return wrong(tester, "MATCH: %s with %u bytes cannot be there", tester->keys[i].name,
                         matches[i].value_len);
    }
    return true;
}

static bool read_shared(struct tester *tester)
{
    struct model_key *key = &tester->shared[rng_below(&tester->rng, MODEL_SHARED)];
    bool good = get(tester, key);

    if (good && key->nr_possible == 0 && rng_below(&tester->rng, 4) == 0)
        good = put_version(tester, key, SHARED_VERSION);
    only(key, SHARED_VERSION);
    return good;
}

bool tester_step(struct tester *tester)
{
    struct model_key *key = &tester->keys[rng_below(&tester->rng, MODEL_KEYS)];
    uint64_t dice = rng_below(&tester->rng, 100);

    /* No room to remember one more: ask which it is before writing again. */
    if (key->nr_possible >= MODEL_POSSIBLE - 1)
        return get(tester, key);
    if (dice < 38)
        return put(tester, key);
    if (dice < 72)
        return get(tester, key);
    if (dice < 80)
        return get_view(tester, key);
    if (dice < 84)
        return del(tester, key);
    if (dice < 88)
        return touch(tester, key);
    if (dice < 92)
        return match(tester);
    return read_shared(tester);
}
