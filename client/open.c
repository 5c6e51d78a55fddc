/* SPDX-License-Identifier: Apache-2.0 */
/* A handle's beginning, its end, and what it knows of itself. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/crc32c.h"
#include "base/hash.h"
#include "client/datagram.h"
#include "client/link.h"
#include "client/local.h"
#include "client/look.h"
#include "client/poll.h"
#include "client/session.h"
#include "client/task.h"
#include "client/transfer.h"
#include "client/url.h"

#define FIRST_TRY_NS (50 * NS_PER_MS) /* per address; doubles every round */
/* What the kernel delivers at once may be many datagrams. 17 lines more, so that the buffers' first
 * lines do not all fall on the same place of the caches. */
#define IN_SIZE (65536u + 17u * 64u)

void kvr_options_init(struct kvr_options *options)
{
    *options = (struct kvr_options){.size = sizeof(*options),
                                    .timeout_ms = 1000,
                                    .connect_ms = 2000,
                                    .window_bytes = 1u << 20,
                                    .max_inflight = 128,
                                    .priority = KVR_NORMAL};
}

/* What the caller's header knows, over the defaults; 0 means the default where it makes no sense.
 */
static bool take_options(struct kvr_client *client, const struct kvr_options *given)
{
    struct kvr_options *own = &client->options, defaults;

    kvr_options_init(&defaults);
    *own = defaults;
    if (given) {
        if (given->size < sizeof(given->size) || given->priority >= KVR_PRIORITIES)
            return false;
        memcpy(own, given, given->size < sizeof(*own) ? given->size : sizeof(*own));
    }
    if (own->timeout_ms == 0)
        own->timeout_ms = defaults.timeout_ms;
    if (own->connect_ms == 0)
        own->connect_ms = defaults.connect_ms;
    if (own->window_bytes == 0)
        own->window_bytes = defaults.window_bytes;
    if (own->max_inflight == 0)
        own->max_inflight = defaults.max_inflight;
    if (own->max_inflight > KVR_WINDOW)
        own->max_inflight = KVR_WINDOW;
    if (own->max_inflight < 8)
        own->max_inflight = 8;
    return own->max_datagram == 0 || own->max_datagram >= KVR_DATAGRAM_MIN_MAX;
}

static void seed_jitter(struct kvr_client *client)
{
    uint64_t seed = client->options.rng_seed;

    if (seed == 0 && getrandom(&seed, sizeof(seed), 0) < 0)
        seed = clock_ns();
    rng_seed(&client->rng, seed);
}

static enum kvr_status create(const struct kvr_options *options, struct kvr_client **out)
{
    struct kvr_client *client = calloc(1, sizeof(*client));

    if (!client)
        return KVR_NO_MEMORY;
    *out = client;
    client->wire = &wire_udp;
    client->frag_shift = crc32c_shift(KVR_FRAG_BEST);
    client->now_ns = clock_ns();
    client->next_due_ns = client->next_deadline_ns = client->next_delayed_ns = NEVER;
    client->mtu_payload = client->max_datagram = KVR_DATAGRAM_MAX;
    TAILQ_INIT(&client->tasks);
    TAILQ_INIT(&client->completed);
    TAILQ_INIT(&client->delayed);
    TAILQ_INIT(&client->spare_tasks);
    TAILQ_INIT(&client->spare);
    TAILQ_INIT(&client->transfers);
    if (!take_options(client, options))
        return KVR_INVALID;
    seed_jitter(client);
    client->in_size = IN_SIZE;
    client->in_bytes = malloc((size_t)IN_MAX * client->in_size);
    if (!client->in_bytes || !wake_create(client) || !datagrams_create(client))
        return KVR_NO_MEMORY;
    return KVR_OK;
}

static void close_links(struct kvr_client *client)
{
    for (unsigned p = 0; p < KVR_PARTITIONS_MAX; p++)
        link_close(client, (uint16_t)p);
    client->nr_links = 0;
}

void kvr_close(struct kvr_client *client)
{
    if (!client)
        return;
    client->closing = true;
    client->now_ns = clock_ns();
    tasks_destroy(client);
    (void)transfers_report(client);
    looks_free(client);
    regions_free(client);
    close_links(client);
    datagrams_destroy(client);
    local_close(client);
    wake_destroy(client);
    free(client->in_bytes);
    free(client);
}

