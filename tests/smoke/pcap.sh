#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Capture files of requests (perf/pktgen): their cookies are real ones, so the server takes their
# frames from a generator that knows nothing of kvrail, and its counters say what became of them.
. "$(dirname "$0")/init.sh"

pcap() { "${at_client[@]}" "$SMOKE_PCAP" "$@"; }

# make NAME CLIENT OPTION...: $work/NAME.pcap from 32 clients.
make() {
    local name=$1 client=$2
    shift 2
    expect 0 pcap make --control "$socket" --interface kv1 --client "$client" --flows 32 \
        --addresses 8 --keys 500 --frames 640 --out "$work/$name.pcap" --json "$@"
    same "$(json .frames)" 640 "frames in $name.pcap"
}

# What the server counts, in $out: counters, and requests dropped or refused by reason.
count() {
    local sums
    ask stat
    sums=$out
    ask errors
    out=$(jq -c --argjson errors "$out" '.result.sum +
        {refused: ($errors.result.counters | map({(.reason): .count}) | add)}' <<< "$sums")
}

# play NAME: sends it once, and waits until the server has answered as many datagrams; $before and
# $after are its counters.
answered() {
    count
    after=$out
    [ "$(delta .tx_datagrams)" -ge 640 ]
}
play() {
    count
    before=$out
    expect 0 pcap send --interface kv1 --rate 4k --json "$work/$1.pcap"
    same "$(json .sent)" 640 "frames sent"
    wait_for 5 answered || { out=$after; fail "not all frames of $1.pcap were answered"; }
    same "$(delta .rx_datagrams)" 640 "datagrams received"
    same "$(delta .tx_datagrams)" 640 "datagrams answered"
}

# delta FILTER: how much it grew from $before to $after.
delta() {
    local was now
    was=$(jq -r "[$1] | add" <<< "$before")
    now=$(jq -r "[$1] | add" <<< "$after")
    echo $((now - was))
}
# (What is not_ours comes from the kernel at the other end: multicast.)
none_refused() { same "$(delta '(.refused | del(.not_ours))[]')" 0 "requests dropped or refused"; }

client_namespace
start_server device=net_af_packet0,iface=kv0 partitions=2 cookie_ms=1h
expect 0 kv bench --keys 500 --size 64 --count 1 --json

make get 10.96.0.16 --batch 4
same "$(json .gets)" 2560 "GETs in the file"
same "$(json .valid_ms)" 3600000 "time for which the cookies are valid"
for turn in 1 2; do
    play get
    same "$(delta .hits)" 2560 "hits in turn $turn"
    same "$(delta .misses)" 0 "misses"
    none_refused
done

make get6 fd96::100 --dist uniform
play get6
same "$(delta .hits)" 640 "hits over IPv6"
none_refused

make match 10.96.0.16 --mix match --chain 16
play match
same "$(delta .match_keys) $(delta .match_present)" "10240 10240" "keys asked for and there"
none_refused

# A write happens once, however often its frame comes.
make put 10.96.0.16 --mix put --size 100
play put
same "$(delta .value_bytes_in)" 64000 "bytes stored"
none_refused
play put
same "$(delta .value_bytes_in)" 0 "bytes stored by the same frames again"
none_refused

# Cookies are the server's own: another one knows none of them.
stop_server
start_server device=net_af_packet0,iface=kv0 partitions=2 cookie_ms=1h
play get
same "$(delta .hits)" 0 "hits"
same "$(delta .refused.no_cookie)" 640 "requests without a valid cookie"

expect 1 pcap send --interface kv1 "$0"
says "not a capture file"
make mac 10.96.0.16 --client-mac 02:00:00:00:00:99
play mac
same "$(delta .refused.no_cookie)" 0 "frames from another MAC that were refused"
expect 2 pcap make --mix get,dance
says "--mix"
expect 2 pcap make --out x --interface kv1 --client 10.96.0.16 --control "$socket" --mix put \
    --batch 17
says "--batch 17"
expect 1 pcap make --out x --interface kv1 --client 10.96.0.16 --control "$socket" --batch 32
says "--batch 32: get datagrams would have"
stop_server
