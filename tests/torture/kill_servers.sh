#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The dataplane is killed and stopped, kvraild is killed and started again, as often as the argument
# says, under load over UDP and over shared memory: no wrong byte, no call past its deadline, and
# everything acknowledged is hit afterwards.
# TORTURE_FULL=1: 500 times, 100 of each kind and more.
. "$(dirname "$0")/../smoke/init.sh"

times=${1:-100}
[ "${TORTURE_FULL:-0}" = 0 ] || times=500
udp_threads=${KILL_UDP_THREADS:-2}
shm_threads=${KILL_SHM_THREADS:-2}
actions=(kill-dataplane stall-dataplane kill-dataplane kill-kvraild pause-dataplane)
[ -z "${KILL_ACTIONS:-}" ] || read -ra actions <<< "$KILL_ACTIONS"
declare -A done_by

dataplane() { "$SMOKE_KVRAIL" --control "$socket" status --json 2> /dev/null | jq -er '.dataplane | select(.state == "ready") | .pid'; }
another_than() { [ "$(dataplane)" != "$1" ] && dataplane > /dev/null; }
seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

# A dataplane that is stopped is taken for dead by who watches it.
act() { # WHAT
    local pid
    wait_for 15 dataplane || fail "the dataplane is not ready before $1"
    pid=$(dataplane)
    case $1 in
        kill-dataplane) kill -KILL "$pid" ;;
        stall-dataplane) kill -STOP "$pid" ;;
        pause-dataplane)
            kill -STOP "$pid"
            sleep "$(seconds $((20 + RANDOM % 80)))"
            kill -CONT "$pid"
            return
            ;;
        kill-kvraild)
            kill -KILL "$server_pid"
            wait "$server_pid" 2> /dev/null || true
            sleep "$(seconds $((RANDOM % 300)))"
            "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" >> "$log" 2>&1 < /dev/null &
            server_pid=$!
            wait_for 15 dataplane || fail "the next kvraild has no dataplane"
            same "$(dataplane)" "$pid" "dataplane that the next kvraild has"
            return
            ;;
    esac
    wait_for 15 another_than "$pid" || fail "no other dataplane after $1 of $pid"
}

# It dies more often than anybody should bear: no pauses that grow.
start_server cache_size=64MiB workers=2 idle=sleep audit_on_stop=on restart_pause_max=50ms \
    local_socket="$work/local.sock" local_write=owner
"$KILL_SERVERS" "$url" "$udp_threads" "shm://$work/local.sock" "$shm_threads" \
    > "$work/load.log" 2>&1 &
load=$!
wait_for 15 grep -q ready "$work/load.log" || fail "no load: $(cat "$work/load.log")"
for ((i = 0; i < times; i++)); do
    sleep "$(seconds $((RANDOM % 400)))"
    kill -0 $load 2> /dev/null || fail "after $i: $(cat "$work/load.log")"
    what=${actions[i % ${#actions[@]}]}
    act "$what"
    done_by[$what]=$((${done_by[$what]:-0} + 1))
done
sleep 1
kill -TERM $load
code=0
wait $load || code=$?
cat "$work/load.log"
for what in "${!done_by[@]}"; do echo "$what: ${done_by[$what]}"; done
[ $code -eq 0 ] || fail "the load's exit code is $code"
stop_server
same "$(grep -c 'audit of partition .*: all agrees' "$log")" 2 "partitions that add up"
