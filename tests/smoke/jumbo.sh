#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Frames of 9,000 bytes: large values need about six times fewer datagrams, and stay right.
. "$(dirname "$0")/init.sh"
. "$here/conversation.sh"

client_namespace 9000
start_server device=net_af_packet0,iface=kv0 mtu=9000
expect 0 "${at_client[@]}" ping -q -c 1 -W 2 -M "do" -s 8972 10.96.0.1
expect 0 "${at_client[@]}" ping -q -c 1 -W 2 -M "do" -s 8952 fd96::1
conversation four
url=$url6
conversation six
stop_server
