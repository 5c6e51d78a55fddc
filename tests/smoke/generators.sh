#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The generators of perf/pktgen: a rate search over a kernel interface, and dpdk-testpmd replaying a
# capture over memif, whose cookies came through a bridge. What the search says is what the server
# counted. Pktgen-DPDK too, where PKTGEN names it.
. "$(dirname "$0")/init.sh"

command -v dpdk-testpmd > /dev/null || skip "no dpdk-testpmd"
perf=$here/../../perf/pktgen
bridge_pid=

capture() { # make's options
    expect 0 "${at_client[@]}" "$SMOKE_PCAP" make --control "$socket" --interface kv1 \
        --client 10.96.0.16 --flows 16 --addresses 4 --keys 500 --frames 512 \
        --out "$work/load.pcap" "$@"
}
search() {
    expect 0 "${at_client[@]}" "$perf/search" --control "$socket" --capture "$work/load.pcap" \
        --pcap "$SMOKE_PCAP" --seconds 1 --json "$@"
}
# every_get_hit KEYS: of the best step, each datagram with so many.
every_get_hit() {
    [ "$(json .best.received)" -gt 0 ] || fail "no datagram was received"
    same "$(json .best.hits)" $(($(json .best.received) * $1)) "hits"
    same "$(json .best.misses)" 0 "misses"
    same "$(json '.best.refused | length')" 0 "reasons to refuse"
}

client_namespace
start_server device=net_af_packet0,iface=kv0 cookie_ms=1h
expect 0 kv bench --keys 500 --size 64 --count 1
capture --batch 2
# A busy machine loses frames even so: any loss below 100 % will do here.
search --generator send --interface kv1 --max 2000 --loss 100
every_get_hit 2
stop_server
expect 1 "$perf/search" --control "$socket" --capture "$work/load.pcap"
says "--control $socket"

# Behind memif there is no kernel, until a bridge makes one.
at_client=()
device="net_memif0,role=client,socket=$work/memif.sock,socket-abstract=no"
settings cache_size=64MiB idle=sleep packet_memory=128 cookie_ms=1h \
    device="net_memif0,role=server,socket=$work/memif.sock,socket-abstract=no"
ip link del kv0
"$SMOKE_KVRAILD" --config "$work/kvrail.yaml" > "$log" 2>&1 < /dev/null &
server_pid=$!
wait_for 10 test -S "$work/memif.sock" || fail "no memif socket"
"$perf/bridge" "$device" kv1 > "$work/bridge.log" 2>&1 &
bridge_pid=$!
wait_for 15 ip link show kv1 || fail "bridge: $(tail -n 3 "$work/bridge.log")"
ip addr add 10.96.0.2/24 dev kv1
ip link set kv1 up
await_server
expect 0 kv bench --keys 500 --size 64 --count 1
capture
kill "$bridge_pid"
wait "$bridge_pid" || true
search --generator testpmd --device "$device" --loss 100
every_get_hit 1
stop_server
