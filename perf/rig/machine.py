# SPDX-License-Identifier: Apache-2.0
"""The machine that is measured on: what it is, which CPUs to use, its huge pages."""
from __future__ import annotations

import contextlib
import os
import platform
import sys
import collections.abc

HUGE_FILE = "/proc/sys/vm/nr_hugepages"


def _field(path: str, name: str) -> str:
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


def huge_pages() -> tuple[int, int]:
    """Reserved and free ones."""
    return (int(_field("/proc/meminfo", "HugePages_Total") or 0),
            int(_field("/proc/meminfo", "HugePages_Free") or 0))


def available_mib() -> int:
    return int(_field("/proc/meminfo", "MemAvailable").split()[0]) // 1024


def describe() -> dict[str, object]:
    total, free = huge_pages()
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20), 1),
        "kernel": platform.release(),
        "huge_pages": total,
        "huge_pages_free": free,
    }


def _siblings(cpu: int) -> set[int]:
    path = f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    found: set[int] = set()
    try:
        with open(path, encoding="utf-8") as text:
            for part in text.read().strip().split(","):
                first, _, last = part.partition("-")
                found.update(range(int(first), int(last or first) + 1))
    except OSError:
        found = {cpu}
    return found


def choose_cpus() -> tuple[int, int]:
    """One for the measured server, one for what loads it: of different cores where there are two,
    and not the first CPU where there are three."""
    allowed = sorted(os.sched_getaffinity(0))
    server = allowed[-1]
    others = [cpu for cpu in allowed if cpu not in _siblings(server)]
    others = others or [cpu for cpu in allowed if cpu != server] or [server]
    return server, others[-1]


@contextlib.contextmanager
def reserved_huge_pages(wanted: int) -> collections.abc.Iterator[bool]:
    """Reserves what is missing for as long as it lasts, where that is allowed and memory is left.
    Gives whether there are as many as wanted."""
    had, free = huge_pages()
    if free >= wanted:
        yield True
        return
    changed = False
    if os.access(HUGE_FILE, os.W_OK) and available_mib() > 2 * (wanted - free) + 2048:
        try:
            with open(HUGE_FILE, "w", encoding="ascii") as file:
                file.write(str(had + wanted - free))
            changed = True
            print(f"perf: reserved {wanted - free} huge pages for this run", file=sys.stderr)
        except OSError as fault:
            print(f"perf: no huge pages can be reserved: {fault.strerror}", file=sys.stderr)
    try:
        yield huge_pages()[1] >= wanted
    finally:
        if changed:
            with open(HUGE_FILE, "w", encoding="ascii") as file:
                file.write(str(had))
            print("perf: gave the huge pages back", file=sys.stderr)


class CpuUse:
    """CPU seconds of a process, of all its threads or of one, since this was made."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = self._ticks()

    def _ticks(self) -> int:
        with open(f"/proc/{self.pid}/stat", encoding="utf-8", errors="replace") as text:
            fields = text.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def seconds(self) -> float:
        return (self._ticks() - self.before) / os.sysconf("SC_CLK_TCK")


class OtherWork:
    """How much of the machine's CPU time others took: all that was not idle, stolen time included,
    less what this process and its children used. Tells whether the machine was quiet."""

    def __init__(self) -> None:
        self.before = self._read()

    @staticmethod
    def _read() -> tuple[float, float]:
        with open("/proc/stat", encoding="ascii") as text:
            fields = [int(word) for word in text.readline().split()[1:9]]
        times = os.times()
        mine = times.user + times.system + times.children_user + times.children_system
        busy = sum(fields) - fields[3] - fields[4]
        return busy / os.sysconf("SC_CLK_TCK"), mine

    def cpu_seconds(self) -> float:
        """Busy seconds of all CPUs, without this process and its ended children."""
        now = self._read()
        return max(0.0, now[0] - self.before[0] - (now[1] - self.before[1]))
