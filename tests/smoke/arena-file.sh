#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The cache in files on tmpfs: it is there again after a clean stop and after everything was killed;
# one of another shape is refused with the reason, and a second kvraild is.
. "$(dirname "$0")/init.sh"

file=/run/cache
value_there() {
    expect 0 kv get key
    same "$out" 'from before' "the value from before"
}

start_server arena_file=$file cache_size=32MiB
expect 0 kv put key --value 'from before'
expect 0 kv put mortal --value 'not for long' --ttl 1s
stop_server
[ -s $file.index ] && [ -s $file.data ] || fail "no files are left"
same "$(stat -c %a $file.data)" 600 "permissions of the values"

sleep 1.2
start_server arena_file=$file cache_size=32MiB
value_there
expect 1 kv get mortal
grep -q 'as it was left there' "$log" || fail "no word of it"

# Everything dies at once, as when power fails for the processes only.
dataplane=$(dataplane_pid)
kill -KILL "$server_pid" "$dataplane"
wait "$server_pid" 2> /dev/null || true
wait_for 5 eval "! kill -0 $dataplane" || fail "the dataplane does not die"
start_server arena_file=$file cache_size=32MiB
value_there

# Another kvraild may not have them.
settings arena_file=$file cache_size=32MiB control_socket="$work/other.sock" device=net_tap1,iface=kvr1
code=0
out=$(timeout 20 "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" 2>&1 < /dev/null) || code=$?
same $code 1 "exit code of a second kvraild"
says "arena_file: $file is used by another kvraild"
value_there
stop_server

# Another shape: said, and empty.
start_server arena_file=$file cache_size=64MiB
expect 1 kv get key
expect 0 kv status
says "arena_file: $file.index and .data are refused"
expect 0 kv put key --value 'from before'
expect 0 kv restart --cold
expect 1 kv get key
stop_server

settings arena_file=/proc/cache
code=0
out=$(timeout 20 "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" 2>&1 < /dev/null) || code=$?
same $code 1 "exit code on another file system"
says "arena_file: /proc/cache"
settings arena_file=cache
code=0
out=$(timeout 20 "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" 2>&1 < /dev/null) || code=$?
same $code 2 "exit code without an absolute path"
says "arena_file: 'cache' is no absolute path"
