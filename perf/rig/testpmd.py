# SPDX-License-Identifier: Apache-2.0
"""One interactive dpdk-testpmd with one port and one forwarding core."""
from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import time

from rig.child import Child

PROMPT = "testpmd> "
MARKS = {"rx": "RX-packets", "tx": "TX-packets"}
FRAME_HEAD = 14


def missing() -> str | None:
    if shutil.which("dpdk-testpmd"):
        return None
    return "no dpdk-testpmd (Debian package dpdk-dev; tools/setup --perf)"


@dataclasses.dataclass
class Place:
    """Where a testpmd runs and on what."""

    folder: str
    device: str
    cpu: int
    main_cpu: int
    hugepages: bool
    mtu: int = 1500
    enter: list[str] = dataclasses.field(default_factory=list)  # puts it into a namespace


class Testpmd:
    def __init__(self, name: str, place: Place, mode: str, options: list[str]) -> None:
        jumbo = place.mtu > 1500
        mbufs = 8192 if jumbo else 16384
        room = (place.mtu + 1023) // 1024 * 1024 + 1024 if jumbo else 2048 + 128
        megabytes = 64 + mbufs * (room + 384) // (1 << 20)
        memory = ["--in-memory"] if place.hugepages else ["--no-huge", "--no-shconf"]
        command = [*place.enter, "stdbuf", "-oL", "dpdk-testpmd", *memory, "-m", str(megabytes),
                   "--no-pci", "--no-telemetry", f"--file-prefix={name}", "--lcores",
                   f"0@{place.main_cpu},1@{place.cpu}", "--main-lcore=0", "--log-level=notice",
                   "--vdev", place.device, "--", "-i", "--nb-cores=1", f"--forward-mode={mode}",
                   f"--total-num-mbufs={mbufs}", f"--mbuf-size={room}", *options]
        if jumbo:
            command.append(f"--max-pkt-len={place.mtu + 18}")
        self.child = Child(place.folder, name, command, talk=True)

    def __enter__(self) -> Testpmd:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ready(self) -> None:
        self.child.wait_for(lambda: PROMPT in self.child.said(), 30, "does not start")

    def ask(self, command: str) -> str:
        before = self.child.said()
        self.child.tell(command)
        self.child.wait_for(lambda: self.child.said().count(PROMPT) > before.count(PROMPT), 10,
                            f"no answer to '{command}'")
        return self.child.said()[len(before):]

    def counters(self) -> dict[str, float]:
        said = self.ask("show port stats 0")
        found: dict[str, float] = {"at": time.monotonic()}
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
            except (OSError, subprocess.TimeoutExpired):
                pass
        self.child.stop()
