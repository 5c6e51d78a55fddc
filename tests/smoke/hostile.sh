#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Noise, truncated and lying datagrams and frames: the server stays up, answers nobody with more
# than they sent unless they have shown a cookie, counts what it dropped by reason, and still
# stores and returns values.
. "$(dirname "$0")/init.sh"

drops() { jq -r --arg reason "$1" '.counters[] | select(.reason == $reason).count' <<< "$errors"; }

start_server
expect 0 ping -q -c 1 -W 2 10.96.0.1
mac=$(ip -j neigh show 10.96.0.1 | jq -r '.[0].lladdr')
expect 0 kv put before --value survives
expect 0 /usr/bin/python3 "$here/hostile.py" kvr0 10.96.0.1 "$mac" 10.96.0.2 9690
echo "$out"
same "$(json .cookie)" true "HELLO gave a cookie"
json '.worst_amplification <= 1' > /dev/null || fail "more bytes out than in"
running || fail "kvraild ended"
expect 0 kv get before
same "$out" survives "the value from before"
expect 0 kv put after --value works
expect 0 kv errors --json
errors=$out
for reason in short_header bad_magic bad_kind bad_version bad_crc bad_length bad_header bad_op \
    bad_key bad_field no_cookie no_upload not_ours ip_truncated ip_checksum ip_fragment \
    ip_options not_udp udp_truncated udp_checksum bad_source; do
    [ "$(drops $reason)" -gt 0 ] || { out=$errors; fail "no datagram was counted as $reason"; }
done
stop_server
