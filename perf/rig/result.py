# SPDX-License-Identifier: Apache-2.0
"""What a scenario found: figures against references, and the line of JSON that says it."""
from __future__ import annotations

import dataclasses
import json
import statistics
import collections.abc


def median(values: collections.abc.Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: collections.abc.Sequence[float]) -> dict[str, float]:
    return {"median": tidy(median(values)), "min": tidy(min(values)), "max": tidy(max(values))}


def tidy(value: float) -> float:
    """Four significant digits, no more than any of these figures has."""
    if value == 0:
        return 0
    digits = 4
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) >= 1000 else rounded


@dataclasses.dataclass
class Figure:
    """One target of a scenario."""

    name: str
    kvrail: float
    unit: str
    reference: float
    reference_name: str
    target: float
    at_least: bool = True  # else at most
    ratio: float | None = None  # of medians; default kvrail / reference

    def value(self) -> float:
        if self.ratio is not None:
            return self.ratio
        return self.kvrail / self.reference if self.reference else 0.0

    def met(self) -> bool:
        return self.value() >= self.target if self.at_least else self.value() <= self.target

    def margin(self) -> float:
        """Above 1: met."""
        if self.at_least:
            return self.value() / self.target
        return self.target / self.value() if self.value() else float("inf")

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "kvrail": tidy(self.kvrail),
            "unit": self.unit,
            "reference": {"name": self.reference_name, "figure": tidy(self.reference)},
            "ratio": tidy(self.value()),
            "target": f"{'>=' if self.at_least else '<='} {self.target:g}",
            "met": self.met(),
        }


@dataclasses.dataclass
class Result:
    figures: list[Figure]
    detail: dict[str, object]


class Skipped(Exception):
    """The scenario cannot run on this machine; the text says why. detail: what could be measured
    instead, which stands for no target."""

    def __init__(self, why: str, detail: dict[str, object] | None = None) -> None:
        super().__init__(why)
        self.detail = detail


def line(scenario_id: str, title: str, outcome: Result | Skipped,
         circumstances: dict[str, object]) -> str:
    """One line of JSON. In front stands the figure that is furthest from (or least above) its
    target; all of them are in "figures". outcome: a result, or why there is none."""
    said: dict[str, object] = {"id": scenario_id, "title": title}
    if isinstance(outcome, Skipped):
        said |= {"kvrail": None, "reference": None, "ratio": None, "target": None, "met": None,
                 "skipped": str(outcome)}
        if outcome.detail:
            said["detail"] = outcome.detail
    else:
        worst = min(outcome.figures, key=Figure.margin)
        first = worst.as_dict()
        said |= {"figure": first.pop("name"), **first,
                 "met": all(figure.met() for figure in outcome.figures),
                 "figures": [figure.as_dict() for figure in outcome.figures],
                 "detail": outcome.detail}
    return json.dumps(said | circumstances)
