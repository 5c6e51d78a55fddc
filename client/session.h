/* SPDX-License-Identifier: Apache-2.0 */
/* HELLO: limits, cookie, and noticing that the server forgot us. */
#pragma once

#include "client/handle.h"

/* A new unguessable session id; sequence numbers restart. */
void session_begin(struct kvr_client *client);
/* Sends HELLO on the link if none is under way. */
void session_hello(struct link *link);
/* Whether requests may be sent now; says HELLO if not, or if the cookie grows old. */
bool session_ready(struct link *link);
/* The server refused the cookie. */
void session_refused(struct link *link);
/* shm://: the dataplane is another than before: greets it before anything else is sent. */
void session_restarted(struct kvr_client *client);
/* shm://: another arena is mapped: everything running starts again there. */
void session_moved(struct kvr_client *client);
/* A checked reply to a HELLO. */
void session_answer(struct link *link, const struct checked_reply *reply);
/* Repeats HELLOs that are due; lowers client->next_due_ns to the next one. */
void sessions_expire(struct kvr_client *client);
/* Builds everything anew, in the same session, if path or server now carry less than before. */
void session_follow(struct kvr_client *client);
