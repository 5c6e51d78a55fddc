# SPDX-License-Identifier: Apache-2.0
"""memcached and Redis, one thread each on the server's CPU, and the loading of them."""
from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import subprocess

from rig import build, machine
from rig.child import Child, ChildFailed
from rig.context import Context

PORTS = {"memcached": 11311, "redis": 16379}


def missing() -> str | None:
    needed = {"memcached": "memcached", "redis-server": "redis-server",
              "redis-benchmark": "redis-tools", "taskset": "util-linux"}
    lacking = [package for name, package in needed.items() if not shutil.which(name)]
    return f"missing Debian packages: {' '.join(lacking)} (tools/setup --perf)" if lacking else None


def _command(kind: str, megabytes: int) -> list[str]:
    port = str(PORTS[kind])
    if kind == "memcached":
        return ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", port, "-U", port, "-t", "1",
                "-m", str(megabytes), "-c", "1024"]
    return ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly",
            "no", "--daemonize", "no"]


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to ask a peer for values."""

    kind: str  # of PORTS
    protocol: str  # of peer_load, or "redis-benchmark"
    batch: int = 1
    slots: int = 1
    udp: bool = False

    def words(self) -> str:
        transport = "UDP" if self.udp else "TCP"
        flight = "in flight" if self.udp else "connections"
        how = {"memcached": "multiget", "memcached-pipeline": "pipelined gets",
               "redis": "pipelined GETs", "redis-mget": "MGET",
               "redis-benchmark": "redis-benchmark -P"}[self.protocol]
        batch = f", {how} {self.batch}" if self.batch > 1 else (
            ", redis-benchmark" if self.protocol == "redis-benchmark" else "")
        return f"{self.kind} {transport}, {self.slots} {flight}{batch}"


class Peer:
    """A running peer, filled with the same keys and values as kvrail."""

    def __init__(self, context: Context, kind: str, keys: int, size: int) -> None:
        self.context, self.kind, self.keys, self.size = context, kind, keys, size
        self.program = build.program(context.build, "peer_load")
        self.child = Child(context.folder, kind, ["taskset", "-c", str(context.server_cpu),
                                                  *_command(kind, 4096)])
        try:
            self.child.wait_for(self._answers, 10, "does not start")
            self._load(["--protocol", kind, "--fill"])
        except BaseException:
            self.child.stop()
            raise

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.stop()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", PORTS[self.kind]), 1).close()
            return True
        except OSError:
            return False

    def _load(self, options: list[str]) -> str:
        command = ["taskset", "-c", str(self.context.load_cpu), self.program, "--port",
                   str(PORTS[self.kind]), "--keys", str(self.keys), "--size", str(self.size),
                   *options]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             check=False)
        if run.returncode:
            raise ChildFailed(run.stderr.strip()[:300])
        return run.stdout

    def _benchmark(self, way: Way, seconds: float) -> dict:
        """redis-benchmark counts requests, not seconds: a short run tells how many. Its keys are
        uniform."""
        def rate(number: int) -> float:
            run = subprocess.run(
                ["taskset", "-c", str(self.context.load_cpu), "redis-benchmark", "-p",
                 str(PORTS["redis"]), "-t", "get", "-c", str(way.slots), "-P", str(way.batch), "-r",
                 str(self.keys), "-n", str(number), "--csv"],
                stdout=subprocess.PIPE, text=True, check=True)
            return float(run.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))

        return {"ops_s": rate(int(max(rate(20000) * seconds, 10000)))}

    def run(self, way: Way, seconds: float) -> dict:
        use = machine.CpuUse(self.child.pid)
        if way.protocol == "redis-benchmark":
            return {"value": self._benchmark(way, seconds)["ops_s"]}
        said = json.loads(self._load(
            ["--protocol", way.protocol, "--batch", str(way.batch), "--slots", str(way.slots),
             "--seconds", f"{seconds:g}", *(["--udp"] if way.udp else [])]))
        if said["wrong"] or not said["ops"]:
            raise ChildFailed(f"{way.words()}: {said['wrong']} wrong answers, {said['ops']} right")
        return {"value": said["ops_s"], "lost": said["lost"], "p50_us": said["p50_us"],
                "p99_us": said["p99_us"], "p99_9_us": said["p99_9_us"],
                "peer_cpu": min(use.seconds() / (seconds + 0.2), 1.0)}

    def _try(self, way: Way, seconds: float) -> float:
        """A way that does not work is not the best one."""
        try:
            return self.run(way, seconds)["value"]
        except ChildFailed as fault:
            self.context.progress(f"{way.words()}: {fault}")
            return 0.0

    def best(self, ways: list[Way]) -> tuple[Way, dict[str, float]]:
        """The fastest of them in a short trial, and what each did."""
        trial = min(self.context.seconds, 1.0)
        rates = {way: self._try(way, trial) for way in ways}
        way = max(rates, key=lambda one: rates[one])
        self.context.progress(f"best of {len(ways)}: {way.words()}: {rates[way]:.0f} GET/s")
        return way, {one.words(): round(rate) for one, rate in rates.items()}
