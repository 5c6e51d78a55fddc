/* SPDX-License-Identifier: Apache-2.0 */
/* `kvrail-pcap send`: the simplest generator. The frames of a capture file, over and over, at a
 * rate, through a packet socket; what becomes of them the server's counters tell. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "perf/pktgen/capture.h"
#include "perf/pktgen/commands.h"
#include "perf/pktgen/options.h"
#include "perf/pktgen/wire.h"

#define BURST 32u

struct send {
    const char *path, *interface;
    uint64_t rate; /* frames a second; 0 = as many as go */
    uint64_t loops, time_ns;
    bool json;
};

static void usage(FILE *out)
{
    fputs("usage: kvrail-pcap send --interface NAME [OPTION...] FILE\n"
          "  --rate N       frames a second; default: as many as the interface takes\n"
          "  --loops N      how often the file is sent; default 1\n"
          "  --seconds S    for so long instead\n"
          "  --json         what was sent as an object\n",
          out);
}

static int read_options(int argc, char **argv, struct send *send)
{
    static const struct option options[] = {{"interface", required_argument, NULL, 'i'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"loops", required_argument, NULL, 'l'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int id;

    while ((id = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
        bool good = true;

        switch (id) {
        case 'h':
            usage(stdout);
            return 1;
        case 'i':
            send->interface = optarg;
            break;
        case 'r':
            good = option_count("rate", optarg, 1, 1000000000, &send->rate);
            break;
        case 'l':
            good = option_count("loops", optarg, 1, 1000000000, &send->loops);
            break;
        case 's':
            good = option_seconds("seconds", optarg, &send->time_ns);
            break;
        case 'j':
            send->json = true;
            break;
        default:
            good = false;
        }
        if (!good)
            return -EINVAL;
    }
    if (optind + 1 != argc || !send->interface) {
        log_error("one FILE and --interface are needed");
        return -EINVAL;
    }
    send->path = argv[optind];
    return 0;
}

static void sleep_until(uint64_t ns)
{
    struct timespec at = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* Bursts, each when its first frame is due. */
static int send_all(const struct send *send, const struct capture *capture, struct wire *wire,
                    uint64_t *sent, uint64_t *took_ns)
{
    uint64_t start_ns = clock_ns(), nr = send->loops * capture->nr;

    for (*sent = 0; send->time_ns ? clock_ns() - start_ns < send->time_ns : *sent < nr;) {
        uint64_t at = *sent % capture->nr, left = capture->nr - at;
        int rc;

        if (send->rate)
            sleep_until(start_ns + (uint64_t)((double)*sent / (double)send->rate * 1e9));
        rc = wire_send_burst(wire, &capture->frames[at], left < BURST ? (unsigned)left : BURST);
        if (rc < 0)
            return rc;
        *sent += (unsigned)rc;
    }
    *took_ns = clock_ns() - start_ns;
    return 0;
}

int command_send(int argc, char **argv)
{
    struct send send = {.loops = 1};
    struct capture capture;
    uint64_t sent, took_ns;
    struct wire wire;
    int rc = read_options(argc, argv, &send);

    if (rc)
        return rc > 0 ? 0 : 2;
    if (capture_read(send.path, &capture))
        return 1;
    rc = wire_open(&wire, send.interface);
    if (rc == 0) {
        rc = send_all(&send, &capture, &wire, &sent, &took_ns);
        wire_close(&wire);
    }
    capture_free(&capture);
    if (rc)
        return 1;
    printf(send.json ? "{\"sent\": %llu, \"seconds\": %.3f, \"rate\": %.0f}\n"
                     : "%llu frames in %.3f s, %.0f a second\n",
           (unsigned long long)sent, (double)took_ns / 1e9,
           (double)sent * 1e9 / (double)(took_ns ? took_ns : 1));
    return 0;
}
