# SPDX-License-Identifier: Apache-2.0
"""Namespaces of our own (network, mounts, processes; users too when not root) and a temporary
folder. When the outer process ends, for whatever reason, the kernel ends what runs inside."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile

INSIDE = "KVRAIL_PERF_INSIDE"


def inside() -> str | None:
    """The temporary folder, if this process runs in a sandbox."""
    return os.environ.get(INSIDE)


def run_again() -> int:
    """Runs this program again, inside; returns its exit code, 128 + the signal's number if one came."""
    folder = tempfile.mkdtemp(prefix="kvrail-perf-")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "-nmp", "--fork", "--kill-child", "--mount-proc", sys.executable,
               *sys.argv]
    # A setting of the user's would win over those of the scenarios.
    env = {name: value for name, value in os.environ.items() if not name.startswith("KVRAIL_")}
    env |= {INSIDE: folder, "XDG_RUNTIME_DIR": folder, "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(command, env=env)
    stopped: list[int] = []

    def stop(sign: int, *_: object) -> None:
        stopped.append(sign)
        child.kill()

    for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sign, stop)
    try:
        code = child.wait()
        return 128 + stopped[0] if stopped else code
    finally:
        child.kill()
        shutil.rmtree(folder, ignore_errors=True)


def prepare() -> None:
    """The first thing inside."""
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
