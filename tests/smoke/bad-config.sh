#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is wrong in the configuration is refused before anything starts, by key, value and range,
# wherever it was said.
. "$(dirname "$0")/init.sh"

refused() { # TEXT... : what the message must name
    local text
    expect 2 "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" "${flags[@]}"
    for text in "$@"; do says "$text"; done
}

flags=()
settings workers=1000
refused workers 1000 "1 to 64"
settings cache_size=12
refused cache_size 12
settings policy=random
refused policy random lru lfu fifo
settings ipv4=10.96.0.1/33
refused ipv4 10.96.0.1/33
settings wokers=2
refused wokers workers
settings mtu=9001
refused mtu 9001 "to 9000"
# All of it at once, not only the first.
settings mtu=9001 workers=0 idle=maybe
refused mtu workers idle
printf 'workers: [1\n' > "$work/kvrail.yaml"
refused kvrail.yaml
settings
flags=(--mtu 1)
refused mtu
flags=()
export KVRAIL_WORKERS=many
refused workers many
unset KVRAIL_WORKERS
rm "$work/kvrail.yaml"
refused kvrail.yaml
# The same table behind `kvrail config check`.
settings workers=1000
expect 1 "$SMOKE_KVRAIL" config check "$work/kvrail.yaml"
says workers
settings workers=2
expect 0 "$SMOKE_KVRAIL" config check "$work/kvrail.yaml"
# What only DPDK can know is wrong: its manual is not the answer.
settings eal_args=--bogus hugepages=off
expect 1 timeout 20 "$SMOKE_KVRAILD" --config "$work/kvrail.yaml"
says eal_args
[ "$(wc -l <<< "$out$err")" -lt 10 ] || fail "that is more than one wants to read"
