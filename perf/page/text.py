# SPDX-License-Identifier: Apache-2.0
"""The words of the page, in Markdown."""
from __future__ import annotations

import os
import pathlib

import scenarios
from page import saved

# Plot -> the scenario below whose figures it stands.
PLACES = {"peers": "P3", "latency": "P3", "functions": "P11", "keys": "P12"}
PICTURES = {
    "targets": "Bars: every figure as a multiple of its target, with the figure and the target",
    "peers": "Bars: GETs a second of kvrail, memcached and Redis",
    "latency": "Dots: p50, p99 and p99.9 of kvrail and its peers",
    "functions": "Bars: instructions of a GET by function",
    "keys": "Lines: nanoseconds per GET by number of keys",
    "spread": "Dots: every run as a share of its median",
}
HEAD = """\
# kvrail measured

What kvrail does on one machine, against the limits of that machine and against its peers. Every
ratio is of medians of runs that took turns in one go; no figure from another machine or paper is
in it. This page is made by `perf/report` from saved results of `perf/run`; `perf/README.md` says
how to make your own.
"""
FOOT = """\
## How to read it

- *kvrail* and *reference* are medians over the runs; *ratio* is the first over the second, for
  figures against a constant it is left out. *Target* is what the project set itself.
- One poll core serves, one core loads it; each spins on a CPU of its own. The load engine is not
  the bottleneck where its core is less busy than the server's.
- Latencies of closed loops at full load say how long the queue is, not how fast one GET is.
- Loss is datagrams that were not answered within 20 ms; they are not counted as GETs.
- A virtual machine shares its cores with others: compare figures of one run only, and look at the
  spread.
"""


def _figure_row(key: str, one: dict, figure: dict) -> str:
    kvrail = saved.unit(figure["kvrail"]).strip()
    ratio, reference = f"{figure['ratio']:.3g}", "a constant"
    if saved.plain(figure):
        ratio = "-"
    else:
        reference = f"{saved.unit(figure['reference']['figure']).strip()}, " \
                    f"{figure['reference']['name']}"
    met = "yes" if figure["met"] else "**no**"
    return (f"| [{key}](#{_anchor(key, one)}) | {figure['name']} | {kvrail} {figure['unit']} | "
            f"{reference} | {ratio} | {figure['target']} | {met} |")


def _heading(key: str, one: dict) -> str:
    return f"{key}: {one['title']}"


def _anchor(key: str, one: dict) -> str:
    """As GitHub makes it of the heading."""
    kept = [letter for letter in _heading(key, one).lower()
            if letter.isalnum() or letter in " -_"]
    return "".join(kept).replace(" ", "-")


