#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shared-memory packets (net_memif): dpdk-testpmd at the other end carries the frames to a TAP
# device, where the client is.
. "$(dirname "$0")/init.sh"
. "$here/conversation.sh"

command -v dpdk-testpmd > /dev/null || skip "no dpdk-testpmd"
bridge() {
    sleep infinity | dpdk-testpmd --no-huge --no-shconf --no-pci --no-telemetry -m 256 \
        --file-prefix bridge --lcores 0@0,1@0 \
        --vdev "net_memif0,role=client,socket=$work/memif.sock,socket-abstract=no" \
        --vdev net_tap0,iface=kv1 \
        -- --forward-mode=io --nb-cores=1 --total-num-mbufs=8192 > "$work/testpmd.log" 2>&1
}

settings cache_size=64MiB idle=sleep packet_memory=128 \
    device="net_memif0,role=server,socket=$work/memif.sock,socket-abstract=no"
"$SMOKE_KVRAILD" --config "$work/kvrail.yaml" > "$log" 2>&1 < /dev/null &
server_pid=$!
wait_for 10 test -S "$work/memif.sock" || fail "no memif socket"
bridge &
wait_for 15 ip link show kv1 || fail "testpmd: $(tail -n 3 "$work/testpmd.log")"
ip addr add 10.96.0.2/24 dev kv1
ip addr add fd96::2/64 dev kv1 nodad
ip link set kv1 up
await_server
conversation four
url=$url6
conversation six
# A killed dataplane leaves its socket; the next one takes its place. (testpmd does not come back.)
expect 0 kv put kept --value "as before"
old=$(dataplane_pid)
another() { running_dataplane && [ "$(dataplane_pid)" != "$old" ]; }
kill -KILL "$old"
wait_for 15 another || fail "no other dataplane: $(tail -n 3 "$log")"
url=shm://$work/control.local.sock
expect 0 kv get kept
same "$out" "as before" "the value from before"
stop_server
