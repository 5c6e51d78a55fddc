#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/demo from start to stop, with the programs of this build, also without root: its figures,
# its hint (the command in it works), and that nothing stays after `tools/demo stop`.
. "$(dirname "$0")/init.sh"

export KVRAIL_DEMO_STATE=$work/state
unset CI
demo() { "$here/../../tools/demo" --no-hugepages "$@"; }

expect 0 demo --build "$SMOKE_BUILD" --conversations 10 --cache 64MiB
echo "$out"
says "hit ratio"
says "corrupt blocks 0"
says "without"
hint=$(sed -n 's/^look around: *\(.*status\) .*/\1/p' <<< "$out")
[ -n "$hint" ] || fail "no hint how to look around"
expect 0 bash -c "$hint"
says kvr0
expect 0 demo stop
expect 4 bash -c "$hint"
! ip link show kvr0 > /dev/null 2>&1 || fail "kvr0 is left"
same "$(pgrep -c kvrail || true)" 0 "processes left"
expect 0 demo stop

expect 0 demo --build "$SMOKE_BUILD" --conversations 10 --cache 64MiB --once
same "$(pgrep -c kvrail || true)" 0 "processes left after --once"
