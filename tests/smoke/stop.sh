#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SIGTERM and SIGINT under load: everything ends by itself with 0, and no device, socket or process
# is left behind. The next server starts in the same place.
. "$(dirname "$0")/init.sh"

for signal in TERM INT; do
    start_server
    "$SMOKE_KVRAIL" --server "$url" --timeout 200ms bench --seconds 20 > "$work/bench.log" 2>&1 &
    load=$!
    busy() { [ "$(kv stat -c 1 -i 100ms --json | jq '.gets_s + .puts_s > 0')" = true ]; }
    wait_for 10 busy || fail "no load: $(tail -n 3 "$work/bench.log")"
    code=0
    kill -$signal "$server_pid"
    wait_for 10 eval "! running" || fail "kvraild does not stop"
    wait "$server_pid" || code=$?
    same $code 0 "exit code after SIG$signal"
    kill $load 2> /dev/null || true
    wait $load || true
    ! ip link show kvr0 > /dev/null 2>&1 || fail "kvr0 is left"
    [ ! -e "$socket" ] || fail "the control socket is left"
    out=$(pgrep -a kvrail || true)
    same "$out" "" "processes left"
done
# Silence is told apart from an error.
server_pid=
expect 4 kv --timeout 300ms ping -c 1
expect 4 kv status
