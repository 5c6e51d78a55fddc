# SPDX-License-Identifier: Apache-2.0
"""P9: blocks in pieces between pinned memory and a GPU, against one pinned copy and against a copy
call for each piece."""
from __future__ import annotations

import collections.abc
import json
import os
import subprocess

from rig import build
from rig.child import ChildFailed
from rig.context import Context, human
from rig.result import Figure, Result, Skipped, median

ID = "P9"
TITLE = "GPU: pieces of 2 MiB, 64 KiB and 16 KiB each way against a pinned copy"
ABOUT = """\
perf/gpu/gpu_bench on each device: jobs through fleet and worker, and batches through the backend
alone, over blocks that lie as in vLLM's paged cache; the peak is one pinned copy of 256 MiB with one
call of the driver, in the same run, and so is one call for each piece of 16 KiB. Without a CUDA
device the same runs on the host backend, whose figures stand in the detail and meet no target."""
TARGETS = {2 << 20: 0.95, 64 << 10: 0.90, 16 << 10: 0.85}  # of the peak, by piece
SINGLE_TARGET, SINGLE_PIECE = 3, 16 << 10
NO_DEVICE = 77
DEVICES_MAX = 16
HOST_MIB = 64


def needs(context: Context) -> None:
    if not os.path.exists(build.program(context.build, "gpu_bench")):
        raise Skipped("no gpu_bench in this build")


def _bench(context: Context, backend: str, device: int, *more: str) -> dict | str:
    """What gpu_bench found, or why there is no such device."""
    # About twenty measurements make one run.
    command = [build.program(context.build, "gpu_bench"), "--backend", backend, "--device",
               str(device), "--seconds", str(max(0.05, context.seconds / 20)), *more]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         timeout=600, check=False)
    if run.returncode == NO_DEVICE:
        return run.stderr.strip().splitlines()[-1].partition(": ")[2]
    if run.returncode:
        raise ChildFailed(f"{' '.join(command)}: exit {run.returncode}: {run.stderr.strip()[-400:]}")
    return json.loads(run.stdout)


def _ratios(said: dict) -> collections.abc.Iterator[tuple[tuple, float, float, float]]:
    """(direction, piece, reference), what kvrail did, what the reference did, the target."""
    for direction in ("load", "store"):
        side = said[direction]
        for row in side["pieces"]:
            yield ((direction, row["piece"], "peak"), row["fleet_bytes_s"], side["peak_bytes_s"],
                   TARGETS[row["piece"]])
            if row["piece"] == SINGLE_PIECE:
                yield ((direction, row["piece"], "single"), row["fleet_bytes_s"],
                       side["single_16k_bytes_s"], SINGLE_TARGET)


def _figures(runs: list[dict]) -> list[Figure]:
    """Of one device. The ratio is the median of those within each run."""
    each: dict[tuple, list[tuple[float, float, float]]] = {}
    for said in runs:
        for key, kvrail, reference, target in _ratios(said):
            each.setdefault(key, []).append((kvrail, reference, target))
    names = {"peak": "one pinned copy", "single": f"a {runs[0]['reference']} for each piece"}
    return [Figure(f"device {runs[0]['device']}: {direction}, pieces of {piece >> 10} KiB"
                   + (", against single calls" if against == "single" else ""),
                   median([row[0] for row in rows]), "bytes/s", median([row[1] for row in rows]),
                   names[against], rows[0][2], ratio=median([row[0] / row[1] for row in rows]))
            for (direction, piece, against), rows in each.items()]


def _devices(context: Context) -> tuple[list[list[dict]], str]:
    """All runs of each CUDA device, and why there are no more."""
    found: list[list[dict]] = []
    for device in range(DEVICES_MAX):
        runs = []
        for number in range(context.runs):
            said = _bench(context, "cuda", device)
            if isinstance(said, str):
                return found, said
            runs.append(said)
            context.progress(f"run {number + 1} of {context.runs}: device {device}: load "
                             f"{human(said['load']['pieces'][-1]['fleet_bytes_s'])} bytes/s in "
                             f"pieces of {SINGLE_PIECE >> 10} KiB")
        found.append(runs)
    return found, "there are more than that"


def run(context: Context) -> Result:
    found, why = _devices(context)
    if found:
        figures = [figure for runs in found for figure in _figures(runs)]
        return Result(figures, {"backend": "cuda", "devices": found})
    said = _bench(context, "host", 0, "--mib", str(HOST_MIB), "--sleep")
    context.progress("host backend: load "
                     f"{human(said['load']['pieces'][-1]['fleet_bytes_s'])} bytes/s in pieces of "
                     f"{SINGLE_PIECE >> 10} KiB")
    raise Skipped(why, {"backend": "host", "devices": [[said]]})
