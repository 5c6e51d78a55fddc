/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the MAC of the server: an ARP request or neighbour solicitation, and the answer to it. Pure
 * functions on bytes; what others ask of us is frame_answer's business. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/eth/frame.h"

#define NEIGHBOUR_FRAME_MAX 86u

/* peer: local_ip, local_mac and ip are read. Returns the length of the frame. */
uint32_t neighbour_ask(const struct peer *peer, uint8_t frame[NEIGHBOUR_FRAME_MAX]);
/* Whether the frame tells the MAC of peer->ip; it is put in peer->mac then. */
bool neighbour_told(struct peer *peer, const uint8_t *frame, uint32_t len);
