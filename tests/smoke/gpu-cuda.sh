#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An engine's cache in GPU memory, handed over by a CUDA IPC handle and by a descriptor: on a CUDA
# device if there is one, else on the mock of the driver (tests/fixture/cuda).
. "$(dirname "$0")/init.sh"

blocks() { "$SMOKE_DEVICE_BLOCKS" "shm://$work/control.local.sock" "$@"; }

code=0
out=$("$SMOKE_DEVICE_BLOCKS" shm://nowhere) || code=$?
if [ $code -eq 77 ]; then
    [ -n "${SMOKE_FAKE_CUDA:-}" ] || skip "no CUDA device, and the mock of the driver is not built"
    export LD_LIBRARY_PATH=$SMOKE_FAKE_CUDA
    echo "on the mock of the driver"
fi

start_server cache_size=64MiB gpu=cuda
expect 0 kv --json gpu list
same "$(json '.gpus[0].backend')" cuda "backend"
expect 0 blocks
says descriptor
echo "$out"
wait_for 5 eval "kv --json gpu list | jq -e '.gpus[0].load_bytes > 0' > /dev/null"
kill -KILL "$(dataplane_pid)"
wait_for 10 running_dataplane || fail "no dataplane after it was killed"
expect 0 blocks
stop_server

# Copies in the device's own memory: the third and fourth load of 6 blocks come from there.
start_server cache_size=64MiB gpu=cuda gpu_pool=16MiB gpu_pool_blocks=512KiB
expect 0 blocks 4
echo "$out"
wait_for 5 eval "kv --json gpu list | jq -e '[.gpus[].pool_hits] | add == 12' > /dev/null"
expect 0 kv gpu list
echo "$out"
same "$(kv --json gpu list | jq '[.gpus[].pool_loads] | add')" 6 "blocks promoted"
stop_server

if [ -n "${LD_LIBRARY_PATH:-}" ]; then
    export FAKE_CUDA_NO_VMM=1
    start_server cache_size=64MiB gpu=cuda
    expect 0 blocks
    says "IPC handle"
    echo "$out"
    stop_server
fi
