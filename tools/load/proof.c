/* SPDX-License-Identifier: Apache-2.0 */
/* HELLO is said again after half of the cookie's life, and every so often until it is answered. */
#include "tools/load/proof.h"

#include <stddef.h>
#include <sys/random.h>

#include "base/clock.h"
#include "client/build.h"

#define AGAIN_NS (100 * NS_PER_MS)

void proof_setup(struct proof *s, uint32_t max_datagram)
{
    *s = (struct proof){.max_datagram = max_datagram};
    do {
        if (getrandom(&s->id, sizeof(s->id), 0) < 0)
            s->id = clock_ns() * 0x9e3779b97f4a7c15ull;
    } while (s->id == 0);
}

void proof_hello(struct proof *s, uint8_t *bytes, uint64_t id, uint64_t now_ns)
{
    struct kvr_hdr hdr = {.id = id, .session = s->id, .priority = KVR_NORMAL};
    struct writer writer;

    build_begin(&writer, bytes);
    build_hello(&writer, s->max_datagram);
    build_finish(&writer, &hdr, NULL, 0);
    s->hello_id = id;
    s->sent_ns = now_ns;
    s->due_ns = now_ns + AGAIN_NS;
    s->hellos++;
}

bool proof_answer(struct proof *s, const struct checked_reply *reply)
{
    const struct kvr_hello_rep *hello = (const void *)reply->records[0];

    if (s->hello_id == 0 || reply->hdr.id != s->hello_id || reply->hdr.session != s->id)
        return false;
    s->refused = reply->hdr.status;
    if (reply->hdr.status != KVR_OK || reply->hdr.nr_ops != 1 || hello->op.op != KVR_HELLO ||
        hello->op.status != KVR_OK || reply->hdr.cookie == 0)
        return false;
    s->boots += s->server.boot != 0 && s->server.boot != hello->boot;
    s->server = *hello;
    s->cookie = reply->hdr.cookie;
    s->hello_id = 0;
    s->hellos = 0;
    s->due_ns = s->sent_ns + hello->cookie_ms * NS_PER_MS / 2;
    return true;
}

void proof_refused(struct proof *s)
{
    s->cookie = 0;
    if (s->hello_id == 0)
        s->due_ns = 0;
}
