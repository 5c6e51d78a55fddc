# SPDX-License-Identifier: Apache-2.0
"""A veth pair: kv0 here, without addresses, for the server's device; kv1 with the client's address
in a second network namespace."""
from __future__ import annotations

import os
import subprocess

from rig.child import Child

SERVER, CLIENT = "kv0", "kv1"


def _ip(*words: str, enter: list[str] | None = None) -> None:
    subprocess.run([*(enter or []), "ip", *words], check=True)


class Veth:
    def __init__(self, folder: str, mtu: int) -> None:
        self.holder = Child(folder, "client-namespace", ["unshare", "-n", "sleep", "infinity"])
        try:
            own = os.readlink("/proc/self/ns/net")
            self.holder.wait_for(
                lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, 5,
                "no namespace for the client")
            self.enter = ["nsenter", "-t", str(self.holder.pid), "-n"]
            _ip("link", "add", SERVER, "mtu", str(mtu), "type", "veth", "peer", "name", CLIENT,
                "mtu", str(mtu))
            with open(f"/proc/sys/net/ipv6/conf/{SERVER}/disable_ipv6", "w",
                      encoding="ascii") as file:
                file.write("1")
            _ip("link", "set", CLIENT, "netns", str(self.holder.pid))
            _ip("link", "set", SERVER, "up")
            _ip("link", "set", "lo", "up", enter=self.enter)
            _ip("addr", "add", "10.96.0.2/24", "dev", CLIENT, enter=self.enter)
            _ip("link", "set", CLIENT, "up", enter=self.enter)
        except BaseException:
            self.holder.stop()
            raise

    def __enter__(self) -> Veth:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "link", "del", SERVER], stderr=subprocess.DEVNULL, check=False)
        self.holder.stop()


def af_packet(interface: str, mtu: int) -> str:
    """A device string; slots and blocks of the ring as kvrail chooses them."""
    room = (mtu + 22 + 80 + 1023) // 1024 * 1024
    return f"net_af_packet0,iface={interface},framesz={room},blocksz={4 * room}"
