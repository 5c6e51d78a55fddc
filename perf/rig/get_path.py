# SPDX-License-Identifier: Apache-2.0
"""Instructions per GET of the poll core: perf/callgrind/get_path under callgrind."""
from __future__ import annotations

import dataclasses
import json
import os

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


def measure(build: str, options: list[str], keep: str | None = None) -> PathCost:
    program = os.path.join(build, "perf/callgrind/get_path")
    counted = callgrind.count([program] + options, TOGGLES, DRIVER, keep)
    said = json.loads(counted.output.strip().splitlines()[-1])
    gets = said["gets"]
    return PathCost(counted.total / gets, counted.excluded / gets,
                    [(name, cost / gets) for name, cost in counted.functions], said)
