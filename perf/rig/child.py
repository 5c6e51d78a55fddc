# SPDX-License-Identifier: Apache-2.0
"""A program that runs beside the measuring one: started, watched, and ended whatever happens."""
from __future__ import annotations

import collections.abc
import os
import signal
import subprocess
import time


class ChildFailed(RuntimeError):
    """A program did not do what it was started for; the text has the end of what it said."""


def wait_until(condition: collections.abc.Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Child:
    """Its output goes to a log file in the folder; a pipe leads to its standard input if wanted."""

    def __init__(self, folder: str, name: str, command: list[str], talk: bool = False,
                 env: dict[str, str] | None = None) -> None:
        self.name = name
        self.log = os.path.join(folder, f"{name}.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE if talk else subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, env=None if env is None else {**os.environ, **env})

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def failure(self, what: str) -> ChildFailed:
        return ChildFailed(f"{self.name}: {what}: {self.said().strip()[-400:]}")

    def wait_for(self, condition: collections.abc.Callable[[], bool], seconds: float,
                 what: str) -> None:
        """Until the condition holds; raises ChildFailed when it takes too long or the child ends."""
        wait_until(lambda: condition() or not self.running(), seconds)
        if not condition():
            raise self.failure(what)

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def stop(self, sign: int = signal.SIGTERM, seconds: float = 10) -> None:
        if self.running():
            self.process.send_signal(sign)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
