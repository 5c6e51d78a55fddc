#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A user without rights, and without a namespace that would give them: one line, exit 1.
. "$(dirname "$0")/init.sh"

ip link add plain type veth peer name other
# Without any capability the devices of this namespace cannot be had.
drop=(setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all)
"${drop[@]}" true 2> /dev/null || skip "capabilities cannot be dropped here"
for device in net_tap0,iface=kvr0 net_af_packet0,iface=plain; do
    settings device=$device
    code=0
    "${drop[@]}" timeout 20 "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" > "$work/out" 2>&1 < /dev/null || code=$?
    out=$(cat "$work/out") err=
    same $code 1 "exit code with $device"
    case $out in
        *[Pp]ermission* | *CAP_NET* | *privilege* | *root*) ;;
        *) fail "the message does not say that a right is missing" ;;
    esac
    same "$(grep -c " error " "$work/out")" 1 "lines of errors with $device"
done
