# SPDX-License-Identifier: Apache-2.0
"""Saved results of perf/run: lines of JSON from one or more files."""
from __future__ import annotations

import collections.abc
import json
import pathlib


class Damaged(ValueError):
    """A line that is no result."""


def read(paths: collections.abc.Iterable[pathlib.Path]) -> dict[str, dict]:
    """By scenario: its newest result. A figure counts more than a newer reason why there is
    none."""
    newest: dict[str, dict] = {}
    for path in paths:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not text.strip():
                continue
            try:
                one = json.loads(text)
                key, when = one["id"], (one.get("skipped") is None, one["date"])
            except (ValueError, KeyError, TypeError) as fault:
                raise Damaged(f"{path}:{number}: no result of perf/run: {fault}") from fault
            had = newest.get(key)
            if had is None or when >= (had.get("skipped") is None, had["date"]):
                newest[key] = one
    return newest


def unit(value: float) -> str:
    """Three digits and a prefix."""
    for limit, word in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{word}"
    return f"{value:.3g} "


def plain(figure: dict) -> bool:
    """A figure against a constant: the reference is 1, the ratio says nothing new."""
    return figure["reference"]["figure"] == 1


def target_of(figure: dict) -> tuple[bool, float]:
    """(at least, else at most; how much)."""
    sign, _, text = figure["target"].partition(" ")
    return sign == ">=", float(text)


def sides_of(one: dict) -> dict[str, dict]:
    """Whatever took turns in a scenario, by name."""
    detail = one.get("detail", {})
    found: dict[str, dict] = {}

    def look(name: str, node: object) -> None:
        if isinstance(node, list):
            for item in node:
                look(name, item)
        elif isinstance(node, dict) and "runs" in node and "median" in node:
            found[name] = node
        elif isinstance(node, dict):
            group = f"{node['millions']} M keys, " if "millions" in node else ""
            again = ", again" if name == "first_again" else ""
            for key, value in node.items():
                look(f"{group}{key}{again}", value)

    for key, value in detail.items():
        look(key, value)
    return found
