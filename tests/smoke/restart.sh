#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The dataplane is killed in the middle of its work: it comes back over the same arena, and every
# value that was acknowledged is still there and right.
. "$(dirname "$0")/init.sh"

start_server
for i in 1 2 3 4 5; do expect 0 kv put "key-$i" --value "value $i"; done
head -c 2000000 /dev/urandom > "$work/in"
expect 0 kv put large "$work/in"
old=$(dataplane_pid)
"$SMOKE_KVRAIL" --server "$url" --timeout 200ms bench --seconds 2 --keys 1000 > "$work/bench.log" 2>&1 &
load=$!
sleep 0.5
kill -KILL "$old"
await_server
[ "$(dataplane_pid)" != "$old" ] || fail "the dataplane was not killed"
for i in 1 2 3 4 5; do
    expect 0 kv get "key-$i"
    same "$out" "value $i" "the value from before"
done
expect 0 kv get large -o "$work/got"
cmp "$work/in" "$work/got" || fail "the large value came back changed"
expect 0 kv status --json
same "$(json .dataplane.restarts)" 1 "restarts"
wait $load || true
! grep -q 'corrupt [1-9]' "$work/bench.log" || fail "corrupt: $(cat "$work/bench.log")"
stop_server
