/* SPDX-License-Identifier: Apache-2.0 */
/* The operations, one function each, one file per kind. They run on the core that owns the op's
 * partition, write the op's reply record(s), and count it. A mutating op reports its status. */
#pragma once

#include "dataplane/core.h"
#include "dataplane/reply.h"

#define OP_PARK (-1) /* returned instead of a status: call again next turn */

/* What an op answered (enum kvr_status), or OP_PARK and nothing was said. */
typedef int op_function(struct core *core, struct request *request, struct request_op *op,
                        struct answer *answer);

op_function op_hello, op_ping, op_stat;
op_function op_get, op_match;
op_function op_put, op_reserve, op_write, op_commit, op_abort;
op_function op_del, op_touch, op_hint;
op_function op_place, op_seal, op_drop, op_store, op_load, op_save; /* local/ */
op_function op_look, op_release;                                    /* local/ */

/* The usual case, a request->plain whose blocks the probe has all found: executed, answered and
 * released as dispatch and op_get would, in one go. False: nothing was done, it is theirs. */
[[nodiscard]] bool get_plain(struct core *core, struct request *request);

/* Answers an op with a status alone. */
static inline int op_say(struct answer *answer, const struct request_op *op, enum kvr_status status)
{
    answer_bare(answer, op, status);
    return (int)status;
}

/* The answer of a RESERVE that was OK, said again: the handle it got. */
void reserve_repeat(struct core *core, struct request *request, const struct request_op *op,
                    struct answer *answer);

/* The answers of a PLACE, a SEAL and a LOOK that were OK, said again. */
void place_repeat(struct core *core, struct request *request, const struct request_op *op,
                  struct answer *answer);
void seal_repeat(const struct request_op *op, struct answer *answer);
void look_repeat(struct core *core, struct request *request, const struct request_op *op,
                 struct answer *answer);

/* Whether the op's key is stored. */
bool is_stored(const struct core *core, const struct request_op *op);
/* Memory for the value of a PUT or RESERVE, as partition_reserve gives it. */
[[nodiscard]] enum kvr_status reserve_block(const struct core *core, const struct request *request,
                                            const struct request_op *op,
                                            const struct kvr_put_req *put, uint32_t *block);
