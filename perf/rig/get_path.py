# SPDX-License-Identifier: Apache-2.0
"""Instructions per GET of the poll core: perf/callgrind/get_path under callgrind."""
from __future__ import annotations

import dataclasses
import json
import os
import subprocess

from rig import callgrind

# Names of functions in perf/callgrind/get_path.c.
TOGGLES = ["measured_loop", "between_bursts"]
# The device's driver stands for a NIC's: what it does is not the poll core's path.
DRIVER = ("librte_net_",)


@dataclasses.dataclass
class PathCost:
    per_get: float
    driver_per_get: float  # left out of per_get
    functions: list[tuple[str, float]]  # per GET, the most expensive first
    program: dict  # what get_path says of itself


def run(build: str, options: list[str], cpu: int) -> dict:
    """Without callgrind, on a CPU of its own: what the program says of itself."""
    program = os.path.join(build, "perf/callgrind/get_path")
    done = subprocess.run(["taskset", "-c", str(cpu), program, *options], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"get_path: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(build: str, options: list[str], keep: str | None = None) -> PathCost:
    program = os.path.join(build, "perf/callgrind/get_path")
    counted = callgrind.count([program] + options, TOGGLES, DRIVER, keep)
    said = json.loads(counted.output.strip().splitlines()[-1])
    gets = said["gets"]
    return PathCost(counted.total / gets, counted.excluded / gets,
                    [(name, cost / gets) for name, cost in counted.functions], said)
