#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The beginning of a real trace of LLM requests, where it is at hand: no corrupt block, and the hit
# ratio of each policy that a reference simulator gives for the same requests and capacity.
# SMOKE_TRACE names the trace (default: shared/traces beside the repository).
. "$(dirname "$0")/init.sh"

trace=${SMOKE_TRACE:-$here/../../../shared/traces/mooncake_conversation.jsonl}
[ -r "$trace" ] || skip "no trace: SMOKE_TRACE, or $trace"
head -n 400 "$trace" > "$work/trace.jsonl"

# capacity in blocks of 4 KiB, and what the simulator says, in hits: policy:hits
capacity=1024
wanted() { # POLICY
    /usr/bin/python3 - "$work/trace.jsonl" "$capacity" "$1" <<'PYTHON'
import json, sys
from collections import OrderedDict
path, capacity, policy = sys.argv[1], int(sys.argv[2]), sys.argv[3]
stored, hits, blocks = OrderedDict(), 0, 0
for line in open(path):
    ids = json.loads(line)["hash_ids"]
    blocks += len(ids)
    prefix = next((i for i, key in enumerate(ids) if key not in stored), len(ids))
    hits += prefix
    for key in ids:
        if key in stored:
            if policy == "lru":
                stored.move_to_end(key)
            continue
        if len(stored) >= capacity:
            stored.popitem(last=False)
        stored[key] = True
print(f"{hits / blocks:.4f}")
PYTHON
}

for policy in lru fifo; do
    start_server cache_size=$((capacity * 4))KiB policy=$policy
    expect 0 kv replay "$work/trace.jsonl" --block-bytes 4KiB --json
    out=$(tail -n 1 <<< "$out")
    same "$(json .corrupt)/$(json .errors)" 0/0 "corrupt blocks and errors"
    want=$(wanted $policy)
    json "(.hit_ratio - $want) | fabs < 0.01" > /dev/null || fail "$policy: wanted a ratio of $want"
    stop_server
done
