/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail-pcap make`: options, cookies, frames, file. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "perf/pktgen/capture.h"
#include "perf/pktgen/commands.h"
#include "perf/pktgen/flows.h"
#include "perf/pktgen/options.h"
#include "perf/pktgen/requests.h"
#include "tools/ctl.h"

#define CONTROL_MS 3000u

struct make {
    const char *path, *interface, *control, *sizes_text;
    struct flows_spec flows;
    struct requests_spec requests;
    uint64_t frames;
    uint8_t client_mac[6]; /* of the frames; HELLO comes from the interface's */
    bool has_server, has_mac, has_client, has_client_mac, client_ipv6, json;
};

enum {
    OPT_SERVER = 256,
    OPT_PORT,
    OPT_MAC,
    OPT_CONTROL,
    OPT_INTERFACE,
    OPT_CLIENT,
    OPT_CLIENT_MAC
};
enum {
    OPT_FLOWS = 300,
    OPT_ADDRESSES,
    OPT_FIRST_PORT,
    OPT_FRAMES,
    OPT_MIX,
    OPT_KEYS,
    OPT_KEY_SIZE
};
enum { OPT_SIZE = 400, OPT_DIST, OPT_BATCH, OPT_CHAIN, OPT_KEYSPACE, OPT_SEED, OPT_MTU };
enum { OPT_OUT = 'o', OPT_JSON = 'j', OPT_HELP = 'h' };

static const struct option options[] = {{"out", required_argument, NULL, OPT_OUT},
                                        {"server", required_argument, NULL, OPT_SERVER},
                                        {"port", required_argument, NULL, OPT_PORT},
                                        {"mac", required_argument, NULL, OPT_MAC},
                                        {"control", required_argument, NULL, OPT_CONTROL},
                                        {"interface", required_argument, NULL, OPT_INTERFACE},
                                        {"client", required_argument, NULL, OPT_CLIENT},
                                        {"client-mac", required_argument, NULL, OPT_CLIENT_MAC},
                                        {"flows", required_argument, NULL, OPT_FLOWS},
                                        {"addresses", required_argument, NULL, OPT_ADDRESSES},
                                        {"first-port", required_argument, NULL, OPT_FIRST_PORT},
                                        {"frames", required_argument, NULL, OPT_FRAMES},
                                        {"mix", required_argument, NULL, OPT_MIX},
                                        {"keys", required_argument, NULL, OPT_KEYS},
                                        {"key-size", required_argument, NULL, OPT_KEY_SIZE},
                                        {"size", required_argument, NULL, OPT_SIZE},
                                        {"dist", required_argument, NULL, OPT_DIST},
                                        {"batch", required_argument, NULL, OPT_BATCH},
                                        {"chain", required_argument, NULL, OPT_CHAIN},
                                        {"keyspace", required_argument, NULL, OPT_KEYSPACE},
                                        {"seed", required_argument, NULL, OPT_SEED},
                                        {"mtu", required_argument, NULL, OPT_MTU},
                                        {"json", no_argument, NULL, OPT_JSON},
                                        {"help", no_argument, NULL, OPT_HELP},
                                        {0}};

static void usage(FILE *out)
{
    fputs("usage: kvrail-pcap make --out FILE --interface NAME --client ADDRESS\n"
          "                        (--control PATH | --server ADDRESS --mac MAC) [OPTION...]\n"
          "  --interface NAME    where the server can be reached, for HELLO\n"
          "  --control PATH      kvraild's control socket: tells address, port and MAC\n"
          "  --server ADDRESS, --port N, --mac MAC    of the server\n"
          "  --client ADDRESS    of the first client; not one of this host's own\n"
          "  --client-mac MAC    of the frames; default: of the interface\n"
          "  --flows N           clients, each with address, port, session; default 64\n"
          "  --addresses N       different addresses of them, one after the other; default 1\n"
          "  --first-port N      default 40000\n"
          "  --frames N          default 16384\n"
          "  --mix LIST          get, put, match, as in get:90,put:10; default get\n"
          "  --keys N            default 10k; numbers, sizes and contents as in kvrail bench\n"
          "  --key-size BYTES    8 to 1024, default 16\n"
          "  --size BYTES        of values, or a mix 64:50,1KiB:50; default 64\n"
          "  --dist DIST         zipf:EXPONENT, uniform or sequential; default zipf:0.99\n"
          "  --batch N           operations in a datagram, 1 to 32 (with put: 16); default 1\n"
          "  --chain N           keys of a MATCH; default 32\n"
          "  --keyspace N, --seed N, --mtu N    default 0, 1, the interface's\n"
          "  --json              what was made as an object\n",
          out);
}

static bool read_mix(const char *text, uint64_t weights[REQUEST_KINDS])
{
    char copy[128], *rest = copy, *word;

    memset(weights, 0, REQUEST_KINDS * sizeof(weights[0]));
    if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
        return option_wrong("mix", text, "too long");
    while ((word = strsep(&rest, ","))) {
        char *colon = strchr(word, ':');
        uint64_t weight = 1;
        unsigned kind = 0;

        if (colon)
            *colon = 0;
        while (kind < REQUEST_KINDS && strcmp(word, request_names[kind]) != 0)
            kind++;
        if (kind == REQUEST_KINDS)
            return option_wrong("mix", text, "has something else than get, put, match");
        if (colon && !option_count("mix", colon + 1, 1, 1000000, &weight))
            return false;
        weights[kind] = weight;
    }
    return true;
}

static bool read_dist(const char *text, struct requests_spec *spec)
{
    char *end;

    spec->order = ORDER_ZIPF;
    if (strcmp(text, "uniform") == 0)
        spec->order = ORDER_UNIFORM;
    else if (strcmp(text, "sequential") == 0)
        spec->order = ORDER_SEQUENTIAL;
    else if (strncmp(text, "zipf:", 5) == 0) {
        spec->exponent = strtod(text + 5, &end);
        if (end == text + 5 || *end != 0 || !(spec->exponent > 0 && spec->exponent <= 10))
            return option_wrong("dist", text, "the exponent is not above 0 and at most 10");
    } else if (strcmp(text, "zipf") != 0) {
        return option_wrong("dist", text, "not zipf:EXPONENT, uniform or sequential");
    }
    return true;
}

/* Options about the two sides. */
static bool read_side(int id, const char *text, struct make *make)
{
    struct peer *first = &make->flows.first;
    uint64_t n;

    switch (id) {
    case OPT_SERVER:
        make->has_server = true;
        return option_address("server", text, first->ip, &first->ipv6);
    case OPT_PORT:
        if (!option_count("port", text, 1, UINT16_MAX, &n))
            return false;
        first->port = (uint16_t)n;
        return true;
    case OPT_MAC:
        make->has_mac = true;
        return option_mac("mac", text, first->mac);
    case OPT_CLIENT:
        make->has_client = true;
        return option_address("client", text, first->local_ip, &make->client_ipv6);
    case OPT_CLIENT_MAC:
        make->has_client_mac = true;
        return option_mac("client-mac", text, make->client_mac);
    case OPT_FLOWS:
        if (!option_count("flows", text, 1, FLOWS_MAX, &n))
            return false;
        make->flows.nr = (unsigned)n;
        return true;
    case OPT_ADDRESSES:
        if (!option_count("addresses", text, 1, FLOWS_MAX, &n))
            return false;
        make->flows.nr_addresses = (unsigned)n;
        return true;
    default:
        if (!option_count("first-port", text, 1024, UINT16_MAX, &n))
            return false;
        make->flows.first_port = (uint16_t)n;
        return true;
    }
}

static bool read_number(const char *name, const char *text, uint64_t min, uint64_t max,
                        unsigned *value)
{
    uint64_t n;

    if (!option_count(name, text, min, max, &n))
        return false;
    *value = (unsigned)n;
    return true;
}

/* Options about the requests. */
static bool read_load(int id, const char *text, struct make *make)
{
    struct requests_spec *spec = &make->requests;

    switch (id) {
    case OPT_FRAMES:
        return option_count("frames", text, 1, 100000000, &make->frames);
    case OPT_MIX:
        return read_mix(text, spec->weights);
    case OPT_KEYS:
        return option_count("keys", text, 1, 1ull << 40, &spec->keys);
    case OPT_KEY_SIZE:
        return read_number("key-size", text, 8, KVR_KEY_MAX, &spec->key_len);
    case OPT_SIZE:
        make->sizes_text = text;
        if (sizes_parse(text, &spec->sizes) == 0)
            return true;
        return option_wrong("size", text, "not a size, nor sizes with weights as in 64:50,1KiB:50");
    case OPT_DIST:
        return read_dist(text, spec);
    case OPT_BATCH:
        return read_number("batch", text, 1, KVR_OPS_MAX, &spec->batch);
    case OPT_CHAIN:
        return read_number("chain", text, 1, 4096, &spec->chain);
    case OPT_KEYSPACE:
        return option_count("keyspace", text, 0, UINT32_MAX, &spec->salt);
    case OPT_SEED:
        return option_count("seed", text, 0, UINT64_MAX, &spec->seed);
    default:
        return read_number("mtu", text, 1280, 9000, &spec->mtu);
    }
}

/* 0, 1: help was shown, -EINVAL. */
static int read_options(int argc, char **argv, struct make *make)
{
    int id;

    while ((id = getopt_long(argc, argv, "o:jh", options, NULL)) >= 0) {
        bool good = id != '?';

        if (id == OPT_HELP) {
            usage(stdout);
            return 1;
        }
        if (id == OPT_OUT)
            make->path = optarg;
        else if (id == OPT_JSON)
            make->json = true;
        else if (id == OPT_INTERFACE)
            make->interface = optarg;
        else if (id == OPT_CONTROL)
            make->control = optarg;
        else if (id <= OPT_FIRST_PORT && good)
            good = read_side(id, optarg, make);
        else if (good)
            good = read_load(id, optarg, make);
        if (!good)
            return -EINVAL;
    }
    if (optind < argc) {
        log_error("%s: not an option", argv[optind]);
        return -EINVAL;
    }
    return 0;
}

/* What kvraild says of its device, where the options do not. */
static int ask_control(struct make *make)
{
    struct peer *first = &make->flows.first;
    json_t *answer, *device;
    char address[64];
    bool good = true;
    int rc =
        ctl_exchange(make->control, CONTROL_MS, json_pack("{s:s}", "command", "status"), &answer);

    if (rc) {
        log_error("--control %s: %s", make->control, strerror(-rc));
        return rc;
    }
    device = json_object_get(json_object_get(answer, "result"), "device");
    if (!make->has_server) {
        snprintf(address, sizeof(address), "%s",
                 ctl_text(device, make->client_ipv6 ? "ipv6" : "ipv4"));
        address[strcspn(address, "/")] = 0;
        good = option_address("server", address, first->ip, &first->ipv6);
        make->has_server = true;
    }
    if (good && !make->has_mac)
        good = make->has_mac = option_mac("mac", ctl_text(device, "mac"), first->mac);
    if (first->port == 0)
        first->port = (uint16_t)ctl_number(device, "port");
    json_decref(answer);
    return good ? 0 : -EINVAL;
}

static int complete(struct make *make)
{
    struct peer *first = &make->flows.first;
    const struct requests_spec *spec = &make->requests;
    int rc = 0;

    if (!make->path || !make->interface || !make->has_client) {
        log_error("--out, --interface and --client are needed");
        return -EINVAL;
    }
    if (make->control)
        rc = ask_control(make);
    if (rc)
        return rc;
    if (!make->has_server || !make->has_mac) {
        log_error("--control, or --server and --mac are needed");
        return -EINVAL;
    }
    if (first->ipv6 != make->client_ipv6) {
        log_error("--client and --server are not of the same family");
        return -EINVAL;
    }
    if (first->port == 0)
        first->port = KVR_PORT;
    if (spec->weights[REQUEST_PUT] > 0 && spec->batch > KVR_MUTATIONS_MAX) {
        log_error("--batch %u: a datagram with PUTs has %u operations at most", spec->batch,
                  KVR_MUTATIONS_MAX);
        return -EINVAL;
    }
    return 0;
}

static int write_frames(const struct make *make, struct requests *requests,
                        struct capture_writer *writer)
{
    uint8_t frame[CAPTURE_FRAME_MAX];
    int rc = capture_create(writer, make->path);

    if (rc)
        return rc;
    for (uint64_t i = 0; i < make->frames; i++)
        capture_add(writer, frame, requests_next(requests, frame), i);
    return capture_finish(writer);
}

static void report(const struct make *make, const struct flows *flows,
                   const struct requests *requests, const struct capture_writer *writer)
{
    const uint64_t *ops = requests->ops;
    unsigned valid_s = flows->hello.cookie_ms / 1000;

    if (make->json)
        printf("{\"file\": \"%s\", \"frames\": %llu, \"bytes\": %llu, \"flows\": %u, "
               "\"partitions\": %u, \"gets\": %llu, \"puts\": %llu, \"matches\": %llu, "
               "\"valid_ms\": %u}\n",
               make->path, (unsigned long long)writer->frames, (unsigned long long)writer->bytes,
               flows->nr, flows->hello.nr_partitions, (unsigned long long)ops[REQUEST_GET],
               (unsigned long long)ops[REQUEST_PUT], (unsigned long long)ops[REQUEST_MATCH],
               flows->hello.cookie_ms);
    else
        printf("%s: %llu frames of %.1f bytes from %u clients to %u partitions: %llu get, "
               "%llu put, %llu match; its cookies are valid for %u to %u s from now\n",
               make->path, (unsigned long long)writer->frames,
               (double)writer->bytes / (double)writer->frames, flows->nr,
               flows->hello.nr_partitions, (unsigned long long)ops[REQUEST_GET],
               (unsigned long long)ops[REQUEST_PUT], (unsigned long long)ops[REQUEST_MATCH],
               valid_s, 2 * valid_s);
}

static int run(struct make *make)
{
    struct capture_writer writer;
    struct requests requests;
    struct flows flows;
    struct wire wire;
    int rc = wire_open(&wire, make->interface);

    if (rc)
        return rc;
    memcpy(make->flows.first.local_mac, wire.mac, sizeof(wire.mac));
    if (make->requests.mtu == 0)
        make->requests.mtu = wire.mtu < 9000 ? wire.mtu : 9000;
    rc = flows_create(&make->flows, &flows);
    if (rc)
        goto close_wire;
    rc = flows_greet(&flows, &wire);
    if (rc)
        goto destroy_flows;
    for (unsigned i = 0; make->has_client_mac && i < flows.nr; i++)
        memcpy(flows.list[i].peer.local_mac, make->client_mac, sizeof(make->client_mac));
    rc = requests_open(&requests, &make->requests, &flows);
    if (rc)
        goto destroy_flows;
    rc = write_frames(make, &requests, &writer);
    if (rc == 0)
        report(make, &flows, &requests, &writer);
    requests_close(&requests);
destroy_flows:
    flows_destroy(&flows);
close_wire:
    wire_close(&wire);
    return rc;
}

int command_make(int argc, char **argv)
{
    struct make make = {.flows = {.nr = 64, .nr_addresses = 1, .first_port = 40000},
                        .requests = {.weights = {[REQUEST_GET] = 1},
                                     .keys = 10000,
                                     .key_len = 16,
                                     .order = ORDER_ZIPF,
                                     .exponent = 0.99,
                                     .seed = 1,
                                     .batch = 1,
                                     .chain = 32},
                        .sizes_text = "64",
                        .frames = 16384};
    int rc;

    if (sizes_parse(make.sizes_text, &make.requests.sizes))
        return 1;
    rc = read_options(argc, argv, &make);
    if (rc > 0)
        return 0;
    /* As kvrail bench does: other sizes are other keys. */
    make.requests.salt = hash_key(make.sizes_text, strlen(make.sizes_text), make.requests.salt).lo;
    if (rc || complete(&make))
        return 2;
    return run(&make) ? 1 : 0;
}
