# SPDX-License-Identifier: Apache-2.0
"""Resident memory of a process by what is mapped: the arena's two segments and everything else."""
from __future__ import annotations

import collections
import re

_HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")
_SIZES = ("Rss", "Shared_Hugetlb", "Private_Hugetlb")


def resident(pid: int) -> dict[str, int]:
    """Bytes: index, data, private (anonymous memory), other."""
    found: dict[str, int] = collections.Counter()
    what = "other"
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as lines:
        for text in lines:
            head = _HEAD.match(text)
            if head:
                what = _kind(head.group(1).strip())
                continue
            name, _, value = text.partition(":")
            if name in _SIZES:
                found[what] += int(value.split()[0]) * 1024
    return dict(found)


def _kind(name: str) -> str:
    if "kvrail-index" in name:
        return "index"
    if "kvrail-data" in name:
        return "data"
    return "private" if name in ("", "[heap]") else "other"
