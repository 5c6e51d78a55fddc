/* SPDX-License-Identifier: Apache-2.0 */
/* What a poll core counts, in the index segment: the core writes, anyone reads. One list gives
 * every counter its field, name and help text; CLI, metrics and documents use the same names. */
#pragma once

#include <stdint.h>

#include "base/cacheline.h"
#include "base/counters.h"
#include "base/histogram.h"
#include "kvrail/proto.h"
#include "kvrail/status.h"

/* X(name, help) */
#define STATS_LIST(X)                                                                              \
    X(rx_datagrams, "request datagrams taken from the port and from rings of local clients")       \
    X(rx_bytes, "bytes of their payload")                                                          \
    X(tx_datagrams, "reply datagrams handed to the port and to rings of local clients")            \
    X(tx_bytes, "bytes of their payload")                                                          \
    X(tx_failed, "reply datagrams that the port or its buffers did not take")                      \
    X(tx_zero_copy, "reply datagrams sent without copying the value")                              \
    X(rx_bursts, "bursts with at least one packet")                                                \
    X(rx_packets, "packets of any kind taken from the port")                                       \
    X(handoff_in, "requests taken over from another core")                                         \
    X(handoff_out, "requests passed to the owner core")                                            \
    X(handoff_full, "requests dropped because the owner's ring was full")                          \
    X(parked, "requests that waited for memory or a CRC")                                          \
    X(shed_busy, "requests answered BUSY")                                                         \
    X(loops, "turns of the poll loop")                                                             \
    X(busy_ns, "time in loop turns that found work")                                               \
    X(heartbeat_ns, "monotonic clock at the last turn")                                            \
    X(hits, "GET operations that found their block")                                               \
    X(misses, "GET operations that did not")                                                       \
    X(match_keys, "keys asked for by MATCH")                                                       \
    X(match_present, "of them, stored")                                                            \
    X(value_bytes_out, "bytes of values sent")                                                     \
    X(value_bytes_in, "bytes of values stored by PUT and WRITE")                                   \
    X(sessions, "sessions now known")                                                              \
    X(uploads, "reservations now open")                                                            \
    X(uploads_expired, "reservations dropped because their client went silent")                    \
    X(arp_replies, "ARP requests answered")                                                        \
    X(nd_replies, "IPv6 neighbour solicitations answered")                                         \
    X(echo_replies, "ICMP and ICMPv6 echo requests answered")                                      \
    X(local_clients, "clients on this host that are attached")                                     \
    X(local_requests, "request datagrams taken from their rings")                                  \
    X(local_lost, "times that a client ran over its ring and lost all of it")                      \
    X(local_dropped, "replies dropped because the client's ring was full")                         \
    X(local_accesses, "hits that local clients told of")                                           \
    X(local_accesses_lost, "of theirs, overwritten before they were read, or no block any more")   \
    X(local_places, "places of local clients now open")                                            \
    X(pool_served, "LOAD operations served from a copy in GPU memory")                             \
    X(pool_redone, "of those tried, done again from host memory: the copy was lost with its "      \
                   "device")

/* Why a packet or datagram was dropped without, or answered with, an error. X(name, help) */
#define DROP_LIST(X)                                                                               \
    X(not_ip, "neither ARP, IPv4 nor IPv6")                                                        \
    X(not_ours, "another address or MAC")                                                          \
    X(ip_truncated, "IP header or length does not fit the frame")                                  \
    X(ip_checksum, "IPv4 header checksum wrong")                                                   \
    X(ip_fragment, "IP fragment")                                                                  \
    X(ip_options, "IP options or extension headers")                                               \
    X(not_udp, "neither UDP nor ICMP echo")                                                        \
    X(udp_truncated, "UDP length does not fit the packet")                                         \
    X(udp_checksum, "UDP checksum wrong")                                                          \
    X(udp_port, "no partition on this port")                                                       \
    X(bad_source, "source address or port that no host may use")                                   \
    X(short_header, "datagram shorter than the header")                                            \
    X(bad_magic, "not a kvrail datagram")                                                          \
    X(bad_kind, "not a request")                                                                   \
    X(bad_version, "protocol version not spoken here")                                             \
    X(bad_crc, "datagram damaged on the way")                                                      \
    X(bad_length, "length fields do not fit the datagram")                                         \
    X(bad_header, "a header field outside its range")                                              \
    X(bad_op, "unknown operation")                                                                 \
    X(bad_key, "key length outside its range")                                                     \
    X(bad_field, "a field of an operation outside its range")                                      \
    X(bad_range, "range outside the value")                                                        \
    X(no_cookie, "no valid cookie")                                                                \
    X(hello_small, "HELLO shorter than its reply")                                                 \
    X(replayed, "old or repeated write")                                                           \
    X(expired, "deadline passed")                                                                  \
    X(busy, "overload")                                                                            \
    X(limit, "too many sessions, reservations or operations")                                      \
    X(no_upload, "WRITE, COMMIT or ABORT without a reservation")                                   \
    X(value_crc, "value does not match its CRC32C")                                                \
    X(no_region, "LOAD or SAVE without a region")                                                  \
    X(misfit, "LOAD whose form does not fit the value")                                            \
    X(too_large, "value above the limit")                                                          \
    X(no_space, "nothing could be evicted")                                                        \
    X(no_buffer, "no packet buffer for the reply")

enum drop_reason {
#define DROP_ENUM(name, help) DROP_##name,
    DROP_LIST(DROP_ENUM)
#undef DROP_ENUM
        NR_DROP_REASONS
};

/* One of the last errors of a core. Readers may catch an entry half written: seq before and after.
 */
struct error_entry {
    uint32_t seq;    /* odd while written */
    uint32_t reason; /* enum drop_reason */
    uint64_t wall_ms;
    uint8_t source[16]; /* IPv6, or IPv4 mapped */
    uint16_t port;
    uint16_t op; /* enum kvr_opcode, 0 = unknown */
    uint32_t len;
};

#define ERRORS_KEPT 128u

struct core_stats {
#define STATS_FIELD(name, help) uint64_t name;
    STATS_LIST(STATS_FIELD)
#undef STATS_FIELD
    uint64_t drops[NR_DROP_REASONS];
    uint64_t ops[KVR_OPCODES][KVR_STATUS_WIRE_MAX + 1]; /* by operation and status answered */
    uint64_t errors_total;
    struct error_entry errors[ERRORS_KEPT]; /* entry errors_total % ERRORS_KEPT is next */
    struct histogram latency[KVR_OPCODES];  /* ns from the burst's arrival to the reply, per op */
} cache_aligned;

struct stats_name {
    const char *name, *help;
};
extern const struct stats_name stats_names[]; /* in the order of the fields */
extern const unsigned nr_stats_names;
extern const struct stats_name drop_names[NR_DROP_REASONS];
const char *opcode_name(unsigned op); /* "GET"; "?" if unknown */

/* Owner core only; wall_ms is read here, so callers bound how often they note an error. */
void stats_note_error(struct core_stats *stats, enum drop_reason reason, const uint8_t source[16],
                      uint16_t port, uint16_t op, uint32_t len);
