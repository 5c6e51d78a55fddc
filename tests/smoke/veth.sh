#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A veth pair: the server on a packet socket (net_af_packet) at one end, the client in a network
# namespace of its own at the other.
. "$(dirname "$0")/init.sh"
. "$here/conversation.sh"

client_namespace
start_server device=net_af_packet0,iface=kv0
expect 0 "${at_client[@]}" ping -q -c 3 -i 0.1 -W 2 10.96.0.1
expect 0 "${at_client[@]}" ping -q -c 3 -i 0.1 -W 2 fd96::1
conversation four
url=$url6
conversation six
stop_server
