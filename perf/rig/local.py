# SPDX-License-Identifier: Apache-2.0
"""A server and local_load beside it: what a client on the same host pays."""
from __future__ import annotations

import json
import os
import subprocess

from rig import build, server
from rig.child import ChildFailed
from rig.context import Context
from rig.result import Skipped


def needs(context: Context) -> None:
    if not os.path.exists(build.program(context.build, "local_load")):
        raise Skipped("no local_load in this build")


def start_server(context: Context, cache: dict[str, object], idle: str = "sleep") -> server.Server:
    """One poll core on the server's CPU; the network is there, and nobody on it."""
    settings = {"device": server.memif(context.folder, "server"), "idle": idle,
                "cpus": context.server_cpu, "local_socket": f"{context.folder}/local.sock",
                **context.pages(), **cache}
    return server.Server(context.build, context.folder, settings)


def url(running: server.Server) -> str:
    return f"shm://{running.settings['local_socket']}"


def load(context: Context, running: server.Server, mode: str, keys: int, size: int,
         fill: bool = False, seconds: float | None = None, **more: object) -> dict:
    """One run of local_load on the loader's CPU."""
    command = [build.program(context.build, "local_load"), "--server", url(running), "--mode", mode,
               "--keys", str(keys), "--size", str(size), "--cpu", str(context.load_cpu),
               "--seconds", str(context.seconds if seconds is None else seconds)]
    for name, value in more.items():
        command += ["--" + name.replace("_", "-"), str(value)]
    if not fill:
        command.append("--no-fill")
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         timeout=600, check=False)
    if run.returncode:
        raise ChildFailed(f"{' '.join(command)}: exit {run.returncode}: {run.stderr.strip()[-400:]}")
    return json.loads(run.stdout)
