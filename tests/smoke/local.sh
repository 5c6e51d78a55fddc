#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Clients on the server's own host: they attach, put, hit in place, and see what came by UDP; the
# copy worker stores for those who may not write; a client that is killed leaves nothing.
. "$(dirname "$0")/init.sh"

local_url=shm://$work/control.local.sock
start_server local_write=owner

expect 0 kv ping -c 1
url=$local_url
expect 0 kv put small --value value-of-a-small-one
expect 0 kv get small
same "$out" value-of-a-small-one "a small value over shared memory"
head -c 5000000 /dev/urandom > "$work/large"
expect 0 kv put large "$work/large"
expect 0 kv get large --output "$work/back"
cmp "$work/large" "$work/back"
url=$url4
expect 0 kv get large --output "$work/back"
cmp "$work/large" "$work/back"
url=$local_url
expect 0 kv del large
expect 1 kv get large
expect 0 kv ping -c 50 -i 10ms
echo "$out" | tail -n 3
# What the reclaimer's looks at the clients' slots cost is there to be read.
expect 0 kv status --json
json '.local | .scans > 0 and .scan_us > 0'
expect 0 kv status
says 'a scan for them takes'
stop_server

start_server local_write=none
expect 0 kv put large "$work/large"
expect 0 kv get large --output "$work/back"
cmp "$work/large" "$work/back"
stop_server
