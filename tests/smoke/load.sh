#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kvrail-load over shared-memory packets (net_memif): every kind of load, its own account of it
# against the server's counters. Needs no huge pages, no TAP and nothing to be quick.
. "$(dirname "$0")/init.sh"
. "$here/conversation.sh"

load() { # OPTION...
    "$SMOKE_LOAD" --device "net_memif0,role=client,socket=$work/memif.sock,socket-abstract=no" \
        --ipv4 10.96.0.9 --server "$url4" --hugepages off --timeout 2s --depth 64 --keys 2000 \
        --quiet --json "$@"
}

# measured OPTION...: runs it; the server's counters are taken before and after.
measured() {
    counters
    before=$counted
    expect 0 load "$@"
    result=$out
    counters
}

# is FILTER VALUE: of the result.
is() {
    same "$(jq -r "$1" <<< "$result")" "$2" "$1 of $result"
}
true_that() { # FILTER
    [ "$(jq -r "$1" <<< "$result")" = true ] || fail "not $1: $result"
}

# What the engine says it sent and heard is what the server took and answered.
agrees() {
    local gets puts matches
    is .command load
    is .corrupt 0
    is .errors 0
    is .engine.lost 0
    is .engine.loss 0
    true_that '.ops > 0 and .ops_s > 0 and .engine.cycles_per_op > 0 and .engine.busy > 0'
    gets=$(jq '.by_op.get.ops // 0' <<< "$result")
    puts=$(jq '(.by_op.put.ops // 0) + (.warm.ops // 0)' <<< "$result")
    matches=$(jq '.by_op.match.ops // 0' <<< "$result")
    moved "$gets" '.result.ops.GET.OK'
    moved "$puts" '.result.ops.PUT.OK'
    moved "$matches" '.result.ops.MATCH.OK'
}

settings cache_size=128MiB idle=sleep packet_memory=64 hugepages=off workers=2 partitions=4 cookie_ms=1s \
    device="net_memif0,role=server,socket=$work/memif.sock,socket-abstract=no"
"$SMOKE_KVRAILD" --config "$work/kvrail.yaml" > "$log" 2>&1 < /dev/null &
server_pid=$!
wait_for 10 test -S "$work/memif.sock" || fail "no memif socket"

# Closed loop, reads and writes, every byte looked at.
measured --ops get:90,put:10 --size 64:50,300:50 --count 20000 --verify
agrees
is .ops 20000
is .hit_ratio 1
is .warm.ops 2000
is .partitions 4
true_that '.by_op.put.ops > 1500 and .by_op.put.ops < 2500'
true_that '.engine.tx_datagrams == 20000 and (.engine.threads | length) == 1'

# 16 ops a datagram, one partition each; then of several.
measured --ops get --batch 16 --count 32000 --verify --dist uniform
agrees
true_that '.engine.tx_datagrams >= 2000 and .engine.tx_datagrams <= 2004'
measured --ops get --batch 16 --mixed --count 32000 --no-warm --verify
agrees
is .hit_ratio 1
is .engine.tx_datagrams 2000

# Two threads behind one queue: who has done its part still receives for the other.
measured --ops get --threads 2 --no-warm --count 10001 --verify
agrees
is .ops 10001
is '.engine.threads | length' 2

# The same by time, with one hot partition.
measured --ops get --threads 2 --seconds 300ms --no-warm --hot-partition 1:90
agrees
is '.engine.threads | length' 2
true_that '[.engine.threads[].ops] | min > 0'
share=$(jq -n --argjson was "$before" --argjson now "$counted" --argjson ops "$(jq .ops <<< "$result")" \
    '($now.result.cores[1].hits - $was.result.cores[1].hits) / $ops')
jq -en "$share > 0.88 and $share < 0.98" > /dev/null ||
    fail "the core of partitions 1 and 3 had $share of the hits"

# Chains of keys.
measured --ops match --chain 80 --count 1000
agrees
is .engine.match_found 1

# Chains that need several datagrams, of which 2,000 keys are stored; over several partitions.
measured --ops match --chain 1500 --count 200 --no-warm --threads 2
is .errors 0
is .by_op.match.ops 200
is .engine.match_found 1
true_that '.engine.tx_datagrams >= 200 * 18 and .engine.lost == 0'
moved "$(jq .engine.tx_datagrams <<< "$result")" '.result.ops.MATCH.OK'
measured --ops match --chain 3000 --keys 4000 --dist sequential --count 1 --no-warm
is '.engine.match_found * 3000 | round' 2000

