# SPDX-License-Identifier: Apache-2.0
"""P11: what a GET of 64 B costs the poll core: instructions from rx to tx without the device's
driver, by callgrind, and cycles by the core's own busy accounting under load."""
from __future__ import annotations

import os
import shutil

from rig import build, get_load, get_path
from rig.context import Context, Side, take_turns
from rig.result import Figure, Result, Skipped
from scenarios import p01_get, p02_batch

ID = "P11"
TITLE = "instructions and cycles of a 64 B GET on the poll core, rx to tx, driver excluded"
ABOUT = """\
Instructions are counted by callgrind while the real poll loop answers GETs from a ring, from the
received frame to the sent one, without the device's driver; the figure is the same on every machine.
Cycles are the poll core's own time of turns that found work under the load of P1, driver included."""
INSTRUCTIONS_TARGET, CYCLES_TARGET = 400, 200
GETS = "100k"
TOP = 15


def needs(context: Context) -> None:
    if not shutil.which("valgrind"):
        raise Skipped("no valgrind (tools/setup --perf)")
    if not os.path.exists(build.program(context.build, "get_path")):
        raise Skipped("no get_path in this build")
    get_load.needs(context)


def _count(context: Context, ops: int) -> get_path.PathCost:
    cost = get_path.measure(context.build, ["--gets", GETS, "--ops", str(ops)])
    context.progress(f"{cost.per_get:.0f} instructions per GET, {ops} a datagram")
    return cost


def _as_dict(cost: get_path.PathCost) -> dict[str, object]:
    return {"instructions_per_get": round(cost.per_get, 1),
            "driver_instructions_per_get": round(cost.driver_per_get, 1),
            "burst": cost.program["burst"], "ops_per_datagram": cost.program["ops"],
            "functions": {name: round(each, 1) for name, each in cost.functions[:TOP]}}


def _cycles(context: Context, setting: get_load.Setting) -> Side:
    def one() -> dict:
        run = get_load.one_run(context, setting)
        return run | {"value": run["cycles_per_get"], "gets_s": run["value"]}

    return Side(f"cycles, {setting.mix.batch} a datagram", "cycles/GET", one)


def _alone(context: Context, ops: int) -> Side:
    """The same loop without a device, its replies checked outside the measured time."""
    def one() -> dict:
        said = get_path.run(context.build, ["--gets", "5M", "--keys", "1M", "--ops", str(ops)],
                            context.server_cpu)
        return {"value": said["ticks_per_get"]}

    return Side(f"cycles without a device, {ops} a datagram", "cycles/GET", one)


def run(context: Context) -> Result:
    single, batched = _count(context, 1), _count(context, 16)
    sides = [_cycles(context, p01_get.SETTING), _alone(context, 1),
             _cycles(context, p02_batch.SETTING), _alone(context, 16)]
    take_turns(context, sides)
    return Result(
        [Figure("instructions", single.per_get, "instructions/GET", 1, "one GET",
                INSTRUCTIONS_TARGET, at_least=False),
         Figure("cycles", sides[0].median(), "cycles/GET", 1, "one GET", CYCLES_TARGET,
                at_least=False)],
        {"one op a datagram": _as_dict(single), "16 ops a datagram": _as_dict(batched),
         "cycles are": "time of loop turns that found work (busy_ns) times the frequency of the "
                       "time stamp counter, over GETs; the device's driver included. Without a "
                       "device: the same loop over a ring",
         "sides": {side.name: side.as_dict() for side in sides}})
