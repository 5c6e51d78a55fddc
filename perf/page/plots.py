# SPDX-License-Identifier: Apache-2.0
"""The plots of the page. Each function draws one from the results, or says False when they hold
nothing for it."""
from __future__ import annotations

import collections.abc
import pathlib

import matplotlib
import matplotlib.ticker

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from page import saved  # noqa: E402

GOOD, BAD, PEER, LINE = "#2b7a4b", "#b5482f", "#8a94a6", "#2f5d8a"
WIDTH = 8.6  # inches
TEXT = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
        "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "figure.dpi": 100, "savefig.dpi": 110}


def _new(rows: int, least: float = 1.6, each: float = 0.36) -> tuple[Figure, plt.Axes]:
    return plt.subplots(figsize=(WIDTH, least + each * rows), layout="constrained")


def _per_mille(value: float, _: object = None) -> str:
    return saved.unit(value).strip()


def targets(results: dict[str, dict], path: pathlib.Path) -> bool:
    """How far each figure is from its target; right of the line is better."""
    rows = []
    for key, one in results.items():
        for figure in one.get("figures", []):
            at_least, target = saved.target_of(figure)
            ratio = figure["ratio"]
            if not ratio:
                continue
            rows.append((f"{key}  {_short(figure['name'])}",
                         ratio / target if at_least else target / ratio, figure["met"],
                         f"{_number(ratio)} ({figure['target']})"))
    if not rows:
        return False
    figure, axes = _new(len(rows))
    low = min([0.5] + [row[1] for row in rows]) / 1.6
    # Far beyond the target is as good as beyond it.
    high = min(max([2.0] + [row[1] for row in rows]), 20) * 4
    for at, (_, margin, met, words) in enumerate(rows):
        shown = min(margin, high / 4)
        axes.barh(at, shown - low, left=low, color=GOOD if met else BAD, height=0.62)
        axes.text(shown * 1.06, at, words, va="center", fontsize=9, zorder=3,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    axes.axvline(1, color="black", linewidth=1, zorder=2)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.invert_yaxis()
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low <= tick <= high / 3]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("times its target (log scale): 1 = just met, to the right is better")
    axes.set_title("Every figure against its target")
    _save(figure, path)
    return True


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _short(name: str, most: int = 44) -> str:
    return name if len(name) <= most else name[: most - 2] + " .."


def _bars(axes: plt.Axes, rows: list[tuple[str, float, str]],
          words: collections.abc.Callable[[float], str]) -> None:
    for at, (_, value, color) in enumerate(rows):
        axes.barh(at, value, color=color, height=0.62)
        axes.text(value * 1.08, at, words(value), va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    values = [row[1] for row in rows]
    axes.set_xlim(min(values) / 2.5, max(values) * 6)
    axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(_per_mille))
    axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def peers(results: dict[str, dict], path: pathlib.Path) -> bool:
    detail = results.get("P3", {}).get("detail")
    if not detail:
        return False
    rows = [(name, side["median"], LINE) for name, side in detail["kvrail"].items()]
    rows += [(f"{name}\n{side['asked'].partition(', ')[2]}", side["median"], PEER)
             for name, side in detail["peers"].items()]
    figure, axes = _new(len(rows), each=0.46)
    _bars(axes, rows, lambda value: saved.unit(value).strip())
    axes.set_xlabel("GETs a second of 64 B values on one server thread (log scale)")
    axes.set_title("kvrail and its peers on the same machine")
    _save(figure, path)
    return True


