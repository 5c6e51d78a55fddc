#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Blocks of a real layout between the cache and a paged cache as an engine has it: by a device of the
# server over shared memory, by the library over UDP, and one way in, the other out. Every byte is
# checked. Then the dataplane, kvraild and the client are killed in the middle.
. "$(dirname "$0")/init.sh"
. "$(dirname "$0")/blocks.sh"

local_url=shm://$work/control.local.sock

start_server cache_size=128MiB gpu=host
expect 0 kv gpu list
says "up"
says "host:0"
expect 0 blocks "$local_url" store 12
expect 0 blocks "$local_url" load 12
expect 0 blocks "$local_url" load 12 layers
echo "$out"
expect 0 blocks "$local_url" partial 12
expect 0 blocks "$url4" load 12
expect 0 blocks "$url4" load 12 layers
echo "$out"
expect 0 blocks "$url4" partial 12
expect 0 blocks "$local_url" refused
expect 0 blocks "$url4" refused

sleep 0.2 # the figures are told ten times a second
expect 0 kv --json gpu list
same "$(json '.gpus | length')" 1 "devices"
same "$(json '.gpus[0].state')" up "state of the device"
same "$(json '.gpus[0].store_bytes')" $((12 * 2 * 1024 * 1024)) "bytes stored"
same "$(json '.gpus[0].load_bytes')" $((54 * 1024 * 1024)) "bytes loaded"
same "$(json '.gpus[0].jobs_waiting + .gpus[0].jobs_running')" 0 "jobs left"
expect 0 kv --json client list

for i in $(seq 0 11); do expect 0 kv del "llama/$i"; done
expect 0 blocks "$url4" store 12
expect 0 blocks "$local_url" load 12 layers

# The dataplane dies in the middle: calls end in time, later ones work.
survive_dataplanes again 3000

# Clients die in the middle: nothing is left of them, and others do not notice.
kill_clients again
expect 0 blocks "$local_url" store 12
expect 0 blocks "$local_url" load 12
stop_server

# kvraild dies: the library registers with the next one. Two cores, two devices.
start_server cache_size=128MiB gpu=host workers=2 gpu_host_devices=2
expect 0 blocks "$local_url" store 12
expect 0 blocks "$local_url" load 12 layers
expect 0 kv --json gpu list
same "$(json '.gpus | length')" 2 "devices"
blocks "$local_url" again 4000 > "$work/again" &
again=$!
sleep 1
kill -KILL "$server_pid"
wait "$server_pid" || true
"$SMOKE_KVRAILD" --config "$work/kvrail.yaml" >> "$log" 2>&1 < /dev/null &
server_pid=$!
await_server
code=0
wait $again || code=$?
cat "$work/again"
same "$code" 0 "transfers while kvraild dies"
stop_server

# Without a device everything else works, and is said.
start_server gpu=off cache_size=128MiB
expect 0 kv gpu list
says "no devices (gpu: off)"
expect 0 blocks "$local_url" store 12 # the library copies
expect 0 blocks "$local_url" load 12 layers
expect 0 kv status
says "none (gpu: off)"
stop_server
settings gpu=cuda cache_size=64MiB
code=0
timeout 10 "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" > "$log" 2>&1 || code=$?
if [ $code -eq 124 ]; then # it served until it was stopped
    echo "there is a CUDA device here"
else
    grep -q "set gpu to auto, host or off" "$log" || fail "no word about the missing driver"
fi
