#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A dataplane that cannot be started any more: the pauses grow, status says what is the matter and
# what helps, and once that is mended `kvrail restart` brings it back at once, with its values.
. "$(dirname "$0")/init.sh"

cat > "$work/dataplane" << END
#!/bin/sh
[ ! -e "$work/broken" ] || exit 7
exec "$SMOKE_DATAPLANE" "\$@"
END
chmod +x "$work/dataplane"
start_server dataplane="$work/dataplane"
expect 0 kv put key --value 'from before'
touch "$work/broken"
kill -KILL "$(dataplane_pid)"
degraded() {
    grep -q '[4-9] restarts in the last .* the next try is in' <<< "$(kv status || true)"
}
wait_for 10 degraded || fail "never degraded: $(kv status || true)"
expect 3 kv status
says "the dataplane is down after: the dataplane exited with status 7"
says "the next try is in"
# shellcheck disable=SC2016
says '`kvrail restart` tries at once'
wait_for 10 grep -q 'started again in 1600 ms' "$log" || fail "the pauses do not grow"
expect 1 kv restart
says "exited with status 7"
rm "$work/broken"
expect 0 kv restart
says "kept 1 blocks"
await_server
expect 0 kv get key
same "$out" 'from before' "the value from before"
expect 0 kv status
says "restarts in the last"
stop_server
