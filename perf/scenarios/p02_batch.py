# SPDX-License-Identifier: Apache-2.0
"""P2: GETs of small values, 16 a datagram, against the echo rate of the same device."""
from __future__ import annotations

from rig import get_load
from rig.context import Context
from rig.load import Mix
from rig.result import Result
from scenarios import p01_get

ID = "P2"
TITLE = "GET of 64 B values, zipf 0.99 over 1 M keys, 16 ops a datagram, UDP over memif, one core"
ABOUT = """\
Sixteen GETs share a datagram, so the frame's own cost is shared, too. A ratio above 1 means more
GETs a second than testpmd echoes frames of these sizes."""
TARGET = 1.0
SETTING = get_load.Setting(Mix(batch=16, depth=64))


def needs(context: Context) -> None:
    p01_get.needs(context)


def run(context: Context) -> Result:
    kvrail, limit = p01_get.against_echo(context, SETTING)
    return Result(p01_get.figures(kvrail, limit, TARGET), p01_get.detail(kvrail, limit, SETTING))
