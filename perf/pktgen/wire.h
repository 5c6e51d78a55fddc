/* SPDX-License-Identifier: Apache-2.0 */
/* Whole frames to and from a kernel interface, from whatever address one likes: a packet socket.
 * Needs CAP_NET_RAW. One thread. */
#pragma once

#include <stdint.h>

struct capture_frame;

struct wire {
    int fd;
    uint8_t mac[6]; /* of the interface */
    unsigned mtu;
};

/* 0 or -errno, logged. */
[[nodiscard]] int wire_open(struct wire *wire, const char *interface);
void wire_close(struct wire *wire);

/* Blocks while the interface is full. 0 or -errno, logged. */
[[nodiscard]] int wire_send(struct wire *wire, const uint8_t *frame, uint32_t len);
/* Up to nr frames at once. The number that left, at least 1, or -errno, logged. */
[[nodiscard]] int wire_send_burst(struct wire *wire, const struct capture_frame *frames,
                                  unsigned nr);
/* The next frame that came in: its length; 0 when none came for so long; -errno, logged. */
[[nodiscard]] int wire_receive(struct wire *wire, uint8_t *frame, uint32_t room,
                               unsigned timeout_ms);
