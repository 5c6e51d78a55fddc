# SPDX-License-Identifier: Apache-2.0
"""The load engines: kvrail-load on a DPDK port, and `kvrail bench` over sockets."""
from __future__ import annotations

import dataclasses
import json
import os
import subprocess

from rig import build, server
from rig.child import ChildFailed


@dataclasses.dataclass
class Mix:
    """What is asked for."""

    ops: str = "get"
    keys: str = "1M"
    key_size: int = 16
    size: str = "64"
    dist: str = "zipf:0.99"
    batch: int = 1
    depth: int = 256

    def options(self) -> list[str]:
        return ["--ops", self.ops, "--keys", self.keys, "--key-size", str(self.key_size),
                "--size", self.size, "--dist", self.dist, "--batch", str(self.batch),
                "--depth", str(self.depth)]


def _run(command: list[str], limit: float) -> dict:
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             timeout=limit, check=False)
    except subprocess.TimeoutExpired as fault:
        raise ChildFailed(f"{command[0]} took more than {limit:.0f} s") from fault
    if run.returncode:
        raise ChildFailed(f"{' '.join(command)}: exit {run.returncode}: "
                          f"{(run.stderr or run.stdout).strip()[-400:]}")
    return json.loads(run.stdout.strip().splitlines()[-1])


class LoadEngine:
    """kvrail-load at the other end of the server's device."""

    def __init__(self, build_folder: str, folder: str, cpu: int, hugepages: bool,
                 device: str | None = None, mtu: int = 1500) -> None:
        self.program = build.program(build_folder, "kvrail-load")
        self.fixed = ["--device", device or server.memif(folder, "client"), "--server", server.URL,
                      "--ipv4", "10.96.0.9", "--cpus", str(cpu), "--mtu", str(mtu), "--json",
                      "--quiet", "--hugepages", "auto" if hugepages else "off"]

    def missing(self) -> str | None:
        return None if os.path.exists(self.program) else f"no {self.program}: it was not built"

    def run(self, mix: Mix, seconds: float, warm: bool, more: list[str] | None = None) -> dict:
        return _run([self.program, *self.fixed, *mix.options(), "--seconds", f"{seconds:g}",
                     "--warm" if warm else "--no-warm", *(more or [])], seconds + 300)

    def fill(self, mix: Mix) -> dict:
        """Stores every key; asks for next to nothing."""
        few = dataclasses.replace(mix, batch=8 if mix.size.isdigit() and int(mix.size) <= 64 else 1)
        command = [self.program, *self.fixed, *few.options(), "--count", "1000", "--warm"]
        try:
            return _run(command, 900)
        except ChildFailed:  # a busy machine: the server was not heard for too long
            return _run(command, 900)


def bench(build_folder: str, mix: Mix, seconds: float, warm: bool, enter: list[str],
          more: list[str] | None = None) -> dict:
    """`kvrail bench` over kernel sockets; enter: what puts it into the client's namespace."""
    return _run([*enter, build.program(build_folder, "kvrail"), "bench", "--server", server.URL,
                 "--json", "--quiet", *mix.options(), "--seconds", f"{seconds:g}",
                 "--warm" if warm else "--no-warm", *(more or [])], seconds + 300)


def latency(said: dict, op: str = "get") -> dict[str, float]:
    row = said["by_op"][op]["latency"]
    return {name: row[name] for name in ("p50_us", "p99_us", "p99_9_us") if name in row}