# Values that need several datagrams are stored, every one confirmed, and read back.
stored() {
    local puts
    puts=$(jq '.by_op.put.ops + (.warm.ops // 0)' <<< "$result")
    is .corrupt 0
    is .errors 0
    is '.by_op.put.ended.OK' "$(jq .by_op.put.ops <<< "$result")"
    moved "$puts" '.result.ops.COMMIT.OK' '.result.ops.RESERVE.OK'
}
measured --ops put --size 100000 --keys 300 --count 1000 --depth 16 --verify --dist uniform
stored
is .by_op.put.bytes 100000000
true_that '.engine.read_back | .proven + .overtaken == 1300 and .unread == 0 and .proven > 1000'
true_that '.put_bytes_s > 0 and .by_op.put.latency.p50_us > 0 and .engine.lost == 0'
measured --ops put --size 2MiB --keys 8 --count 40 --depth 2 --threads 2 --rate 200
stored
true_that '.unstarted == 0 and .params.loop == "open"'
# All kinds at once: what fits a datagram shares it with others.
measured --ops get:60,put:30,match:10 --size 64:60,40000:40 --keys 500 --chain 400 --batch 4 \
    --depth 4 --count 4000 --threads 2 --verify
is .ops 4000
is .errors 0
is .corrupt 0
is .hit_ratio 1
is .engine.match_found 1
is .engine.read_back.unread 0
moved 0 '.result.uploads'

# Open loop: as fast as it was told, not faster; latency from when it was due.
measured --ops get --rate 2k --seconds 1 --no-warm --verify --arrival poisson
agrees
is .params.loop open
true_that '.ops > 1500 and .ops < 2500 and .unstarted == 0'

# A human reads a table.
expect 0 "$SMOKE_LOAD" --device "net_memif0,role=client,socket=$work/memif.sock,socket-abstract=no" \
    --ipv4 10.96.0.9 --server "$url4" --hugepages off --keys 100 --count 1000 --timeout 2s
says "hit ratio 1.0000"
says "datagrams sent"

# Keys that were never stored are misses, and no error.
counters
before=$counted
expect 0 load --ops get --no-warm --keyspace 7 --count 1000
result=$out
is .hit_ratio 0
is .by_op.get.ended.MISS 1000

# What cannot be is refused by name, before anything is sent.
refused() { # NAME OPTION...
    local name=$1
    shift
    expect 2 load "$@"
    says "kvrail-load: "
    says "$name"
}
refused --batch --ops put --batch 17
refused --mixed --ops put --mixed
refused --depth --depth 1M
refused --ops --ops fetch
refused --steer --steer third
refused --hugepages --hugepages many
refused --hot-partition --hot-partition 1
refused --hot-partition --hot-partition 9:50
refused --batch --ops match --chain 5000 --batch 2 --rate 1k
refused --chain --ops match --chain 65536 --depth 32768
refused --size --ops get --size 100000
refused --cpus --cpus 999
refused --ipv4 --ipv4 127.0.0.1
refused --server --server tcp://10.96.0.1
refused --ipv6 --server 'udp://[fd96::1]'
refused --nonsense --nonsense
expect 1 load --device net_nonsense0
says net_nonsense0
# Nobody has this address.
expect 4 load --server udp://10.96.0.77
says "MAC"
stop_server

# Values larger than a datagram come back in several; libkvrail stored them, from the kernel's side
# of the same wire.
client_namespace
start_server device=net_af_packet0,iface=kv0 packet_memory=64
expect 0 kv bench --ops get --keys 100 --size 20000:50,65536:50 --count 10 --json
measured_at_client() {
    counters
    before=$counted
    expect 0 "${at_client[@]}" "$SMOKE_LOAD" --device net_af_packet0,iface=kv1 --ipv4 10.96.0.9 \
        --server "$url4" --hugepages off --timeout 2s --depth 4 --keys 100 --quiet --json "$@"
    result=$out
    counters
}
measured_at_client --ops get --no-warm --size 20000:50,65536:50 --count 500 --verify
agrees
is .hit_ratio 1
true_that ".get_bytes_s > 0 and .engine.rx_datagrams > 10 * .engine.tx_datagrams"
# On a wire that loses 2 of 100 frames each way, all values are stored all the same.
lossy() { # DEVICE
    nft "table netdev loss_$1 { chain leaving { type filter hook egress device $1 priority 0;
        udp length > 8 numgen random mod 100 < 2 drop; }; }"
}
if lossy kv0 2> /dev/null; then
    "${at_client[@]}" bash -c "$(declare -f lossy); lossy kv1"
    measured_at_client --ops put:50,match:50 --size 200000 --chain 300 --count 200 --timeout 20ms \
        --verify
    is .errors 0
    is .corrupt 0
    is .by_op.put.ended.OK "$(jq .by_op.put.ops <<< "$result")"
    is .engine.match_found 1
    is .engine.read_back.unread 0
    true_that '.engine.lost > 100 and .client.retransmits > 100'
    nft delete table netdev loss_kv0
    "${at_client[@]}" nft delete table netdev loss_kv1
else
    echo "without a lossy wire: nft is not here, or may not drop"
fi
# The same over IPv6.
expect 0 "${at_client[@]}" "$SMOKE_LOAD" --device net_af_packet0,iface=kv1 --ipv6 fd96::9 \
    --server "$url6" --hugepages off --timeout 2s --keys 500 --count 5000 --verify --quiet --json
result=$out
is .errors 0
is .hit_ratio 1
stop_server
