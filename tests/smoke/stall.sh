#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The dataplane stops turning, under load: it is killed and replaced over the same arena, every
# value is still there, and a client rides over it inside its deadlines.
. "$(dirname "$0")/init.sh"

start_server stall_ms=400ms
for i in 1 2 3 4 5; do expect 0 kv put "key-$i" --value "value $i"; done
"$SMOKE_KVRAIL" --server "$url" --timeout 5s bench --seconds 4 --keys 1000 --json > "$work/bench.json" &
load=$!
sleep 0.5
for times in 1 2; do
    old=$(dataplane_pid)
    kill -STOP "$old"
    another() { [ "$(dataplane_pid)" != "$old" ] && running_dataplane; }
    wait_for 5 another || fail "nothing took the place of the dataplane that was stopped"
    ! kill -0 "$old" 2> /dev/null || fail "the stopped dataplane is still there"
    await_server
    for i in 1 2 3 4 5; do
        expect 0 kv get "key-$i"
        same "$out" "value $i" "the value from before"
    done
    expect 0 kv status --json
    same "$(json .dataplane.restarts)" $times restarts
    [ "$(json .dataplane.last_restart_ms)" -lt $((3000 * ${SMOKE_PATIENCE:-1})) ] ||
        fail "restarted in $(json .dataplane.last_restart_ms) ms"
    json .dataplane.last_exit | grep -q 'stalled and was killed: .* had not turned for' ||
        fail "no word of the stall"
    [ "$(json .dataplane.recovery.kept)" -ge 5 ] || fail "the recovery's report"
done
code=0
wait $load || code=$?
same $code 0 "exit code of the client that rode over it"
same "$(jq .corrupt "$work/bench.json")" 0 "corrupt values"
stop_server
