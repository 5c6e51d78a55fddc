#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Clients read copies of blocks in the memory of a device where they lie: the right bytes, for as long
# as they hold them, whatever becomes of the key or the dataplane. Who may not is refused, and what a
# client that is killed has held is taken back.
. "$(dirname "$0")/init.sh"

local_url=shm://$work/control.local.sock
places() { "$SMOKE_GPU_PLACES" "$local_url" "$@"; }
pool() { kv --json gpu list | jq "[.gpus[].pool_$1] | add"; }
pool_is() { [ "$(pool "$1")" -eq "$2" ]; }
holds() { grep -q held "$work/held"; }

start_server cache_size=256MiB gpu=host gpu_pool=32MiB gpu_pool_blocks=2MiB
expect 0 places read
wait_for 5 pool_is pins 0 || fail "$(pool pins) pins are left"
expect 0 places refused
wait_for 5 pool_is pins 0 || fail "$(pool pins) pins are left"

# Killed while it holds some.
"$SMOKE_GPU_PLACES" "$local_url" hold 5 > "$work/held" &
victim=$!
wait_for 20 holds || fail "it holds nothing"
wait_for 5 pool_is pins 5 || fail "$(pool pins) of 5 copies are held"
kill -KILL $victim
wait $victim 2> /dev/null || true
wait_for 5 pool_is pins 0 || fail "a dead client holds $(pool pins) copies"
expect 0 places read

# The dataplane dies: what was imported of it is still there, and is not believed.
mkfifo "$work/go"
"$SMOKE_GPU_PLACES" "$local_url" outlive < "$work/go" > "$work/held" &
reader=$!
exec 9> "$work/go"
wait_for 20 holds || fail "it holds nothing"
before=$(dataplane_pid)
kill -KILL "$before"
another() { running_dataplane && [ "$(dataplane_pid)" != "$before" ]; }
wait_for 10 another || fail "no dataplane after it was killed"
echo go >&9
code=0
wait $reader || code=$?
exec 9>&-
cat "$work/held"
same "$code" 0 "a reader that outlives the dataplane"
wait_for 5 pool_is pins 0 || fail "$(pool pins) pins are left"
stop_server

# Two cores and two devices: each has memory of its own.
start_server cache_size=256MiB gpu=host workers=2 gpu_host_devices=2 gpu_pool=32MiB gpu_pool_blocks=2MiB \
    gpu_pool_promote_hits=1
expect 0 places read 2
wait_for 5 pool_is pins 0 || fail "$(pool pins) pins are left"
stop_server

# Without a pool, or where nobody may write.
start_server cache_size=64MiB gpu=host
expect 1 places refused
says "NO_DEVICE"
stop_server
start_server cache_size=64MiB gpu=host gpu_pool=8MiB gpu_pool_blocks=2MiB local_write=none
expect 1 places refused
says "DENIED"
stop_server