def latencies(results: dict[str, dict], path: pathlib.Path) -> bool:
    """Percentiles at full load, as the closed loops saw them."""
    rows: list[tuple[str, dict]] = []
    for key, word in (("P1", "kvrail, 1 a datagram"), ("P2", "kvrail, 16 a datagram")):
        side = results.get(key, {}).get("detail", {}).get("kvrail")
        if side:
            rows.append((word, side))
    for name, side in results.get("P3", {}).get("detail", {}).get("peers", {}).items():
        if "p50_us" in side["runs"][0]:
            rows.append((name, side))
    if not rows:
        return False
    figure, axes = _new(len(rows), least=1.7)
    marks = (("p50_us", "o", "p50"), ("p99_us", "D", "p99"), ("p99_9_us", "s", "p99.9"))
    for at, (name, side) in enumerate(rows):
        color = LINE if name.startswith("kvrail") else PEER
        values = [_median([run[field] for run in side["runs"]]) for field, _, _ in marks]
        axes.plot([values[0], values[-1]], [at, at], color=color, linewidth=2, zorder=1)
        for (_, mark, _), value in zip(marks, values):
            axes.scatter(value, at, marker=mark, color=color, s=38, zorder=2)
    for _, mark, word in marks:
        axes.scatter([], [], marker=mark, color="black", s=38, label=word)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(
        lambda value, _: f"{value / 1000:g} ms" if value >= 1000 else f"{value:g} µs"))
    axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.set_xlabel("time from asking to the answer, at full load (log scale)")
    axes.set_title("Latency while the server is saturated")
    _save(figure, path)
    return True


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def keys(results: dict[str, dict], path: pathlib.Path) -> bool:
    detail = results.get("P12", {}).get("detail")
    if not detail:
        return False
    sizes = detail["sizes"]
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    at = [row["millions"] for row in sizes]
    for dist, color in (("uniform", BAD), ("zipf:0.99", LINE)):
        middle = [row[dist]["median"] for row in sizes]
        axes.plot(at, middle, marker="o", color=color, label=dist.replace(":", " "))
        axes.fill_between(at, [row[dist]["min"] for row in sizes],
                          [row[dist]["max"] for row in sizes], color=color, alpha=0.15,
                          linewidth=0)
        first = (middle[0] + detail["first_again"][dist]["median"]) / 2
        axes.axhline(1.3 * first, color=color, linewidth=0.9, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, [f"{millions} M" for millions in at])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("keys stored")
    axes.set_ylabel("ns of the poll core per GET")
    axes.legend(loc="lower right", frameon=False)
    axes.set_title("Cost of a GET by number of keys (dotted: 1.3 x the smallest; band: min to max)")
    _save(figure, path)
    return True


def functions(results: dict[str, dict], path: pathlib.Path) -> bool:
    """Where the instructions of a GET go."""
    path_cost = results.get("P11", {}).get("detail", {}).get("one op a datagram")
    if not path_cost:
        return False
    rows = list(path_cost["functions"].items())
    rest = path_cost["instructions_per_get"] - sum(value for _, value in rows)
    figure, axes = _new(len(rows) + 1, each=0.27)
    for at, (_, value) in enumerate(rows + [("all others", rest)]):
        axes.barh(at, value, color=LINE if at < len(rows) else PEER, height=0.66)
        axes.text(value + path_cost["instructions_per_get"] * 0.004, at, f"{value:.0f}",
                  va="center", fontsize=9)
    names = [_short(name, 34) for name, _ in rows] + ["all others"]
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("instructions per GET, one op a datagram, bursts of 32")
    axes.set_title(f"The {path_cost['instructions_per_get']:.0f} instructions of a GET by function")
    _save(figure, path)
    return True


def spread(results: dict[str, dict], path: pathlib.Path) -> bool:
    """Every run against the median of its side."""
    rows = []
    for key, one in results.items():
        for name, side in saved.sides_of(one).items():
            if side["median"] and len(side["runs"]) > 1:
                rows.append((f"{key}  {_short(name, 40)}",
                             [run["value"] / side["median"] for run in side["runs"]]))
    if not rows:
        return False
    figure, axes = _new(len(rows), least=1.4, each=0.24)
    for at, (_, values) in enumerate(rows):
        axes.plot([min(values), max(values)], [at, at], color="#c3c9d4", linewidth=3, zorder=1)
        axes.scatter(values, [at] * len(values), s=22, color=LINE, zorder=2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("a run's figure as a share of the median of its runs")
    axes.set_title("Spread: every single run")
    _save(figure, path)
    return True


def _save(figure: Figure, path: pathlib.Path) -> None:
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


ALL = {"targets": targets, "peers": peers, "latency": latencies, "functions": functions,
       "keys": keys, "spread": spread}


def draw_all(results: dict[str, dict], folder: pathlib.Path) -> set[str]:
    """The names of those that were drawn; the files are NAME.png."""
    with plt.rc_context(TEXT):
        return {name for name, draw in ALL.items() if draw(results, folder / f"{name}.png")}
