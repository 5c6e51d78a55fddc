# SPDX-License-Identifier: Apache-2.0
"""The scenarios; each module has ID, TITLE, needs() and run(context)."""
from __future__ import annotations

from scenarios import (large_blocks, p01_get, p02_batch, p03_peers, p04_local_hit, p05_local_copy,
                       p06_match, p07_blocks, p09_gpu, p11_path, p12_keys, p13_restart, p15_memory,
                       p16_idle, two_cores)

ALL = {module.ID: module for module in (p01_get, p02_batch, p03_peers, p04_local_hit,
                                        p05_local_copy, p06_match, p07_blocks, p09_gpu, p11_path,
                                        p12_keys, p13_restart, p15_memory, p16_idle, large_blocks,
                                        two_cores)}
