#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who may attach on this host, and with which right: another user is kept out, or let in to read and
# not to write, by whatever way it tries.
. "$(dirname "$0")/init.sh"

nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
nobody true 2> /dev/null || skip "no other user can be had here"
nobody test -x "$SMOKE_KVRAIL" || skip "other users cannot run $SMOKE_KVRAIL"
url=shm:///run/local.sock
kv_nobody() { nobody "$SMOKE_KVRAIL" --server $url --timeout 5s "$@"; }

start_server local_socket=/run/local.sock
same "$(stat -c %a /run/local.sock)" 600 "permissions of the local socket"
expect 0 kv put key --value mine
expect 1 kv_nobody get key
stop_server

start_server local_socket=/run/local.sock local_access=all
expect 0 kv put key --value mine
expect 0 kv_nobody get key
same "$out" mine "what another user reads"
expect 0 kv_nobody put theirs --value 'by the copy worker'
expect 0 kv get theirs
same "$out" 'by the copy worker' "what another user put"
# The descriptors that it is given cannot be made writable.
cat > /run/attach.py << 'END'
import os, socket, struct, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
    s.connect("/run/local.sock")
    s.send(struct.pack("<QIIII32s", 0x686361747461766b, 1, int(sys.argv[1]), 1, 0, b"probe"))
    offer, fds, _, _ = socket.recv_fds(s, 4096, 4)
    status, rights = struct.unpack_from("<II", offer, 12)
    assert status == 0 and rights == 0 and len(fds) == 2, (status, rights, fds)
    for fd in fds:
        try:
            os.write(fd, b"x")
            sys.exit("written")
        except OSError:
            pass
        try:
            os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR))
            sys.exit("opened for writing")
        except PermissionError:
            pass
END
version=$(sed -n 's/^#define ARENA_VERSION //p' "$here/../../shm/layout.h")
expect 0 nobody /usr/bin/python3 /run/attach.py "$version"
stop_server

url=$url4
start_server local_socket=/run/local.sock clients_max=0
[ ! -e /run/local.sock ] || fail "a local socket although none may attach"
stop_server
