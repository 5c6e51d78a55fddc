# SPDX-License-Identifier: Apache-2.0
"""What every scenario is given, and the taking of turns between kvrail and its references."""
from __future__ import annotations

import collections.abc
import dataclasses
import sys
import time

from rig import result


@dataclasses.dataclass
class Context:
    build: str  # folder
    folder: str  # for sockets, logs and files; emptied by whoever made it
    runs: int
    seconds: float  # of one run
    hugepages: bool
    server_cpu: int
    load_cpu: int

    def pages(self) -> dict[str, str]:
        """The server's setting."""
        return {"hugepages": "auto" if self.hugepages else "off"}

    def progress(self, text: str) -> None:
        print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr)


@dataclasses.dataclass
class Side:
    """One of those that take turns: a name and what makes one run of it. A run's dictionary has
    the figure in "value" and whatever else is worth keeping."""

    name: str
    unit: str
    run: collections.abc.Callable[[], dict]
    runs: list[dict] = dataclasses.field(default_factory=list)

    def values(self) -> list[float]:
        return [run["value"] for run in self.runs]

    def median(self) -> float:
        return result.median(self.values())

    def median_of(self, name: str) -> float:
        return result.median([run[name] for run in self.runs])

    def as_dict(self) -> dict:
        return {"unit": self.unit, **result.spread(self.values()),
                "runs": [{name: result.tidy(value) if isinstance(value, (int, float)) else value
                          for name, value in run.items()} for run in self.runs]}


def take_turns(context: Context, sides: list[Side]) -> None:
    """A B C, A B C ..: a machine that becomes slower is so for all of them."""
    for number in range(context.runs):
        for side in sides:
            side.runs.append(run := side.run())
            context.progress(f"run {number + 1} of {context.runs}: {side.name}: "
                             f"{human(run['value'])} {side.unit}")


def human(value: float) -> str:
    for limit, word in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{word}"
    return f"{value:.3g}"
