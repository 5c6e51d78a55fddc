#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A veth pair with the server on an XDP socket (net_af_xdp), where the kernel lets us load its
# program.
. "$(dirname "$0")/init.sh"
. "$here/conversation.sh"

client_namespace
settings cache_size=64MiB device=net_af_xdp0,iface=kv0
"$SMOKE_KVRAILD" --config "$work/kvrail.yaml" > "$log" 2>&1 < /dev/null &
server_pid=$!
wait_for 15 answering_or_gone || fail "the server does not answer"
running || skip "no XDP sockets here: $(sed -n 's/.* error *//p' "$log" | head -n 1)"
conversation four
url=$url6
conversation six
stop_server
