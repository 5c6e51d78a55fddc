# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What every smoke test starts with: it runs the calling script again inside namespaces of its own
# (network, mounts, processes; users too when not root). When the script ends, the kernel ends
# what it started and removes its devices, whatever happened. Tests need no unique names, and
# cannot reach anything outside.
#
# From the environment: SMOKE_KVRAIL, SMOKE_KVRAILD, SMOKE_DATAPLANE, SMOKE_PCAP (programs),
# TESTPMD (optional).

set -euo pipefail

skip() {
    echo "skipped: $*"
    exit 77
}

if [ -z "${SMOKE_INSIDE:-}" ]; then
    user=()
    [ "$(id -u)" -eq 0 ] || user=(--user --map-root-user)
    [ -c /dev/net/tun ] || skip "no /dev/net/tun"
    if ! why=$(unshare "${user[@]}" -nmp --fork true 2>&1); then
        skip "namespaces may not be made here: $why"
    fi
    work=$(mktemp -d "${TMPDIR:-/tmp}/kvrail-smoke.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    code=0
    SMOKE_INSIDE=$work unshare "${user[@]}" -nmp --fork --kill-child --mount-proc \
        bash "$0" "$@" || code=$?
    exit $code
fi

set -E
# A setting of the user's would win over those of the tests.
for name in "${!KVRAIL_@}"; do unset "$name"; done
trap 'echo "FAILED: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
work=$SMOKE_INSIDE
export XDG_RUNTIME_DIR=$work
here=$(cd "$(dirname "$0")" && pwd)
socket=$work/control.sock
log=$work/kvraild.log
url4=udp://10.96.0.1:9690
url6="udp://[fd96::1]:9690"
url=$url4
server_pid=
at_client=() # puts a command where the client is
out=
err=
mount -t tmpfs none /run
ip link set lo up

fail() {
    echo "FAILED: $*"
    if [ -n "$out$err" ]; then sed -n '1,40s/^/    /p' <<< "$out$err"; fi
    if [ -s "$log" ]; then
        echo "  kvraild said:"
        tail -n 30 "$log" | sed 's/^/    /'
    fi
    exit 1
}

# expect CODE COMMAND...: runs it (its output goes to $out, its errors to $err) and wants this exit
# code.
expect() {
    local want=$1 code=0
    shift
    out=$("$@" 2> "$work/err" < /dev/null) || code=$?
    err=$(cat "$work/err")
    [ "$code" -eq "$want" ] || fail "exit $code, wanted $want: $*"
}

# says TEXT: the last command did, on either stream.
says() {
    case $out$err in *"$1"*) ;; *) fail "the output lacks \"$1\"" ;; esac
}

# same A B WHAT
same() {
    [ "$1" = "$2" ] || fail "$3: $1, wanted $2"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local until=$((SECONDS + $1 * ${SMOKE_PATIENCE:-1}))
    shift
    until "$@" > /dev/null 2>&1; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.05
    done
}

# The CLI against this test's server, where the client is.
kv() {
    "${at_client[@]}" "$SMOKE_KVRAIL" --server "$url" --control "$socket" --timeout 5s "$@"
}
json() { # FILTER: of the last output
    jq -er "$1" <<< "$out" || fail "no $1 in the output"
}

# ask COMMAND: kvraild's answer on the control socket, in $out.
ask() {
    out=$(/usr/bin/python3 -c '
import json, socket, sys
with socket.socket(socket.AF_UNIX) as control:
    control.connect(sys.argv[1])
    control.sendall(json.dumps({"command": sys.argv[2]}).encode() + b"\n")
    print(control.makefile().readline())' "$socket" "$1") || fail "no answer to $1"
}

dataplane_pid() {
    ask status
    json .result.dataplane.pid
}
running_dataplane() {
    ask status
    [ "$(json .result.dataplane.state)" = ready ]
}

# settings KEY=VALUE...: the configuration file; of the same key the last one counts.
settings() {
    local -A value=([control_socket]=$socket [dataplane]=$SMOKE_DATAPLANE)
    local word
    for word in "$@"; do value[${word%%=*}]=${word#*=}; done
    for word in "${!value[@]}"; do echo "$word: \"${value[$word]}\""; done > "$work/kvrail.yaml"
}

running() { kill -0 "$server_pid" 2> /dev/null; }
answering_or_gone() { ! running || kv --timeout 500ms ping -c 1; }

# start_server KEY=VALUE...: small defaults, then what is given; returns when it answers.
start_server() {
    settings cache_size=64MiB idle=sleep "$@"
    "$SMOKE_KVRAILD" --config "$work/kvrail.yaml" > "$log" 2>&1 < /dev/null &
    server_pid=$!
    await_server
}

await_server() {
    wait_for 15 answering_or_gone || fail "the server does not answer"
    running || fail "kvraild ended"
}

# stop_server: SIGTERM; it must end by itself, with 0.
stop_server() {
    local code=0
    kill -TERM "$server_pid"
    wait_for 10 eval "! running" || fail "kvraild does not stop"
    wait "$server_pid" || code=$?
    same "$code" 0 "exit code of kvraild after SIGTERM"
    server_pid=
}

# A veth pair: kv0 here, without addresses, for the server's device; kv1 with the client's
# addresses in a second network namespace. $at_client runs a command there.
client_namespace() { # [MTU]
    local mtu=${1:-1500} pid
    unshare -n sleep infinity &
    pid=$!
    wait_for 5 eval "[ \"\$(readlink /proc/$pid/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]"
    at_client=(nsenter -t $pid -n)
    ip link add kv0 mtu "$mtu" type veth peer name kv1 mtu "$mtu"
    echo 1 > /proc/sys/net/ipv6/conf/kv0/disable_ipv6
    ip link set kv1 netns $pid
    ip link set kv0 up
    "${at_client[@]}" ip link set lo up
    "${at_client[@]}" ip addr add 10.96.0.2/24 dev kv1
    "${at_client[@]}" ip addr add fd96::2/64 dev kv1 nodad
    "${at_client[@]}" ip link set kv1 up
}
