/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "client/build.h"
#include "tools/load/proof.h"

static struct proof proof;
static _Alignas(8) uint8_t bytes[1500];
static struct kvr_hello_rep hello = {.op = {.op = KVR_HELLO, .size = sizeof(hello)},
                                     .version = KVR_VERSION,
                                     .nr_partitions = 2,
                                     .max_ops = 32,
                                     .max_datagram = 1472,
                                     .max_value = KVR_VALUE_MAX,
                                     .train_max = 65536,
                                     .cookie_ms = 60000,
                                     .boot = 7};

static struct checked_reply answer(uint64_t id, uint64_t cookie)
{
    struct checked_reply reply = {
        .hdr = {.id = id, .session = proof.id, .cookie = cookie, .nr_ops = 1}};

    reply.records[0] = &hello.op;
    return reply;
}

Test(proof, hello_is_due_at_once_and_again_until_it_is_answered)
{
    struct checked_reply reply;
    struct kvr_hdr hdr;

    proof_setup(&proof, 1472);
    cr_assert_neq(proof.id, 0);
    cr_assert(proof_due(&proof, 1));
    proof_hello(&proof, bytes, 41, 1000);
    memcpy(&hdr, bytes, sizeof(hdr));
    cr_assert_eq(hdr.len, PROOF_HELLO_BYTES);
    cr_assert_eq(hdr.id, 41);
    cr_assert_eq(hdr.session, proof.id);
    cr_assert_eq(hdr.crc, build_crc(bytes, PROOF_HELLO_BYTES, NULL, 0));
    cr_assert_not(proof_due(&proof, 1001));
    cr_assert(proof_due(&proof, 1000 + 100 * NS_PER_MS));
    reply = answer(41, 0xc00c1e);
    cr_assert(proof_answer(&proof, &reply));
    cr_assert_eq(proof.cookie, 0xc00c1e);
    cr_assert_not(proof_due(&proof, 1000 + 29999 * NS_PER_MS));
    cr_assert(proof_due(&proof, 1000 + 30000 * NS_PER_MS), "half of the cookie's life");
    cr_assert_not(proof_answer(&proof, &reply), "a second copy says nothing new");
}

Test(proof, answers_to_others_are_not_believed)
{
    struct checked_reply reply;

    proof_setup(&proof, 1472);
    proof_hello(&proof, bytes, 41, 1000);
    reply = answer(40, 1);
    cr_assert_not(proof_answer(&proof, &reply));
    reply = answer(41, 1);
    reply.hdr.session++;
    cr_assert_not(proof_answer(&proof, &reply));
    reply = answer(41, 0);
    cr_assert_not(proof_answer(&proof, &reply), "no cookie");
    cr_assert_eq(proof.cookie, 0);
}

Test(proof, a_refusal_is_remembered)
{
    struct checked_reply reply;

    proof_setup(&proof, 1472);
    proof_hello(&proof, bytes, 41, 1000);
    reply = answer(41, 5);
    reply.hdr.status = KVR_BAD_VERSION;
    reply.hdr.nr_ops = 0;
    cr_assert_not(proof_answer(&proof, &reply));
    cr_assert_eq(proof.refused, KVR_BAD_VERSION);
}

Test(proof, a_refused_cookie_and_another_server_show)
{
    struct checked_reply reply;

    proof_setup(&proof, 1472);
    proof_hello(&proof, bytes, 41, 1000);
    reply = answer(41, 5);
    cr_assert(proof_answer(&proof, &reply));
    proof_refused(&proof);
    cr_assert_eq(proof.cookie, 0);
    cr_assert(proof_due(&proof, 1001));
    proof_hello(&proof, bytes, 42, 2000);
    proof_refused(&proof);
    cr_assert_not(proof_due(&proof, 2001), "it is on its way already");
    hello.boot = 8;
    reply = answer(42, 6);
    cr_assert(proof_answer(&proof, &reply));
    cr_assert_eq(proof.boots, 1);
}
