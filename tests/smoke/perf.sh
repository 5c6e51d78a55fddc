#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What measures works at all: a cheap scenario of perf/run, the page of perf/report, the program
# whose instructions are counted, the loader of the peers. No figure is looked at.
. "$(dirname "$0")/init.sh"

perf=$here/../../perf
results=$work/results.jsonl
[ -x "$SMOKE_BUILD/perf/callgrind/get_path" ] || skip "this build has no perf/ programs"

expect 0 "$SMOKE_BUILD/perf/callgrind/get_path" --gets 2000 --warm 100 --keys 1000
[ "$(json .gets)" -ge 2000 ] || fail "too few GETs"
json '.ticks_per_get > 0 and .replies_per_request == 1' > /dev/null
expect 0 "$SMOKE_BUILD/perf/callgrind/get_path" --gets 2000 --ops 16 --keys 1000
expect 2 "$SMOKE_BUILD/perf/callgrind/get_path" --burst 33
says "--burst: '33' is not a number from 1 to 32"

expect 0 "$SMOKE_BUILD/perf/memory/utilisation" --data 64MiB --blocks 1k --size 1MiB
json '.utilisation > 0.5 and .utilisation <= 1 and .evictions > 0' > /dev/null

expect 2 "$SMOKE_BUILD/perf/peers/peer_load" --protocol memcached --port 0
says "--port: '0' is not a number from 1 to 65535"

expect 2 "$perf/run" P4711
says "there is no scenario P4711"
expect 0 "$perf/run" P16 --build "$SMOKE_BUILD" --no-hugepages --runs 2 --time 0.2 -o "$results"
same "$out" "$(cat "$results")" "what is printed and what is appended"
json '.id == "P16" and .met != null and .ratio >= 0 and (.kvrail | type) == "number"' > /dev/null
json '(.reference.name | type) == "string" and (.reference.figure | type) == "number"' > /dev/null
json '(.detail.kvrail.runs | length) == 2' > /dev/null
json '[.commit, .date, .target, .machine.cpu, .machine.kernel] | all(type == "string")' > /dev/null
! compgen -G "${TMPDIR:-/tmp}/kvrail-perf-*/*/kvrail.yaml" > /dev/null || fail "files are left behind"

if command -v valgrind > /dev/null; then
    expect 0 "$perf/callgrind/count" --build "$SMOKE_BUILD" --gets 1000 --warm 100 --keys 1000 --ops 1
    says "instructions per GET"
fi

if ! /usr/bin/python3 -c 'import matplotlib' 2> /dev/null; then
    skip "no python3-matplotlib: perf/report was not tried, the rest is well"
fi
expect 0 "$perf/report" "$results" -o "$work/REPORT.md" --plots "$work/plots"
grep -q '^## P16: ' "$work/REPORT.md" || fail "the page has no section of P16"
[ -s "$work/plots/targets.png" ] || fail "the page has no plot"
echo '{"id": 1' >> "$results"
expect 1 "$perf/report" "$results" -o "$work/REPORT.md" --plots "$work/plots"
says "results.jsonl:2: no result of perf/run"
