# SPDX-License-Identifier: Apache-2.0
"""The echo limit: how many frames a second dpdk-testpmd takes from a device and sends back
(forward mode macswap) when a second testpmd (flowgen) sends as fast as it can."""
from __future__ import annotations

import dataclasses
import os
import re
import shutil
import time

from rig.child import Child

PROMPT = "testpmd> "
MARKS = {"rx": "RX-packets", "tx": "TX-packets", "missed": "RX-missed", "lost": "TX-errors"}


@dataclasses.dataclass
class EchoRate:
    frame_bytes: int
    seconds: float
    rx_s: float  # frames a second that reached the echoing side
    tx_s: float  # that it sent back
    returned_s: float  # that arrived at the generator


def missing() -> str | None:
    return None if shutil.which("dpdk-testpmd") else "no dpdk-testpmd (Debian package dpdk-dev)"


class Testpmd:
    """One interactive dpdk-testpmd with one port and one forwarding core."""

    def __init__(self, folder: str, name: str, devices: list[str], cpu: int, main_cpu: int,
                 options: list[str], hugepages: bool, megabytes: int = 128) -> None:
        memory = ["--in-memory"] if hugepages else ["--no-huge", "--no-shconf"]
        command = ["stdbuf", "-oL", "dpdk-testpmd", *memory, "-m", str(megabytes), "--no-pci", "--no-telemetry",
                   f"--file-prefix={name}", "--lcores", f"0@{main_cpu},1@{cpu}",
                   "--main-lcore=0", "--log-level=notice"]
        for device in devices:
            command += ["--vdev", device]
        command += ["--", "-i", "--nb-cores=1", *options]
        self.child = Child(folder, name, command, talk=True)

    def __enter__(self) -> Testpmd:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ready(self) -> None:
        self.child.wait_for(lambda: PROMPT in self.child.said(), 30, "does not start")

    def ask(self, command: str) -> str:
        before = self.child.said().count(PROMPT)
        start = len(self.child.said())
        self.child.tell(command)
        self.child.wait_for(lambda: self.child.said().count(PROMPT) > before, 10,
                            f"no answer to '{command}'")
        return self.child.said()[start:]

    def counters(self, port: int = 0) -> dict[str, int]:
        said = self.ask(f"show port stats {port}")
        found = {}
        for name, mark in MARKS.items():
            match = re.search(rf"{mark}: *(\d+)", said)
            if not match:
                raise self.child.failure(f"no {mark} in its statistics")
            found[name] = int(match.group(1))
        return found

    def stop(self) -> None:
        if self.child.running():
            try:
                self.child.tell("quit")
                self.child.process.wait(5)
            except (OSError, TimeoutError, Exception):  # noqa: BLE001 - it is ended below anyway
                pass
        self.child.stop()


def measure(folder: str, server_device: str, client_device: str, frame_bytes: int, seconds: float,
            cpus: tuple[int, int], hugepages: bool, mtu: int = 1500,
            socket: str | None = None) -> EchoRate:
    """cpus: of the echoing and of the generating side. socket: a file that the server's device
    makes (memif), before which the client cannot start."""
    mbufs = 4096 if mtu > 1500 else 16384
    room = 2048 if mtu <= 1500 else (mtu + 1023) // 1024 * 1024 + 1024
    size = [f"--total-num-mbufs={mbufs}", f"--mbuf-size={room}"]
    if mtu > 1500:
        size.append(f"--max-pkt-len={mtu + 18}")
    megabytes = 64 + mbufs * (room + 384) // (1 << 20)
    echo_cpu, generator_cpu = cpus
    with Testpmd(folder, "echo", [server_device], echo_cpu, generator_cpu,
                 ["--forward-mode=macswap", *size], hugepages, megabytes) as echo:
        if socket:
            echo.child.wait_for(lambda: os.path.exists(socket), 20, f"makes no {socket}")
        echo.ready()
        with Testpmd(folder, "generator", [client_device], generator_cpu, echo_cpu,
                     ["--forward-mode=flowgen", f"--txpkts={frame_bytes}", *size], hugepages,
                     megabytes) as generator:
            generator.ready()
            echo.ask("start")
            generator.ask("start")
            time.sleep(1)
            before, began = echo.counters(), time.monotonic()
            back = generator.counters()
            time.sleep(seconds)
            after, ended = echo.counters(), time.monotonic()
            back_after = generator.counters()
            generator.ask("stop")
    took = ended - began
    return EchoRate(frame_bytes, took, (after["rx"] - before["rx"]) / took,
                    (after["tx"] - before["tx"]) / took, (back_after["rx"] - back["rx"]) / took)
