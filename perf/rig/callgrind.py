# SPDX-License-Identifier: Apache-2.0
"""Instructions of a program's functions, counted by valgrind's callgrind.

The functions named as toggles switch the counting: inside the first one it is on, inside the
others within it off. Functions of the object files named as excluded are left out of the sum."""
from __future__ import annotations

import collections
import dataclasses
import os
import re
import subprocess
import tempfile

_NAME = re.compile(r"\((\d+)\)(?: (.*))?")


@dataclasses.dataclass
class Count:
    total: int  # without what was excluded
    excluded: int
    functions: list[tuple[str, int]]  # with the most first
    objects: list[tuple[str, int]]  # by object file, the excluded ones as well
    output: str  # what the program printed


class _Names:
    """Callgrind writes a name once and a number from then on."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def read(self, text: str) -> str:
        match = _NAME.fullmatch(text)
        if not match:
            return text
        number, name = match.groups()
        if name is not None:
            self.known[number] = name
        return self.known.get(number, number)


def read_profile(lines: collections.abc.Iterable[str]) -> dict[tuple[str, str], int]:
    """(object file, function) -> instructions of its own, calls not included."""
    own: dict[tuple[str, str], int] = collections.defaultdict(int)
    objects, functions, files = _Names(), _Names(), _Names()
    at, function, callee_costs = "", "", False
    for line in lines:
        line = line.rstrip("\n")
        key, equals, value = line.partition("=")
        if equals and key.isalpha():
            if key == "ob":
                at = objects.read(value)
            elif key == "fn":
                function = functions.read(value)
            elif key == "cob":
                objects.read(value)
            elif key == "cfn":
                functions.read(value)
            elif key in ("fl", "fi", "fe", "cfl", "cfi"):
                files.read(value)
            elif key == "calls":
                callee_costs = True
        elif line[:1] in "+-*" or line[:1].isdigit():
            words = line.split()
            if not callee_costs and len(words) > 1:
                own[at, function] += int(words[1])
            callee_costs = False
    return dict(own)


def count(command: list[str], toggles: list[str], exclude: tuple[str, ...] = (),
          keep: str | None = None) -> Count:
    """exclude: beginnings of the names of object files. keep: where the profile stays, for
    callgrind_annotate. Raises RuntimeError with what the program said when it fails."""
    with tempfile.TemporaryDirectory(prefix="kvrail-perf-") as folder:
        profile = keep or os.path.join(folder, "callgrind.out")
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}"]
        valgrind += [f"--toggle-collect={name}" for name in toggles]
        run = subprocess.run(valgrind + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"{command[0]} under callgrind: exit {run.returncode}: "
                               + run.stderr.strip()[-600:])
        with open(profile, encoding="utf-8", errors="replace") as lines:
            own = read_profile(lines)
    by_function: dict[str, int] = collections.defaultdict(int)
    by_object: dict[str, int] = collections.defaultdict(int)
    excluded = 0
    for (at, function), cost in own.items():
        name = os.path.basename(at)
        by_object[name] += cost
        if exclude and name.startswith(exclude):
            excluded += cost
        else:
            # A stripped library has addresses only.
            label = f"{function} in {name}" if function.startswith("0x") else function
            by_function[label] += cost
    return Count(sum(by_function.values()), excluded,
                 sorted(by_function.items(), key=lambda item: -item[1]),
                 sorted(by_object.items(), key=lambda item: -item[1]), run.stdout)
