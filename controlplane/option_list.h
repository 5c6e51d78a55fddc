/* SPDX-License-Identifier: Apache-2.0 */
/* Every setting of kvraild, once: configuration file, flags, environment, `kvrail config` and the
 * manual page all come from here. X(name, type, default, min, max, choices, flags, group, help)
 * LIVE: may change while running. DATAPLANE: has the same name in dataplane/settings.h. */
#pragma once

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)

#define OPTION_LIST(X)                                                                             \
    X(cache_size, SIZE, "1GiB", MIB, 256 * GIB, NULL, 0, "memory",                                 \
      "Memory for the stored values.")                                                             \
    X(partitions, NUMBER, "0", 0, 64, NULL, 0, "memory",                                           \
      "Parts of the cache, each written by one core; 0 = as many as workers.")                     \
    X(blocks_max, NUMBER, "0", 0, 4000000000ull, NULL, 0, "memory",                                \
      "Most blocks that can be stored, each some 90 bytes beside cache_size; 0 = one for every "   \
      "KiB of cache_size. Where most values are smaller: cache_size divided by their size.")       \
    X(hugepages, CHOICE, "auto", 0, 0, "auto|off|require", DATAPLANE, "memory",                    \
      "Use huge pages: auto takes them where there are enough, require refuses to start without.") \
    X(policy, CHOICE, "lru", 0, 0, "lru|lfu|fifo", LIVE | DATAPLANE, "memory",                     \
      "Which blocks go first when memory is full.")                                                \
    X(verify_on_start, FLAG, "off", 0, 0, NULL, DATAPLANE, "memory",                               \
      "Check the CRC of every stored block when the dataplane starts over an old arena.")          \
    X(audit_on_stop, FLAG, "off", 0, 0, NULL, DATAPLANE, "memory",                                 \
      "Check at a clean stop that buckets, allocator and counters agree, and log the result.")     \
    X(populate, FLAG, "on", 0, 0, NULL, DATAPLANE, "memory",                                       \
      "Make all memory present in the background, before blocks need it.")                         \
    X(arena_file, PATH, "", 0, 240, NULL, 0, "memory",                                             \
      "Keep the cache in the files PATH.index and PATH.data, on tmpfs or hugetlbfs: a kvraild "    \
      "that "                                                                                      \
      "starts later takes it up again. Empty = in anonymous memory, which ends with the last "     \
      "process.")                                                                                  \
    X(device, TEXT, "net_tap0,iface=kvr0", 1, 255, NULL, DATAPLANE, "network",                     \
      "DPDK device string (net_tap, net_af_packet, net_af_xdp, net_memif, net_vhost ..) or the "   \
      "PCI address of a NIC.")                                                                     \
    X(ipv4, IPV4, "10.96.0.1/24", 0, 0, NULL, DATAPLANE, "network",                                \
      "Own IPv4 address with prefix length; empty = none.")                                        \
    X(ipv6, IPV6, "fd96::1/64", 0, 0, NULL, DATAPLANE, "network",                                  \
      "Own IPv6 address with prefix length; empty = none.")                                        \
    X(host_ipv4, IPV4, "10.96.0.2/24", 0, 0, NULL, DATAPLANE, "network",                           \
      "net_tap only: address given to the kernel's side of the device; empty = leave it alone.")   \
    X(host_ipv6, IPV6, "fd96::2/64", 0, 0, NULL, DATAPLANE, "network", "The same for IPv6.")       \
    X(port, NUMBER, "9690", 1, 65535, NULL, DATAPLANE, "network",                                  \
      "UDP port of partition 0; partition p listens on port + p.")                                 \
    X(mtu, NUMBER, "1500", 1280, 9000, NULL, DATAPLANE, "network",                                 \
      "Largest IP packet; above 1500 the whole path must carry jumbo frames.")                     \
    X(packet_memory, NUMBER, "64", 16, 65536, NULL, DATAPLANE, "network",                          \
      "MiB of memory for packets.")                                                                \
    X(packet_buffers, NUMBER, "8192", 512, 4194304, NULL, DATAPLANE, "network",                    \
      "Packet buffers of all cores together.")                                                     \
    X(queues, NUMBER, "0", 0, 64, NULL, DATAPLANE, "network",                                      \
      "Queues of the device; 0: one for each worker, but a single one with memif, vhost and "      \
      "virtio-user, whose peer may have no more. Set it where the peer has as many.")              \
    X(rx_ring, NUMBER, "512", 32, 32768, NULL, DATAPLANE, "network",                               \
      "Receive descriptors of each queue.")                                                        \
    X(tx_ring, NUMBER, "512", 32, 32768, NULL, DATAPLANE, "network",                               \
      "Transmit descriptors of each queue.")                                                       \
    X(zero_copy_min, SIZE, "4KiB", 0, 64 * MIB, NULL, LIVE | DATAPLANE, "network",                 \
      "Parts of values from this size on are sent from where they lie; 0 = always copy.")          \
    X(eal_args, TEXT, "", 0, 255, NULL, DATAPLANE, "network",                                      \
      "More arguments for DPDK, split at spaces.")                                                 \
    X(workers, NUMBER, "1", 1, 64, NULL, DATAPLANE, "cores", "Poll cores.")                        \
    X(cpus, CPUS, "", 0, 0, NULL, DATAPLANE, "cores",                                              \
      "CPUs to pin the poll cores to, as in 1-2,5; empty = choose.")                               \
    X(idle, CHOICE, "sleep", 0, 0, "spin|pause|sleep", LIVE | DATAPLANE, "cores",                  \
      "What a poll core does when nothing comes: spin is fastest, sleep leaves the CPU to "        \
      "others. It sleeps up to 3 ms, but 20 us for a second after a client on this host asked.")   \
    X(train_max, SIZE, "64KiB", 1232, 64 * MIB, NULL, LIVE | DATAPLANE, "clients",                 \
      "Most bytes of a value that one GET operation is answered with.")                            \
    X(cookie_ms, DURATION, "60s", 1000, 3600000, NULL, LIVE | DATAPLANE, "clients",                \
      "How long the proof of a client's address holds.")                                           \
    X(sessions_max, NUMBER, "1024", 1, 1048576, NULL, DATAPLANE, "clients",                        \
      "Writing sessions per core.")                                                                \
    X(uploads_max, NUMBER, "256", 1, 65536, NULL, DATAPLANE, "clients",                            \
      "Open reservations for large values per core.")                                              \
    X(upload_idle_ms, DURATION, "5s", 100, 600000, NULL, LIVE | DATAPLANE, "clients",              \
      "A reservation whose client is silent for so long is given up.")                             \
    X(lease_max_ms, DURATION, "10s", 0, 600000, NULL, LIVE | DATAPLANE, "clients",                 \
      "Longest time that a client may keep a block from eviction; 0 = no leases.")                 \
    X(deadline_default_ms, DURATION, "1s", 1, 60000, NULL, LIVE | DATAPLANE, "clients",            \
      "Deadline of a request that names none.")                                                    \
    X(local_socket, PATH, "", 0, 107, NULL, 0, "local clients",                                    \
      "Unix socket where clients on this host attach (shm://PATH); empty = beside the control "    \
      "socket, .local.sock instead of .sock.")                                                     \
    X(local_access, CHOICE, "owner", 0, 0, "owner|group|all", 0, "local clients",                  \
      "Whose clients may attach: kvraild's user, its group too, or everybody's.")                  \
    X(local_write, CHOICE, "owner", 0, 0, "none|owner|all", 0, "local clients",                    \
      "Which of them may write values in place; the others hand them over to be copied.")          \
    X(clients_max, NUMBER, "64", 0, 64, NULL, 0, "local clients",                                  \
      "Most clients attached at once; 0 = no local socket.")                                       \
    X(client_slots, NUMBER, "16384", 64, 65536, NULL, 0, "local clients",                          \
      "Most blocks that one of them may hold at once.")                                            \
    X(client_pinned, NUMBER, "50", 1, 100, NULL, 0, "local clients",                               \
      "Most that one of them may hold, in percent of cache_size; twice as much for a second ends " \
      "it.")                                                                                       \
    X(client_regions, NUMBER, "16", 0, 16, NULL, 0, "local clients",                               \
      "Most regions of memory that one of them may register for blocks to be loaded into.")        \
    X(client_region_bytes, SIZE, "256GiB", 0, 16384 * GIB, NULL, 0, "local clients",               \
      "Most bytes of all of its regions together.")                                                \
    X(gpu, CHOICE, "auto", 0, 0, "off|auto|host|cuda", DATAPLANE, "gpu",                           \
      "What moves blocks between the cache and clients' regions: auto takes CUDA devices where "   \
      "there are any, else the host's own CPUs; cuda refuses to start without.")                   \
    X(gpu_host_devices, NUMBER, "1", 1, 16, NULL, DATAPLANE, "gpu",                                \
      "Devices that the host's CPUs pose as, each with threads of its own.")                       \
    X(gpu_batch, SIZE, "4MiB", 64 * KIB, GIB, NULL, DATAPLANE, "gpu",                              \
      "Most bytes given to a device and not yet moved; what is urgent waits for so much.")         \
    X(gpu_pool, SIZE, "0", 0, 1024 * GIB, NULL, DATAPLANE, "gpu",                                  \
      "Memory of each device for copies of blocks that are loaded again and again, so that they "  \
      "need not come over the bus; 0 = none. With gpu: host it is the host's memory and wins "     \
      "nothing: for tests. Where auto finds no CUDA device there is no pool.")                     \
    X(gpu_pool_blocks, SIZES, "256KiB,1MiB,2MiB,4MiB", 256, 64 * MIB, NULL, DATAPLANE, "gpu",      \
      "Sizes of its slots, at most 8: each has the same share of gpu_pool, a block takes the "     \
      "smallest slot that holds it. Best is the one size that the blocks have.")                   \
    X(gpu_pool_promote_hits, NUMBER, "2", 1, 1000000, NULL, DATAPLANE, "gpu",                      \
      "From so many loads on a block is copied to gpu_pool.")                                      \
    X(control_socket, PATH, "", 0, 107, NULL, 0, "process",                                        \
      "Unix socket for the kvrail command; empty = /run/kvrail.sock for root, else kvrail.sock "   \
      "in XDG_RUNTIME_DIR, else /tmp/kvrail-UID.sock.")                                            \
    X(dataplane, PATH, "", 0, 255, NULL, 0, "process",                                             \
      "The kvrail-dataplane program; empty = beside kvraild, or in libexec.")                      \
    X(pid_file, PATH, "", 0, 255, NULL, 0, "process",                                              \
      "File that holds the process id while kvraild runs; empty = none.")                          \
    X(stall_ms, DURATION, "1s", 100, 3600000, NULL, LIVE, "process",                               \
      "A dataplane whose poll core or worker has not turned for so long is killed and started "    \
      "again over the same cache. What a thread waited for a CPU does not count.")                 \
    X(restart_pause_max, DURATION, "30s", 50, 3600000, NULL, LIVE, "process",                      \
      "Longest pause between two starts of a dataplane that keeps dying.")                         \
    X(log_level, CHOICE, "info", 0, 0, "error|warning|info|debug", LIVE | DATAPLANE, "process",    \
      "How much is logged.")
