/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes: what travels on the wire (1..63) and what only the client library reports (64..).
 * The numbers are part of the protocol and never change their meaning. */
#ifndef KVRAIL_STATUS_H
#define KVRAIL_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, number, text) */
#define KVR_STATUS_LIST(X)                                                                         \
    X(OK, 0, "ok")                                                                                 \
    X(MISS, 1, "no such key")                                                                      \
    X(EXISTS, 2, "the key is already stored")                                                      \
    X(STALE, 3, "the reference names an older block")                                              \
    X(EXPIRED, 4, "the deadline passed before the work was done")                                  \
    X(BUSY, 5, "overloaded, try again after the time given")                                       \
    X(NO_SPACE, 6, "nothing may be evicted to make room")                                          \
    X(TOO_LARGE, 7, "larger than a limit of the server")                                           \
    X(INCOMPLETE, 8, "fragments of the value are missing")                                         \
    X(CORRUPT, 9, "the bytes do not match their CRC32C")                                           \
    X(NO_UPLOAD, 10, "no such reservation")                                                        \
    X(NEED_COOKIE, 11, "say HELLO first: the sender's address is not proven")                      \
    X(REPLAYED, 12, "an old or repeated write, not executed again")                                \
    X(BAD_VERSION, 13, "protocol version not spoken here")                                         \
    X(BAD_LENGTH, 14, "a length field does not fit the datagram")                                  \
    X(BAD_OP, 15, "unknown operation")                                                             \
    X(BAD_KEY, 16, "key length outside 1 to 1024")                                                 \
    X(BAD_RANGE, 17, "range outside the value")                                                    \
    X(BAD_FIELD, 18, "a field has a value outside its range")                                      \
    X(LIMIT, 19, "a limit on sessions, reservations or operations is reached")                     \
    X(INTERNAL, 20, "internal error, see the server's log")                                        \
    X(NO_REGION, 21, "no such region is registered")                                               \
    X(MISFIT, 22, "the value is not what the form makes of a block")                               \
    /* client library only */                                                                      \
    X(TIMEOUT, 64, "no answer before the deadline")                                                \
    X(UNREACHABLE, 65, "the server cannot be reached")                                             \
    X(BUFFER_TOO_SMALL, 66, "the caller's buffer is smaller than the value")                       \
    X(INVALID, 67, "invalid argument")                                                             \
    X(NO_MEMORY, 68, "out of memory")                                                              \
    X(CANCELED, 69, "canceled by the caller")                                                      \
    X(PROTOCOL, 70, "the server's answer makes no sense")                                          \
    X(NOT_LOCAL, 71, "only for clients on the server's own host (shm://)")                         \
    X(DENIED, 72, "the server does not let this user in")                                          \
    X(NO_DEVICE, 73, "the server has no device for such a region")

enum kvr_status {
#define KVR_STATUS_ENUM(name, number, text) KVR_##name = (number),
    KVR_STATUS_LIST(KVR_STATUS_ENUM)
#undef KVR_STATUS_ENUM
        KVR_STATUS_WIRE_MAX = 63
};

#ifdef __cplusplus
}
#endif
#endif
