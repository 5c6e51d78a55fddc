#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A user without rights: namespaces of his own give him a TAP device. The conversation of tap.sh,
# and tools/demo with the command that its hint names.
. "$(dirname "$0")/init.sh"

[ "$(awk '{ print $1 $2 }' /proc/self/uid_map)" = 00 ] || skip "this test runs without root anyway"
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
"${nobody[@]}" unshare -Urnm true 2> /dev/null || skip "users may not make namespaces here"
"${nobody[@]}" test -w /dev/net/tun || skip "users may not open /dev/net/tun"

# The sources and the build may lie where nobody may look.
copy=$work/copy
chmod 755 "$work"
mkdir -m 777 "$copy" "$copy/tmp"
mkdir "$copy/controlplane" "$copy/dataplane" "$copy/tools"
cp "$SMOKE_KVRAIL" "$here/../../tools/demo" "$copy/tools"
cp "$SMOKE_KVRAILD" "$copy/controlplane"
cp "$SMOKE_DATAPLANE" "$copy/dataplane"
cp "$here"/*.sh "$copy"
umount /run

expect 0 "${nobody[@]}" env -u SMOKE_INSIDE -u XDG_RUNTIME_DIR TMPDIR="$copy/tmp" \
    SMOKE_KVRAIL="$copy/tools/kvrail" SMOKE_KVRAILD="$copy/controlplane/kvraild" \
    SMOKE_DATAPLANE="$copy/dataplane/kvrail-dataplane" bash "$copy/tap.sh"

demo=("${nobody[@]}" env -u CI -u XDG_RUNTIME_DIR "$copy/tools/demo")
expect 0 "${demo[@]}" --build "$copy" --conversations 5 --cache 32MiB
says "corrupt blocks 0"
hint=$(sed -n 's/^look around: *\(.*status\) .*/\1/p' <<< "$out")
cd "$copy"
expect 0 "${nobody[@]}" bash -c "$hint"
says kvr0
expect 0 "${demo[@]}" stop
same "$(pgrep -c kvrail || true)" 0 "processes left"
