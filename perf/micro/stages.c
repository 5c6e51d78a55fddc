/* SPDX-License-Identifier: Apache-2.0 */
/* What kvrail-micro measures: everything that needs no DPDK. */
#include "perf/micro/bench.h"

bench_stage *const bench_stages[] = {
    parse_benches,   cookie_benches, index_benches,  policy_benches, alloc_benches, reply_benches,
    handoff_benches, count_benches,  engine_benches, quant_benches,  NULL};
