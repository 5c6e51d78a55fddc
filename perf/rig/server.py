# SPDX-License-Identifier: Apache-2.0
"""A kvraild with its dataplane, started with the settings of a scenario."""
from __future__ import annotations

import json
import os
import socket
import time

from rig import build
from rig.child import Child

URL = "udp://10.96.0.1:9690"


def memif(folder: str, role: str, name: str = "memif", mtu: int = 1500) -> str:
    """A device string. Large frames need large buffers, as kvrail chooses them."""
    size = "" if mtu <= 1500 else f",bsize={(mtu + 22 + 80 + 1023) // 1024 * 1024}"
    return f"net_memif0,role={role},socket={folder}/{name}.sock,socket-abstract=no{size}"


class Server:
    """kvraild on one device. Its control socket tells counters and states."""

    def __init__(self, build_folder: str, folder: str, settings: dict[str, object]) -> None:
        self.build = build_folder
        self.control = os.path.join(folder, "control.sock")
        words = {"control_socket": self.control, "ipv6": "", "host_ipv4": "", "host_ipv6": "",
                 "dataplane": build.program(build_folder, "kvrail-dataplane")} | settings
        self.settings = words
        path = os.path.join(folder, "kvrail.yaml")
        with open(path, "w", encoding="utf-8") as file:
            for name, value in words.items():
                file.write(f"{name}: {json.dumps(str(value))}\n")
        self.child = Child(folder, "kvraild",
                           [build.program(build_folder, "kvraild"), "--config", path])
        try:
            self.child.wait_for(self._serves, 60, "does not start")
        except BaseException:
            self.child.stop()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.stop(seconds=20)

    def _serves(self) -> bool:
        try:
            return self.ask("status")["dataplane"]["state"] == "ready"
        except (OSError, KeyError, ValueError):
            return False

    def ask(self, command: str) -> dict:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(self.control)
            control.sendall(json.dumps({"command": command}).encode() + b"\n")
            answer = json.loads(control.makefile().readline())
        return answer.get("result", answer)

    def counters(self) -> Counters:
        return Counters(self.ask("stat"), time.monotonic())

    def dataplane_pid(self) -> int:
        return int(self.ask("status")["dataplane"]["pid"])

    def notes(self) -> list[str]:
        return list(self.ask("status").get("notes", []))


class Counters:
    """All counters of the server at one moment; minus an earlier one: what happened between."""

    def __init__(self, said: dict, at: float) -> None:
        self.sum: dict[str, int] = said["sum"]
        self.ops: dict[str, dict[str, int]] = said["ops"]
        self.at = at

    def since(self, before: Counters) -> dict[str, float]:
        return {name: value - before.sum.get(name, 0) for name, value in self.sum.items()
                } | {"seconds": self.at - before.at}


def core_shares(spent: dict[str, float], gets: float, tsc_hz: float) -> dict[str, float]:
    """What the poll core's own books say of a time with nothing but GETs."""
    gets = max(gets, 1.0)
    return {
        "busy": spent["busy_ns"] / 1e9 / spent["seconds"],
        "ns_per_get": spent["busy_ns"] / gets,
        "cycles_per_get": spent["busy_ns"] / gets * tsc_hz / 1e9,
        "packets_per_burst": spent["rx_packets"] / max(spent["rx_bursts"], 1),
        "request_frame_bytes": 42 + spent["rx_bytes"] / max(spent["rx_datagrams"], 1),
        "reply_frame_bytes": 42 + spent["tx_bytes"] / max(spent["tx_datagrams"], 1),
        "replies_per_request": spent["tx_datagrams"] / max(spent["rx_datagrams"], 1),
    }
