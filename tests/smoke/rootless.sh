#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The same as tap.sh for a user without rights: namespaces of his own give him a TAP device.
. "$(dirname "$0")/init.sh"

[ "$(awk '{ print $2 }' /proc/self/uid_map)" = 0 ] || skip "this test runs without root anyway"
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
"${nobody[@]}" unshare -Urnm true 2> /dev/null || skip "users may not make namespaces here"
"${nobody[@]}" test -w /dev/net/tun || skip "users may not open /dev/net/tun"

# The sources and the build may lie where nobody may look.
chmod 755 "$work"
mkdir -m 777 "$work/rootless" "$work/rootless/tmp"
cp "$SMOKE_KVRAIL" "$SMOKE_KVRAILD" "$SMOKE_DATAPLANE" "$here"/*.sh "$work/rootless"
umount /run
expect 0 "${nobody[@]}" env -u SMOKE_INSIDE -u XDG_RUNTIME_DIR TMPDIR="$work/rootless/tmp" \
    SMOKE_KVRAIL="$work/rootless/${SMOKE_KVRAIL##*/}" SMOKE_KVRAILD="$work/rootless/${SMOKE_KVRAILD##*/}" \
    SMOKE_DATAPLANE="$work/rootless/${SMOKE_DATAPLANE##*/}" bash "$work/rootless/tap.sh"
