/* SPDX-License-Identifier: Apache-2.0 */
/* A server of a few lines on a thread of its own, for what the real one never does on demand: says
 * HELLO, answers every op with success from one stored value, and lets a test's own function answer
 * instead. What it received is kept for the test to look at. */
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kvrail/client.h"

#define FAKE_SEEN_MAX 4096u

struct fake_server;

/* One datagram on its way through the fake. */
struct fake_exchange {
    struct fake_server *fake;
    struct kvr_hdr hdr;
    const struct kvr_op *records[KVR_OPS_MAX];
    struct sockaddr_in6 from;
    socklen_t from_len;
    unsigned nth; /* of all that were no HELLO, from 0 */
    _Alignas(8) uint8_t reply[KVR_DATAGRAM_MAX];
    uint32_t reply_len;
};

struct fake_server {
    int fd;
    uint16_t port;
    pthread_t thread;
    bool stop;
    struct kvr_hello_rep hello;
    uint64_t cookie;
    uint8_t *value;
    uint32_t value_len, value_crc;
    uint64_t ref;
    /* True: the exchange is answered, or shall not be. May be NULL. */
    bool (*answer)(struct fake_exchange *exchange);
    uint64_t number, number2; /* the test's own */
    unsigned nr_seen, nr_hellos;
    struct fake_seen {
        struct kvr_hdr hdr;
        uint8_t op; /* of the first record */
    } seen[FAKE_SEEN_MAX];
};

/* Sets up the defaults; the test may change them before fake_start. */
void fake_setup(struct fake_server *fake);
void fake_start(struct fake_server *fake);
void fake_stop(struct fake_server *fake);
/* A client of it, opened; options may be NULL. */
struct kvr_client *fake_client(struct fake_server *fake, const struct kvr_options *options);
/* All in one: a fresh server that answers like this, and a client of it. */
struct kvr_client *fake_open(struct fake_server *fake, bool (*answer)(struct fake_exchange *));
/* Closes both; what the client had counted. */
struct kvr_client_stats fake_finish(struct fake_server *fake, struct kvr_client *client);
bool fake_is_hello(const struct fake_exchange *exchange);
unsigned fake_count(const struct fake_server *fake, enum kvr_opcode op);

/* Writing replies. begin takes id, session, cookie and seq from the request. */
void fake_begin(struct fake_exchange *exchange, enum kvr_status status);
void *fake_record(struct fake_exchange *exchange, const struct kvr_op *request,
                  enum kvr_status status, uint32_t size);
void fake_send(struct fake_exchange *exchange);
/* A reply without records. */
void fake_refuse(struct fake_exchange *exchange, enum kvr_status status, uint32_t retry_us);
/* What it answers by itself. */
void fake_default(struct fake_exchange *exchange);
void fake_default_record(struct fake_exchange *exchange, const struct kvr_op *request);
