#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Local clients die at random instants, as often as the argument says: no survivor sees a wrong byte,
# nothing stays held or reserved a second after the last death, and the arena adds up.
# TORTURE_FULL=1: 1,000 times.
. "$(dirname "$0")/../smoke/init.sh"

kills=${1:-1000}
[ "${TORTURE_FULL:-0}" = 0 ] || kills=1000
start_server cache_size=16MiB workers=2 idle=sleep audit_on_stop=on local_socket="$work/local.sock" \
    local_write=owner
"$KILL_CLIENTS" "$work/local.sock" "$kills" || fail "see above"
expect 0 kv status --json
same "$(json .dataplane.restarts)" 0 "restarts of the dataplane"
stop_server
same "$(grep -c 'audit of partition .*: all agrees' "$log")" 2 "partitions that add up"
