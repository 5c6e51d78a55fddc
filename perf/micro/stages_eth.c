/* SPDX-License-Identifier: Apache-2.0 */
/* What kvrail-micro-eth measures: the stages that DPDK has a part in. */
#include "perf/micro/bench.h"

bench_stage *const bench_stages[] = {eth_benches, NULL};
