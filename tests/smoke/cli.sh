#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every command of `kvrail` against a server: its exit code, its text, and that what it prints with
# --json is JSON.
. "$(dirname "$0")/init.sh"

# every line of $out is JSON
is_json() {
    jq -e . <<< "$out" > /dev/null 2>&1 || fail "not JSON"
}

commands=(status stat latency errors config get put del touch match ping bench replay workload)
for command in "${commands[@]}"; do
    expect 0 "$SMOKE_KVRAIL" $command --help
    says "kvrail $command"
    says --json
    expect 2 "$SMOKE_KVRAIL" $command --no-such-option
    says "--help"
done
expect 0 "$SMOKE_KVRAIL" --help
for command in "${commands[@]}"; do says "$command"; done
expect 0 "$SMOKE_KVRAIL" --version
expect 2 "$SMOKE_KVRAIL"
expect 2 "$SMOKE_KVRAIL" gett key
says get

# Nobody there.
expect 4 kv --timeout 300ms get key
expect 4 kv --timeout 300ms ping -c 1 --json
expect 4 kv status
expect 2 "$SMOKE_KVRAIL" --server tcp://10.96.0.1 get key

start_server
expect 0 kv put key --value text --ttl 1h
expect 0 kv put bytes --value $'\x01\x02' --json
is_json
expect 0 kv get key
same "$out" text "the value"
expect 0 kv get key --json
same "$(json .value)" text "the value"
expect 0 kv get key --meta
says "length"
expect 0 kv get key --meta --json
same "$(json .value_len)" 4 "the length"
expect 0 kv get --hex 6b6579
same "$out" text "the value by its key in hexadecimal"
expect 1 kv get absent --json
same "$(json 'has("error")')" true "an error in JSON"
expect 0 kv touch key --ttl 5m
expect 0 kv match key bytes absent
says "prefix 2 of 3"
expect 0 kv match key absent --json
same "$(json .prefix)" 1 "the prefix"
expect 0 kv del bytes
expect 1 kv del bytes absent --json
same "$(jq -s length <<< "$out")" 2 "answers, one for each key"
expect 2 kv get
expect 2 kv get one two
expect 2 kv get key --off 1x

expect 0 kv ping -c 2 -i 10ms
says "2 answered"
expect 0 kv ping -c 2 -i 10ms --json
is_json
expect 0 kv stat -c 2 -i 50ms
says "get/s"
expect 0 kv stat -c 2 -i 50ms --json
same "$(jq -s length <<< "$out")" 2 "lines"
expect 0 kv status
says kvr0
expect 0 kv status --json
same "$(json .state)" ok "the state"
expect 0 kv errors
expect 0 kv errors --json
is_json
expect 0 kv latency
says GET
expect 0 kv latency --json
is_json

expect 0 kv config
says zero_copy_min
expect 0 kv config --json
is_json
expect 0 kv config get policy
says lru
expect 0 kv config set policy fifo
expect 0 kv config get policy
says fifo
expect 1 kv config set policy random
says "lru, lfu, fifo"
expect 1 kv config set workers 2

expect 0 kv bench --count 2000 --keys 200 --size 100 --json
out=$(tail -n 1 <<< "$out")
same "$(json .corrupt)" 0 "corrupt values"
expect 0 kv bench --count 2000 --keys 200 --size 100
says "ops/s"
expect 0 kv workload conversations=3 turns=2 -o "$work/trace.jsonl"
expect 0 kv replay "$work/trace.jsonl" --block-bytes 4KiB --json
out=$(tail -n 1 <<< "$out")
same "$(json .corrupt)" 0 "corrupt blocks"
expect 0 kv replay "$work/trace.jsonl" --block-bytes 4KiB
says "hit ratio"
expect 1 kv replay "$work/no-such-trace"
stop_server
