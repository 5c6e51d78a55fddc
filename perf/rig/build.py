# SPDX-License-Identifier: Apache-2.0
"""The release build that is measured, and the commit that it was made from."""
from __future__ import annotations

import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
DEFAULT = TOP / "build/perf"

PROGRAMS = {
    "kvrail": "tools/kvrail",
    "kvraild": "controlplane/kvraild",
    "kvrail-dataplane": "dataplane/kvrail-dataplane",
    "kvrail-load": "tools/load/kvrail-load",
    "get_path": "perf/callgrind/get_path",
    "peer_load": "perf/peers/peer_load",
    "local_load": "perf/local/local_load",
    "gpu_bench": "perf/gpu/gpu_bench",
    "utilisation": "perf/memory/utilisation",
}


class BuildFailed(RuntimeError):
    pass


def _run(command: list[str], log: pathlib.Path) -> None:
    with open(log, "ab") as out:
        if subprocess.run(command, stdout=out, stderr=out, cwd=TOP, check=False).returncode:
            tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
            raise BuildFailed(f"{' '.join(command[:2])} failed; {log} ends with\n{tail}")


def make(folder: pathlib.Path) -> None:
    """Brings it up to date. Debug information changes no instruction; callgrind names by it."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "perf-build.log"
    log.write_bytes(b"")
    print(f"perf: building in {folder} ..", file=sys.stderr)
    if not (folder / "build.ninja").exists():
        _run(["meson", "setup", str(folder), "--buildtype=release", "-Ddebug=true",
              "-Dtests=false"], log)
    _run(["ninja", "-C", str(folder)], log)


def program(folder: str | os.PathLike[str], name: str) -> str:
    return os.path.join(folder, PROGRAMS[name])


def commit() -> str:
    """Of the sources, "+" behind it if they were changed since."""
    def git(*words: str) -> str:
        run = subprocess.run(["git", "-c", f"safe.directory={TOP}", *words], cwd=TOP, text=True,
                             capture_output=True, check=False)
        return run.stdout.strip() if run.returncode == 0 else ""

    name = git("rev-parse", "--short=10", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!perf/results",
                  ":!perf/REPORT.md")
    return (name or "unknown") + ("+" if changed else "")
