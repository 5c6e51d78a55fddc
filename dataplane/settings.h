/* SPDX-License-Identifier: Apache-2.0 */
/* What the dataplane can be told: the start arguments and the live changes. kvraild's option table
 * has the same names, checks the ranges, and passes them on:
 *
 *   kvrail-dataplane --index-fd N --data-fd N --ctl-fd N --adopt-fd N --roster-fd N
 *                    --client ID:PID:UID:WRITE:PINNED_MAX:SEGMENT_FD:PIDFD .. --set KEY=VALUE ..
 *
 * A client is a local one that lived before this dataplane: recovery spares what it holds and what
 * it is writing. roster-fd is only kept open, for the next kvraild (controlplane/roster.h).
 *
 * ctl-fd is one end of a Unix stream socketpair, lines of text, some with descriptors beside them
 * (SCM_RIGHTS):
 *   dataplane -> kvraild   "note TEXT"    something is missing or degraded; any time
 *                          "recovered kept=N kept_bytes=N kept_reserved=N dropped_unsealed=N
 *                                     dropped_damaged=N dropped_expired=N"   what an arena held
 *                          "ready mac=M mtu=N address4=A address6=A hugepages=0|1 cores=LIST"
 *                          "failed TEXT"  one line what is wrong and how to mend it; then it exits
 *                          "ok" / "error TEXT"   answer to a command, in their order
 *                          "client-gone ID WHY"  it has let go of all that the client had; any time
 *                          "region-gone CLIENT REGION"  no byte of it is touched any more
 *                          "pool CLIENT DEVICE CORE KIND SIZE LOST HEX" + its descriptor, if any
 *                                     before the "ok" of a pool-export
 *   kvraild -> dataplane   "stop"         drain and exit 0
 *                          "set KEY VALUE"
 *                          "client-add ID PID UID WRITE PINNED_MAX" + its segment, its pidfd
 *                          "client-drop ID"
 *                          "region-add CLIENT REGION KIND SIZE HEX" + its descriptor, if any
 *                          "region-drop CLIENT REGION"   region-gone follows
 *                          "pool-export CLIENT DEVICE CORE"   LOST as in gpu/pool.h
 * KIND is of enum gpu_handle_kind, HEX the handle's bytes, or "-".
 *
 * End of file on ctl-fd does not stop the dataplane. It then waits on adopt-fd, a bound Unix stream
 * socket on which it listens, for the next kvraild. That connection becomes its ctl-fd, and it
 * says:
 *   "adopted ADOPT_VERSION VERSION"   of the program
 *   "arena" + index, data, roster
 *   "client ID PID UID WRITE PINNED_MAX" + segment, pidfd   for each
 *   "setting KEY VALUE"   for each, as it is in force
 * then its notes, "recovered ..", "ready .." once more */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum idle_policy { IDLE_SPIN, IDLE_PAUSE, IDLE_SLEEP };

/* X(kind, name, default, live) kind: text, number, flag, idle. Ranges: kvraild's option table. */
#define SETTINGS_LIST(X)                                                                           \
    X(text, device, "net_tap0,iface=kvr0", 0) /* DPDK vdev string, or a PCI address */             \
    X(text, ipv4, "10.96.0.1/24", 0)          /* own address; empty = none */                      \
    X(text, ipv6, "fd96::1/64", 0)                                                                 \
    X(text, host_ipv4, "10.96.0.2/24", 0) /* net_tap: given to the kernel's side; empty = not */   \
    X(text, host_ipv6, "fd96::2/64", 0)                                                            \
    X(number, port, 9690, 0) /* UDP port of partition 0 */                                         \
    X(number, mtu, 1500, 0)                                                                        \
    X(number, workers, 1, 0) /* poll cores */                                                      \
    X(text, cpus, "", 0)     /* CPU list to pin to, "1-2,5"; empty = choose */                     \
    X(idle, idle, IDLE_SLEEP, 1)                                                                   \
    X(text, policy, "lru", 1)                                                                      \
    X(flag, hugepages, 0, 0)           /* let EAL use them */                                      \
    X(number, packet_memory, 64, 0)    /* MiB for EAL */                                           \
    X(number, packet_buffers, 8192, 0) /* mbufs */                                                 \
    X(number, queues, 0, 0)            /* of each kind; 0 = as the device suggests */              \
    X(number, rx_ring, 512, 0)         /* descriptors */                                           \
    X(number, tx_ring, 512, 0)                                                                     \
    X(number, zero_copy_min, 4096, 1) /* bytes; 0 = never */                                       \
    X(number, train_max, 65536, 1)    /* bytes answered to one GET op */                           \
    X(number, cookie_ms, 60000, 1)                                                                 \
    X(number, sessions_max, 1024, 0) /* writing sessions per core */                               \
    X(number, uploads_max, 256, 0)   /* open reservations per core */                              \
    X(number, upload_idle_ms, 5000, 1)                                                             \
    X(number, lease_max_ms, 10000, 1)                                                              \
    X(number, deadline_default_ms, 1000, 1)                                                        \
    X(flag, verify_on_start, 0, 0)                                                                 \
    X(flag, audit_on_stop, 0, 0)                                                                   \
    X(flag, populate, 1, 0)  /* make all memory present in the background */                       \
    X(text, eal_args, "", 0) /* more arguments for EAL, split at spaces */                         \
    X(text, gpu, "auto", 0)  /* off, auto, host, cuda */                                           \
    X(number, gpu_host_devices, 1, 0)                                                              \
    X(number, gpu_batch, 4u << 20, 0) /* bytes given to a copy engine at once */                   \
    X(number, gpu_pool, 0, 0)         /* bytes on each device, of all cores together; 0 = none */  \
    X(text, gpu_pool_blocks, "262144,1048576,2097152,4194304", 0) /* bytes; smallest first */      \
    X(number, gpu_pool_promote_hits, 2, 0)                                                         \
    X(text, log_level, "info", 1)

#define SETTING_TEXT_MAX 256
#define ADOPT_VERSION 1

struct settings {
#define SETTING_text(name) char name[SETTING_TEXT_MAX];
#define SETTING_number(name) uint64_t name;
#define SETTING_flag(name) bool name;
#define SETTING_idle(name) enum idle_policy name;
#define SETTING_FIELD(kind, name, init, live) SETTING_##kind(name)
    SETTINGS_LIST(SETTING_FIELD)
#undef SETTING_FIELD
};

void settings_defaults(struct settings *settings);
/* 0; -ENOENT unknown key; -EINVAL bad value. live: only keys that may change while running, else
 * -EBUSY. */
[[nodiscard]] int settings_set(struct settings *settings, const char *key, const char *value,
                               bool live);
/* "KEY VALUE" of the i-th setting, as settings_set takes it; false beyond the last. */
[[nodiscard]] bool settings_text(const struct settings *settings, unsigned i, char *text,
                                 size_t size);
