#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Blocks that are loaded again and again come from a pool in the device's memory: they are promoted,
# served from there with every byte checked, and forgotten when they are overwritten. Then clients
# and the dataplane are killed in the middle. What the settings cannot mean is refused.
. "$(dirname "$0")/init.sh"
. "$(dirname "$0")/blocks.sh"

local_url=shm://$work/control.local.sock
pool() { kv --json gpu list | jq "[.gpus[].pool_$1] | add"; }
pool_is() { [ "$(pool "$1")" -eq "$2" ]; }
pool_above() { [ "$(pool "$1")" -gt "$2" ]; }

start_server cache_size=128MiB gpu=host gpu_pool=32MiB gpu_pool_blocks=2MiB
expect 0 blocks "$local_url" store 12
same "$(pool slots)" 16 "slots"
expect 0 blocks "$local_url" load 12
sleep 0.3 # the figures are told ten times a second
same "$(pool loads)" 0 "promoted after one load"
expect 0 blocks "$local_url" load 12
wait_for 5 pool_is ready 12 || fail "$(pool ready) of 12 blocks are in the pool"
same "$(pool used)" $((12 * 2 * 1024 * 1024)) "bytes in the pool"
same "$(pool hits)" 0 "hits before they are there"
expect 0 blocks "$local_url" load 12 layers
expect 0 blocks "$local_url" load 12
expect 0 blocks "$local_url" partial 12
wait_for 5 pool_is hits 36 || fail "$(pool hits) of 36 loads came from the pool"
same "$(pool pins)" 0 "pins that are left"
same "$(kv --json gpu list | jq '.gpus[0].move_bytes')" $((54 * 1024 * 1024)) "bytes moved on the device"
expect 0 kv gpu list
says "promoted"
echo "$out"
ask stat
same "$(json .result.sum.pool_served)" 36 "loads served"

# New values under the same keys: the copies are of the old ones.
expect 0 blocks "$local_url" store 12
wait_for 5 pool_is ready 0 || fail "overwritten blocks stay in the pool"
same "$(pool forgotten)" 12 "forgotten copies"
expect 0 blocks "$local_url" load 12
expect 0 kv del llama/11
expect 0 blocks "$local_url" load 11

# Clients die in the middle: no pin of theirs is left.
kill_clients reload
wait_for 5 pool_is pins 0 || fail "dead clients left pins"
pool_above hits 36 || fail "they hit nothing there"

# The dataplane dies in the middle: the next one's pool is empty, and fills.
survive_dataplanes reload 3000
expect 0 blocks "$local_url" reload 500
wait_for 5 pool_above hits 0 || fail "nothing comes from the pool of the last dataplane"
stop_server

# Two cores, two devices, less room than blocks: some are served from there, some are not.
start_server cache_size=128MiB gpu=host workers=2 gpu_host_devices=2 gpu_pool=8MiB \
    gpu_pool_blocks=2MiB gpu_pool_promote_hits=1
expect 0 blocks "$local_url" store 12
for _ in 1 2 3 4; do expect 0 blocks "$local_url" load 12 layers; done
blocks "$local_url" again 1500 > "$work/again"
cat "$work/again"
full() { [ $(($(pool evictions) + $(pool no_slot))) -gt 0 ]; }
wait_for 5 full || fail "8 slots hold 12 blocks"
pool_above hits 0 || fail "nothing came from the pools"
expect 0 kv gpu list
echo "$out"
stop_server

refused() { # WORD SETTING...: kvraild says it and ends
    local word=$1 code=0
    shift
    settings cache_size=64MiB "$@"
    timeout 10 "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" > "$log" 2>&1 || code=$?
    [ $code -ne 0 ] && [ $code -ne 124 ] || fail "$*: exit $code"
    grep -q "$word" "$log" || fail "$*: no word about $word"
}
refused "gpu_pool: 32MiB, and gpu is off" gpu=off gpu_pool=32MiB
refused "gpu_pool: 1MiB is too small" gpu=host gpu_pool=1MiB
refused "gpu_pool: 1024.0 MiB is more than the 256.0 MiB" gpu=host gpu_pool=1GiB
refused "gpu_pool_blocks: '2MiB,1MiB' is not a list" gpu=host gpu_pool=32MiB gpu_pool_blocks=2MiB,1MiB
