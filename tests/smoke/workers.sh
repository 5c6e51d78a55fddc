#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two poll cores: a request that reaches the core which does not own its key is handed over and
# answered right. A packet socket has one queue, so nothing can spread the flows by port before.
. "$(dirname "$0")/init.sh"
. "$here/conversation.sh"

two_cores() { # SETTING...
    start_server workers=2 packet_memory=128 "$@"
    expect 0 kv status --json
    same "$(json '.cores | length')" 2 "poll cores"
    same "$(json .arena.partitions)" 2 "partitions"
    conversation four
    url=$url6
    conversation six
    url=$url4
    expect 0 kv bench --ops mix --count 20000 --keys 2000 --size 100:50,2KiB:40,20KiB:10 --json
    same "$(json .corrupt)/$(json .errors)" 0/0 "corrupt values and errors"
    ask stat
    json 'all(.result.partitions[]; .items > 0)' > /dev/null || fail "a partition is empty"
}

two_cores device=net_tap0,iface=kvr0
stop_server
client_namespace
two_cores device=net_af_packet0,iface=kv0
json '.result.sum.handoff_in > 0' > /dev/null || fail "nothing was handed over"
same "$(json .result.sum.handoff_in)" "$(json .result.sum.handoff_out)" "requests taken over"
stop_server
