#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the machine cannot give: one line that says what and how to mend it, and exit 1.
. "$(dirname "$0")/init.sh"

# One line of at least error level, naming TEXT.
ends_naming() { # TEXT [EXIT CODE]
    local code=0 errors
    timeout 20 "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" > "$work/out" 2>&1 < /dev/null || code=$?
    out=$(cat "$work/out") err=
    same $code "${2:-1}" "exit code"
    says "$1"
    errors=$(grep -c -e ' error ' -e '^kvraild: ' "$work/out" || true)
    same "$errors" 1 "lines of errors"
}

settings device=net_af_packet0,iface=nosuch0
ends_naming nosuch0
settings device=net_nonsense0
ends_naming net_nonsense0
settings device=0000:7f:1f.7
ends_naming 0000:7f:1f.7
settings cache_size=200GiB
ends_naming cache_size 2
settings control_socket="$work/no/such/folder/socket"
ends_naming /no/such/folder
settings dataplane=/no/such/program
ends_naming /no/such/program
settings hugepages=require
[ "$(cat /proc/sys/vm/nr_hugepages)" -gt 0 ] || ends_naming hugepages

# Two servers on one control socket.
start_server
settings device=net_tap1,iface=kvr1
ends_naming "$socket"
expect 0 kv ping -c 1
stop_server
