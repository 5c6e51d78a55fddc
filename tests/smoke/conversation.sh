# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# One conversation with the server at $url that uses every operation, and what the server must
# have counted afterwards. The same for every kind of port.

# What the server has counted so far, as JSON.
counters() {
    ask stat
    counted=$out
}

# moved WANT FILTER...: each of them grew by WANT since $before.
moved() {
    local want=$1 was now
    shift
    for filter in "$@"; do
        was=$(jq -r "$filter // 0" <<< "$before")
        now=$(jq -r "$filter // 0" <<< "$counted")
        same "$((now - was))" "$want" "$filter since then"
    done
}

conversation() { # PREFIX of its keys
    local k=$1 before counted
    counters
    before=$counted

    # Small, empty and overwritten values.
    expect 0 kv put "$k-a" --value hello
    expect 0 kv get "$k-a"
    same "$out" hello "the value"
    expect 0 kv put "$k-a" --value "hello again"
    expect 0 kv get "$k-a"
    same "$out" "hello again" "the value"
    expect 1 kv put "$k-a" --value third --add
    says "already stored"
    expect 0 kv put "$k-empty" --value ""
    expect 0 kv get "$k-empty"
    same "$out" "" "the empty value"
    expect 1 kv get "$k-absent"
    says "no such key"

    # Large ones, through files: more than a datagram, more than a train, not a round number.
    local size
    for size in 1500 70000 3000001; do
        head -c $size /dev/urandom > "$work/in"
        expect 0 kv put "$k-$size" "$work/in"
        rm -f "$work/got"
        expect 0 kv get "$k-$size" -o "$work/got"
        cmp "$work/in" "$work/got" || fail "$size bytes came back changed"
    done
    # A view of the last one: pieces of it.
    expect 0 kv get "$k-3000001" --off 1000 --len 5000 --stride 100000 --count 20 -o "$work/got"
    local i
    for i in $(seq 0 19); do
        dd if="$work/in" iflag=skip_bytes,count_bytes skip=$((1000 + i * 100000)) count=5000 status=none
    done > "$work/want"
    cmp "$work/want" "$work/got" || fail "the view came back changed"

    # A chain: what is stored of it.
    for i in 0 1 2 4; do expect 0 kv put "$k-chain-$i" --value "$i"; done
    expect 0 kv match --json "$k"-chain-{0..5}
    same "$(json .prefix) $(json .present)" "3 4" "prefix and present keys"

    # Time to live, deletion.
    expect 0 kv put "$k-brief" --value x --ttl 200ms
    expect 0 kv put "$k-kept" --value x --ttl 1h
    expect 0 kv get "$k-kept" --meta
    says "expires  in"
    expect 0 kv touch "$k-kept"
    expect 0 kv get "$k-kept" --meta
    says "expires  never"
    sleep 0.3
    expect 1 kv get "$k-brief"
    expect 0 kv get "$k-kept"
    expect 0 kv del "$k-a"
    expect 1 kv get "$k-a"
    expect 1 kv del "$k-a"
}
