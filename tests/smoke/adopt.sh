#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kvraild is killed: the dataplane serves on, packets and clients on this host; the next kvraild
# adopts it with its cache and clients. One that hangs by then is replaced over its cache.
. "$(dirname "$0")/init.sh"

local_url=shm://$work/control.local.sock

kill_kvraild() {
    kill -KILL "$server_pid"
    wait "$server_pid" 2> /dev/null || true
}
next_kvraild() {
    "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" >> "$log" 2>&1 < /dev/null &
    server_pid=$!
    wait_for 15 kv status || fail "the next kvraild does not come up"
}
values_there() {
    local i
    for i in 1 2 3; do
        expect 0 kv get "key-$i"
        same "$out" "value $i" "the value from before"
    done
}
arena_id() {
    ask status
    json .result.arena.id
}

start_server
for i in 1 2 3; do expect 0 kv put "key-$i" --value "value $i"; done
arena=$(arena_id)
"$SMOKE_KVRAIL" --server "$local_url" --timeout 5s bench --seconds 8 --keys 1000 --json \
    > "$work/local.json" 2> "$work/local.err" &
load=$!
clients() { [ "$(kv client list --json | jq '.clients | length')" = "$1" ]; }
wait_for 5 clients 1 || fail "no client on this host: $(cat "$work/local.err")"

# Nobody but the dataplane is there.
dataplane=$(dataplane_pid)
kill_kvraild
sleep 0.3
kill -0 "$dataplane" || fail "the dataplane went with kvraild"
values_there
expect 4 kv status

next_kvraild
same "$(dataplane_pid)" "$dataplane" "pid of the dataplane"
same "$(arena_id)" "$arena" "the arena"
values_there
wait_for 5 clients 1 || wait_for 5 clients 2 || fail "the client was not adopted"
expect 0 kv config set policy lfu
expect 0 kv restart
says "restarted in "
[ "$(dataplane_pid)" != "$dataplane" ] || fail "kvrail restart left the old one"
values_there

# The dataplane hangs as well.
dataplane=$(dataplane_pid)
kill_kvraild
kill -STOP "$dataplane"
next_kvraild
[ "$(dataplane_pid)" != "$dataplane" ] || fail "the one that hung is still there"
grep -q 'does not answer: it is killed, its cache is kept' "$log" || fail "no word of it"
same "$(arena_id)" "$arena" "the arena"
await_server
values_there

code=0
wait $load || code=$?
same $code 0 "exit code of the client on this host, $(cat "$work/local.err")"
same "$(jq .corrupt "$work/local.json")" 0 "corrupt values"
wait_for 2 clients 0 || fail "a client that ended is still listed"
stop_server
out=$(pgrep -a kvrail || true)
same "$out" "" "processes left"