def _summary(results: dict[str, dict]) -> list[str]:
    lines = ["| | figure | kvrail | reference | ratio | target | met |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for key, one in results.items():
        if one.get("skipped"):
            lines.append(f"| {key} | {one['title']} | not measured: {one['skipped']} | | | | |")
        else:
            lines += [_figure_row(key, one, figure) for figure in one["figures"]]
    return lines


def _machine(results: dict[str, dict]) -> list[str]:
    """Once for all results that agree."""
    seen: dict[str, list[str]] = {}
    for key, one in results.items():
        machine = one["machine"]
        words = (f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux "
                 f"{machine['kernel']}, {machine['huge_pages']} huge pages of 2 MiB; commit "
                 f"`{one['commit']}`, {one['date'][:10]}")
        seen.setdefault(words, []).append(key)
    if len(seen) == 1:
        return [next(iter(seen)) + "."]
    return [f"- {', '.join(keys)}: {words}." for words, keys in seen.items()]


def _get_detail(detail: dict) -> list[str]:
    return [
        "- Ratio of each round: "
        + ", ".join(f"{ratio:.2f}" for ratio in detail["ratio_of_each_round"]) + ".",
        f"- p50 {detail['p50_us']:.0f} µs, p99 {detail['p99_us']:.0f} µs, p99.9 "
        f"{detail['p99_9_us']:.0f} µs in a closed loop of {detail['depth']} datagrams.",
        f"- The server's core is busy {detail['server_busy']:.0%}, the load engine's "
        f"{detail['load_busy']:.0%}: the bottleneck is the {detail['bottleneck']}.",
        f"- {detail['ns_per_get']:.0f} ns ({detail['cycles_per_get']:.0f} cycles of the time stamp "
        f"counter) of the poll core per GET, the device's driver included; "
        f"{detail['packets_per_burst']:.1f} packets per burst, {detail['replies_per_request']:.2f} "
        f"reply datagrams per request.",
    ]


def _peer_detail(detail: dict) -> list[str]:
    lines = ["| peer | asked by | GET/s | times slower |", "| --- | --- | --- | --- |"]
    for name, side in detail["peers"].items():
        lines.append(f"| {name} | {side['asked'].partition(', ')[2]} | "
                     f"{saved.unit(side['median']).strip()} | {side['ratio']:.3g} |")
    return lines + [""]


def _path_detail(detail: dict) -> list[str]:
    lines = []
    for name in ("one op a datagram", "16 ops a datagram"):
        lines.append(f"- {name}: {detail[name]['instructions_per_get']:.0f} instructions per GET.")
    for name, side in detail["sides"].items():
        lines.append(f"- {name}: {side['median']:.0f} per GET ({side['min']:.0f} to "
                     f"{side['max']:.0f}).")
    return lines


def _memory_detail(detail: dict) -> list[str]:
    tokens = sorted({row["tokens"] for row in detail["models"]})
    lines = ["| block of | " + " | ".join(f"{number} tokens" for number in tokens) + " |",
             "| --- |" + " --- |" * len(tokens)]
    for model in dict.fromkeys(row["model"] for row in detail["models"]):
        cells = {row["tokens"]: f"{row['utilisation']:.1%}" for row in detail["models"]
                 if row["model"] == model}
        lines.append(f"| {model} | " + " | ".join(cells.get(number, "") for number in tokens)
                     + " |")
    lines.append("")
    for row in detail["small"]:
        parts = ", ".join(f"{name} {value:g}" for name, value in row["by_part"].items())
        lines.append(f"- Key of {row['key_bytes']} B, value of {row['value_bytes']} B: "
                     f"{row['bytes_per_item']:g} B an item ({parts}).")
    return lines


def _side_detail(detail: dict) -> list[str]:
    return [f"- {name}: {saved.unit(side['median']).strip()} {side['unit']} "
            f"({saved.unit(side['min']).strip()} to {saved.unit(side['max']).strip()})."
            for name, side in saved.sides_of({"detail": detail}).items()]


DETAILS = {"P1": _get_detail, "P2": _get_detail, "P3": _peer_detail, "P11": _path_detail,
           "P15": _memory_detail}


def _section(key: str, one: dict, pictures: list[str]) -> list[str]:
    lines = [f"## {_heading(key, one)}", ""]
    module = scenarios.ALL.get(key)
    if module:
        lines += [module.ABOUT, ""]
    if one.get("skipped"):
        return lines + [f"Not measured here: {one['skipped']}.", ""]
    lines += DETAILS.get(key, _side_detail)(one["detail"])
    if "smaller" in one["detail"]:
        lines.append(f"- {one['detail']['smaller']}.")
    lines += [f"- `perf/run {key} --runs {one['runs']} --time {one['run_s']:g}`, "
              f"commit `{one['commit']}`; other programs kept {one['others_busy_cpus']:.2f} CPUs "
              "busy meanwhile.", ""]
    for picture in pictures:
        lines += [picture, ""]
    return lines


def _picture(name: str, folder: pathlib.Path, page: pathlib.Path) -> str:
    path = os.path.relpath(folder / f"{name}.png", page.parent)
    return f"![{PICTURES[name]}]({path})"


def write(results: dict[str, dict], drawn: set[str], folder: pathlib.Path,
          page: pathlib.Path) -> None:
    lines = [HEAD, *_machine(results), "", *_summary(results), ""]
    if "targets" in drawn:
        lines += [_picture("targets", folder, page), ""]
    for key, one in results.items():
        here = [_picture(name, folder, page) for name, place in PLACES.items()
                if place == key and name in drawn]
        lines += _section(key, one, here)
    if "spread" in drawn:
        lines += ["## Spread", "", "Every run of every side, against the median of its side.", "",
                  _picture("spread", folder, page), ""]
    lines.append(FOOT)
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
