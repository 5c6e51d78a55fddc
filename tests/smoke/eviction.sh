#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Conversations many times larger than the arena: eviction is constant, every hit is verified,
# nothing is corrupt, and the server counts what the client saw.
. "$(dirname "$0")/init.sh"

expect 0 "$SMOKE_KVRAIL" workload conversations=100 turns=5 seed=7 -o "$work/trace.jsonl"
for policy in lru lfu fifo; do
    start_server cache_size=16MiB policy=$policy
    expect 0 kv replay "$work/trace.jsonl" --block-bytes 32KiB --json
    replayed=$(tail -n 1 <<< "$out")
    out=$replayed
    same "$(json .corrupt)/$(json .errors)" 0/0 "corrupt blocks and errors with $policy"
    json '.hits > 0 and .put.ops > 100' > /dev/null || fail "nothing was hit or stored"
    ask stat
    json '[.result.partitions[].evictions] | add > 100' > /dev/null || fail "nothing was evicted"
    # Both ends tell the same story; what was sent again counts twice at the server.
    json ".result.sum.hits >= $(jq .hits <<< "$replayed") and
        ([.result.ops.MATCH[]] | add) >= $(jq .match.ops <<< "$replayed")" > /dev/null ||
        fail "the server counted less than the client: $replayed"
    # Every block stored is there, or was evicted.
    json '[.result.partitions[] | .items + .evictions + .expired + .replaced] | add' > /dev/null
    same "$(json '[.result.partitions[] | .items + .evictions + .expired + .replaced] | add')" \
        "$(jq .put.ops <<< "$replayed")" "blocks there and evicted"
    stop_server
done
