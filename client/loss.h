/* SPDX-License-Identifier: Apache-2.0 */
/* What is lost, known from what came after it instead of from a timer. A server answers one link's
 * requests in their order and a train in ascending order, so what was passed by enough answers
 * (flow->reorder, learnt), or by one to a send a whole round trip later, will not come. */
#pragma once

#include "client/handle.h"

/* The last send of this datagram was answered: whatever was sent before it has been passed once
 * more, and may be sent again now. */
void loss_passed(const struct datagram *heard);

/* [pos, end) of the only entry of a GET came, in answer to its last send: holes before it that are
 * lost are asked for again, those of a train that still arrives in a datagram of their own. */
void loss_behind(struct datagram *datagram, uint32_t pos, uint32_t end);
