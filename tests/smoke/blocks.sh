# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # local_url and work are of who sources it
# What smoke/gpu and smoke/gpu-pool do to servers in the middle of transfers. Sourced after init.sh.

blocks() { "$SMOKE_PAGED_BLOCKS" "$@"; }

# The dataplane dies three times under a client that goes on. What paged_blocks does, and how long.
survive_dataplanes() { # WHAT MS
    local load code=0
    blocks "$local_url" "$1" "$2" > "$work/$1" &
    load=$!
    for _ in 1 2 3; do
        sleep 0.7
        kill -KILL "$(dataplane_pid)"
        wait_for 10 running_dataplane || fail "no dataplane after it was killed"
    done
    wait $load || code=$?
    cat "$work/$1"
    same "$code" 0 "transfers while the dataplane dies"
}

# Five clients die in the middle; the server finds out.
kill_clients() { # WHAT
    local victim
    for _ in 1 2 3 4 5; do
        "$SMOKE_PAGED_BLOCKS" "$local_url" "$1" 60000 > /dev/null &
        victim=$!
        sleep 0.4
        kill -KILL $victim
        wait $victim 2> /dev/null || true
    done
    wait_for 5 no_clients || fail "dead clients are still listed"
}
no_clients() { kv --json client list | jq -e '.clients | length == 0' > /dev/null; }
