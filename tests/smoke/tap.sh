#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A TAP device: the server answers ARP, neighbour solicitations and pings itself, and a whole
# conversation goes over IPv4 and over IPv6.
. "$(dirname "$0")/init.sh"
. "$here/conversation.sh"

start_server
expect 0 ping -q -c 3 -i 0.1 -W 2 10.96.0.1
expect 0 ping -q -c 3 -i 0.1 -W 2 fd96::1
# The largest that fits, and one that is no multiple of anything.
expect 0 ping -q -c 1 -W 2 -M "do" -s 1472 10.96.0.1
expect 0 ping -q -c 1 -W 2 -M "do" -s 1452 fd96::1
expect 0 ping -q -c 1 -W 2 -s 1 10.96.0.1
conversation four
url=$url6
conversation six
stop_server