/* Says HELLO on the first link until it is answered, refused for good, or the time is over. */
static enum kvr_status greet(struct kvr_client *client, uint64_t until_ns)
{
    if (link_open(client, 0) != 0)
        return KVR_UNREACHABLE;
    client->nr_links = 1;
    session_begin(client);
    session_hello(client->links[0]);
    while (!client->greeted && client->refused == KVR_OK && client->now_ns < until_ns)
        poll_wait(client, until_ns);
    if (client->greeted)
        return KVR_OK;
    close_links(client);
    return client->refused != KVR_OK ? client->refused : KVR_UNREACHABLE;
}

static enum kvr_status open_local(struct kvr_client *client, const char *path)
{
    uint64_t until_ns = client->now_ns + client->options.connect_ms * NS_PER_MS;
    enum kvr_status status = local_open(client, path);

    client->wire = &wire_ring;
    client->now_ns = clock_ns();
    return status == KVR_OK ? greet(client, until_ns) : status;
}

static enum kvr_status try_address(struct kvr_client *client, const struct addrinfo *address,
                                   uint64_t until_ns)
{
    client->now_ns = clock_ns();
    memcpy(&client->address, address->ai_addr, address->ai_addrlen);
    client->address_len = address->ai_addrlen;
    client->mtu_payload = client->max_datagram = KVR_DATAGRAM_MAX;
    return greet(client, until_ns);
}

/* All addresses in turn, longer every round: a name may have one that nobody listens at. */
static enum kvr_status connect_any(struct kvr_client *client, const struct addrinfo *addresses)
{
    uint64_t end_ns = clock_ns() + client->options.connect_ms * NS_PER_MS;
    uint64_t share_ns = addresses->ai_next ? FIRST_TRY_NS : NEVER;

    while (clock_ns() < end_ns) {
        for (const struct addrinfo *at = addresses; at; at = at->ai_next) {
            uint64_t now_ns = clock_ns();
            uint64_t left_ns = end_ns > now_ns ? end_ns - now_ns : 0;
            enum kvr_status status =
                try_address(client, at, now_ns + (left_ns < share_ns ? left_ns : share_ns));

            if (status == KVR_OK || status == KVR_BAD_VERSION)
                return status;
        }
        share_ns = share_ns == NEVER ? NEVER : 2 * share_ns;
        if (client->links[0] == NULL && clock_ns() < end_ns) {
            struct timespec pause = {.tv_nsec = (long)NS_PER_MS};
            nanosleep(&pause, NULL); /* no route at all: do not spin until there is one */
        }
    }
    return KVR_UNREACHABLE;
}

static enum kvr_status open_udp(struct kvr_client *client, const struct url *url)
{
    struct addrinfo wanted = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    enum kvr_status status;
    char port[8];

    client->port = url->port;
    snprintf(port, sizeof(port), "%u", url->port);
    if (getaddrinfo(url->host, port, &wanted, &addresses) != 0)
        return KVR_UNREACHABLE;
    status = connect_any(client, addresses);
    freeaddrinfo(addresses);
    return status;
}

enum kvr_status kvr_open(const char *text, const struct kvr_options *options,
                         struct kvr_client **out)
{
    struct kvr_client *client = NULL;
    enum kvr_status status;
    struct url url;

    if (!text || !out || url_parse(text, &url) != 0)
        return KVR_INVALID;
    *out = NULL;
    status = create(options, &client);
    if (status == KVR_OK)
        status = url.scheme == URL_SHM ? open_local(client, url.path) : open_udp(client, &url);
    if (status == KVR_OK)
        *out = client;
    else
        kvr_close(client);
    return status;
}

void kvr_server_info(const struct kvr_client *client, struct kvr_server_info *info)
{
    const struct kvr_hello_rep *hello = &client->hello;

    *info = (struct kvr_server_info){.version = hello->version,
                                     .nr_partitions = hello->nr_partitions,
                                     .max_datagram = client->max_datagram,
                                     .max_value = hello->max_value,
                                     .train_max = hello->train_max,
                                     .seed = hello->seed,
                                     .boot = hello->boot,
                                     .arena = hello->arena};
    if (client->links[0])
        info->rtt_ns = client->links[0]->flow.srtt_ns;
}

void kvr_client_stats(const struct kvr_client *client, struct kvr_client_stats *stats)
{
    *stats = client->stats;
}

uint64_t kvr_key_id(const struct kvr_client *client, const void *key, size_t key_len)
{
    return hash_key(key, key_len, client->hello.seed).lo;
}

const char *kvr_version(void)
{
    return KVRAIL_VERSION;
}
