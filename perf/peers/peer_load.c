/* SPDX-License-Identifier: Apache-2.0 */
/* Loads memcached or Redis with the same keys, values and popularity as kvrail is loaded with in
 * the scenarios, and prints one JSON object. */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "tools/units.h"

struct options {
    struct flow_spec spec;
    uint64_t port, keys, size, batch, slots, seconds_ns, warm_ns;
    bool udp, fill, uniform;
};

static void usage(FILE *to)
{
    fputs("usage: peer_load --protocol NAME --port PORT [OPTION]...\n"
          "  --protocol NAME   memcached (a batch is a multiget), memcached-pipeline, redis (a "
          "batch\n"
          "                    is a pipeline), redis-mget\n"
          "  --port PORT       on 127.0.0.1\n"
          "  --udp             memcached over UDP instead of TCP\n"
          "  --fill            store all keys, and measure nothing\n"
          "  --keys N          default 1M\n"
          "  --size BYTES      of a value, 8 to 1024; default 64\n"
          "  --batch N         keys of a request, 1 to 256; default 1\n"
          "  --slots N         TCP connections, or UDP requests in flight, 1 to 1024; default 1\n"
          "  --seconds TIME    measured time; default 5s\n"
          "  --warm TIME       before that; default 200ms\n"
          "  --uniform         instead of zipf 0.99\n",
          to);
}

static bool set_number(struct options *options, char letter, const char *name, const char *text)
{
    struct {
        char letter;
        uint64_t *to, min, max;
    } numbers[] = {
        {'p', &options->port, 1, 65535},          {'k', &options->keys, 1, 1000000000000ull},
        {'z', &options->size, 8, PEER_VALUE_MAX}, {'b', &options->batch, 1, PEER_BATCH_MAX},
        {'n', &options->slots, 1, 1024},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (numbers[i].letter != letter)
            continue;
        if (units_parse_count(text, numbers[i].to) == 0 && *numbers[i].to >= numbers[i].min &&
            *numbers[i].to <= numbers[i].max)
            return true;
        fprintf(stderr, "peer_load: --%s: '%s' is not a number from %lu to %lu\n", name, text,
                (unsigned long)numbers[i].min, (unsigned long)numbers[i].max);
        return false;
    }
    if (units_parse_duration(text, 1000000000u,
                             letter == 's' ? &options->seconds_ns : &options->warm_ns)) {
        fprintf(stderr, "peer_load: --%s: '%s' is not a time such as 5s or 200ms\n", name, text);
        return false;
    }
    return true;
}

static bool parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"protocol", required_argument, NULL, 'P'},
        {"port", required_argument, NULL, 'p'},
        {"udp", no_argument, NULL, 'u'},
        {"fill", no_argument, NULL, 'f'},
        {"keys", required_argument, NULL, 'k'},
        {"size", required_argument, NULL, 'z'},
        {"batch", required_argument, NULL, 'b'},
        {"slots", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 's'},
        {"warm", required_argument, NULL, 'w'},
        {"uniform", no_argument, NULL, 'U'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int index = 0, letter;

    while ((letter = getopt_long(argc, argv, "", known, &index)) != -1) {
        if (letter == 'h') {
            usage(stdout);
            exit(0);
        }
        if (letter == '?')
            return false;
        if (letter == 'u') {
            options->udp = true;
        } else if (letter == 'f') {
            options->fill = true;
        } else if (letter == 'U') {
            options->uniform = true;
        } else if (letter == 'P') {
            options->spec.protocol = protocol_find(optarg);
            if (!options->spec.protocol) {
                fprintf(stderr, "peer_load: --protocol: '%s' is not known\n", optarg);
                return false;
            }
        } else if (!set_number(options, (char)letter, known[index].name, optarg)) {
            return false;
        }
    }
    if (optind < argc)
        fprintf(stderr, "peer_load: '%s' is one argument too many\n", argv[optind]);
    else if (!options->spec.protocol || !options->port)
        fprintf(stderr, "peer_load: --protocol and --port are needed\n");
    else if (options->udp && strcmp(options->spec.protocol->name, "memcached") != 0)
        fprintf(stderr, "peer_load: --udp: only with --protocol memcached\n");
    else if (options->udp && options->batch > 1)
        fprintf(stderr, "peer_load: --batch: one key a datagram with --udp\n");
    else
        return true;
    return false;
}

static void report(const struct options *options, const struct flow_result *result)
{
    double seconds = (double)result->ns / 1e9;
    const struct histogram *latency = &result->latency;

    printf("{\"protocol\": \"%s\", \"transport\": \"%s\", \"batch\": %lu, \"slots\": %lu, "
           "\"seconds\": %.3f, \"ops\": %lu, \"ops_s\": %.1f, \"requests_s\": %.1f, "
           "\"wrong\": %lu, \"lost\": %lu, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"p99_9_us\": %.2f}\n",
           options->spec.protocol->name, options->udp ? "udp" : "tcp",
           (unsigned long)options->batch, (unsigned long)options->slots, seconds,
           (unsigned long)result->ops, (double)result->ops / seconds,
           (double)result->requests / seconds, (unsigned long)result->wrong,
           (unsigned long)result->lost, (double)histogram_quantile(latency, 0.5) / 1e3,
           (double)histogram_quantile(latency, 0.99) / 1e3,
           (double)histogram_quantile(latency, 0.999) / 1e3);
}

int main(int argc, char **argv)
{
    struct options options = {.keys = 1000000,
                              .size = 64,
                              .batch = 1,
                              .slots = 1,
                              .seconds_ns = 5000000000u,
                              .warm_ns = 200000000u};
    static struct flow_result result;
    struct flow_spec *spec = &options.spec;
    int rc;

    if (!parse(argc, argv, &options)) {
        usage(stderr);
        return 2;
    }
    spec->peer = (struct sockaddr_in){.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)options.port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    spec->keys = options.keys;
    spec->value_len = (uint32_t)options.size;
    spec->batch = (unsigned)options.batch;
    spec->slots = (unsigned)options.slots;
    spec->exponent = options.uniform ? 0 : 0.99;
    spec->run_ns = options.seconds_ns;
    spec->warm_ns = options.warm_ns;
    if (options.fill)
        rc = flow_store_all(spec);
    else
        rc = options.udp ? flow_run_udp(spec, &result) : flow_run_tcp(spec, &result);
    if (rc) {
        fprintf(stderr, "peer_load: %s on port %lu: %s\n", spec->protocol->name,
                (unsigned long)options.port, strerror(-rc));
        return 1;
    }
    if (!options.fill)
        report(&options, &result);
    return 0;
}
