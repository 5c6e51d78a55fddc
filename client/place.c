/* SPDX-License-Identifier: Apache-2.0 */
/* Large values over shared memory. With the write right: PLACE takes memory of the arena, the value
 * is copied there by the caller's own thread, SEAL publishes it. Without: it is copied into the
 * segment, from where STORE has the server's worker copy it.
 *
 * A place must never be written to once the server may have given it up. Only another PLACE under
 * its ticket, DROP or SEAL do that; so a ticket serves one place at a time, and a place is not
 * touched while a repetition of its PLACE still waits in the ring: a dataplane that knows nothing
 * of the first may come to take it. */
#include <string.h>

#include "base/crc32c.h"
#include "client/datagram.h"
#include "client/link.h"
#include "client/local.h"
#include "client/poll.h"
#include "client/task.h"
#include "shm/words.h"

enum phase { PHASE_PLACE, PHASE_SEAL, PHASE_STORE };

#define CHUNK (256u << 10) /* copied while the CRC's pass has it in the cache */

static struct mount *mount_of(const struct kvr_client *client)
{
    return client->local->mount;
}

/* Copies and sums in one go. */
static uint32_t copy_crc(uint8_t *to, const uint8_t *from, size_t len)
{
    uint32_t crc = 0;

    for (size_t at = 0; at < len; at += CHUNK) {
        size_t n = len - at < CHUNK ? len - at : CHUNK;

        crc = crc32c(crc, from + at, n);
        memcpy(to + at, from + at, n);
    }
    return crc;
}

/* ---- tickets and staging room, for as long as a task has them ---- */

static bool ticket_take(struct mount *mount, uint16_t partition, uint8_t *ticket)
{
    uint64_t *left = &mount->tickets[partition];

    if (*left == 0)
        return false;
    *ticket = (uint8_t)__builtin_ctzll(*left);
    *left &= *left - 1;
    mount->nr_places++;
    return true;
}

static void ticket_give(struct mount *mount, uint16_t partition, uint8_t ticket)
{
    mount->tickets[partition] |= 1ull << ticket;
    mount->nr_places--;
}

/* What the task has may be of an older mount: then it may be the last thing that is kept there. */
static void let_go(struct kvr_client *client, struct task *task)
{
    struct mount *mount = task->holds ? mount_find(client->local, task->mount) : NULL;

    task->holds = false;
    if (!mount)
        return;
    if (task->phase == PHASE_STORE)
        staging_give(&mount->staging, task->at);
    else
        ticket_give(mount, task->link->partition, task->ticket);
    mount_forget(client->local, mount);
}

static enum prepared place_prepare(struct kvr_client *client, struct task *task)
{
    struct mount *mount = mount_of(client);

    if (task->holds)
        return PREPARE_SEND;
    if (task->call->value_len > mount->pinned_max) {
        task->call->status = KVR_LIMIT; /* also when nothing else is held */
        return PREPARE_DONE;
    }
    if (!ticket_take(mount, task->link->partition, &task->ticket))
        return PREPARE_WAIT;
    task->holds = true;
    task->mount = mount->number;
    return PREPARE_SEND;
}

static enum prepared store_prepare(struct kvr_client *client, struct task *task)
{
    struct kvr_call *call = task->call;
    struct mount *mount = mount_of(client);

    if (task->holds)
        return PREPARE_SEND;
    if (call->value_len > mount->staging.size) {
        call->status = KVR_TOO_LARGE;
        return PREPARE_DONE;
    }
    if (!staging_take(&mount->staging, call->value_len, &task->at))
        return PREPARE_WAIT;
    task->holds = true;
    task->mount = mount->number;
    task->crc = copy_crc(mount->staging.bytes + task->at, call->value, call->value_len);
    return PREPARE_SEND;
}

/* ---- what is said ---- */

static uint32_t place_size(const struct kvr_client *, const struct task *task)
{
    uint32_t key_len = task->call->key.len;

    switch ((enum phase)task->phase) {
    case PHASE_PLACE:
        return (uint32_t)sizeof(struct kvr_place_req) + pad8(key_len);
    case PHASE_STORE:
        return (uint32_t)sizeof(struct kvr_store_req) + pad8(key_len);
    default:
        return sizeof(struct kvr_seal_req);
    }
}

static uint32_t no_weight(const struct kvr_client *, const struct task *)
{
    return 0;
}

static void place_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                        struct writer *writer)
{
    const struct task *task = datagram->entries[entry].task;
    const struct kvr_call *call = task->call;
    uint8_t flags = call->add ? KVR_PUT_ADD : 0;

    if (task->phase == PHASE_PLACE) {
        struct kvr_place_req req = {.op.flags = flags,
                                    .value_len = task->total,
                                    .ticket = task->ticket,
                                    .ttl_ms = call->ttl_ms,
                                    .layout = call->layout,
                                    .hint = call->hint};

        build_place(writer, &req, call->key.data, call->key.len);
    } else if (task->phase == PHASE_STORE) {
        struct kvr_store_req req = {.op.flags = flags,
                                    .value_len = task->total,
                                    .value_crc = task->crc,
                                    .ttl_ms = call->ttl_ms,
                                    .layout = call->layout,
                                    .off = task->at,
                                    .hint = call->hint};

        build_store(writer, &req, call->key.data, call->key.len);
    } else {
        build_seal(writer, KVR_SEAL, task->ref, task->ticket, task->crc);
    }
}

static void begin_again(struct kvr_client *client, struct task *task, enum phase phase)
{
    datagram_abandon(client, task);
    task_unqueue(client, task);
    if (task->holds && task->mount != mount_of(client)->number)
        task->holds = false; /* with its mount */
    task->phase = (uint8_t)phase;
    task->traffic = TRAFFIC_WRITE;
    task->total = (uint32_t)task->call->value_len;
    task->ref = 0;
}

static void place_restart(struct kvr_client *client, struct task *task)
{
    begin_again(client, task, PHASE_PLACE);
}

static void store_restart(struct kvr_client *client, struct task *task)
{
    begin_again(client, task, PHASE_STORE);
}

static void drop(struct link *link, uint64_t ref, uint8_t ticket, uint8_t priority)
{
    _Alignas(8) uint8_t bytes[sizeof(struct kvr_hdr) + sizeof(struct kvr_seal_req)];
    struct writer writer;

    build_begin(&writer, bytes);
    build_seal(&writer, KVR_DROP, ref, ticket, 0);
    datagram_stray(link, &writer, 0, priority);
}

/* The server keeps what it placed until it hears of it. */
static void place_give_up(struct kvr_client *client, struct task *task)
{
    if (!client->closing && task->holds && task->phase == PHASE_SEAL &&
        task->mount == mount_of(client)->number)
        drop(task->link, task->ref, task->ticket, task->priority);
    let_go(client, task);
}

/* ---- what is answered ---- */

/* The server's last word. */
static void end(struct kvr_client *client, struct task *task, enum kvr_status status, uint64_t ref)
{
    if ((status != KVR_CORRUPT || task->nr_restarts++ == 0) && task_soft(client, task, status))
        return;
    let_go(client, task);
    task->call->ref = status == KVR_OK ? ref : 0;
    task_end(client, task, status);
}

enum placed {
    PLACED,
    PLACED_AGAIN, /* it must be asked for once more */
    PLACED_WRONG, /* no place of the arena */
};

static enum placed check_place(const struct kvr_client *client, const struct datagram *datagram,
                               const struct kvr_place_rep *rep, uint32_t len)
{
    const struct mount *mount = mount_of(client);
    uint64_t data_size = mount->arena.data_size;

    /* The answer to a repetition need not say where. And it may be the last word of a dataplane
     * that is gone: its successor, which has set its number before it takes anything from a ring,
     * gives the place up for a repetition that it took. */
    if (rep->ref == 0 || ring_waits(datagram) ||
        shared_load(&mount->arena.sb->boot_id) != client->hello.boot)
        return PLACED_AGAIN;
    if (rep->place % DATA_UNIT != 0 || rep->place > data_size || len > data_size - rep->place)
        return PLACED_WRONG;
    return PLACED;
}

/* The verdict is asked for once: a repetition that still waited may be taken at any time, and then
 * the place is no longer to be touched for good. */
static void not_placed(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                       enum placed verdict)
{
    struct task *task = datagram->entries[entry].task;

    datagram_close(datagram, entry);
    if (verdict == PLACED_WRONG) {
        task_end(client, task, KVR_PROTOCOL);
        return;
    }
    place_restart(client, task);
    task_ready(task);
}

static void placed(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                   const struct kvr_place_rep *rep)
{
    struct task *task = datagram->entries[entry].task;
    enum placed verdict = check_place(client, datagram, rep, task->total);

    if (verdict != PLACED) {
        not_placed(client, datagram, entry, verdict);
        return;
    }
    datagram_close(datagram, entry);
    task->ref = rep->ref;
    task->phase = PHASE_SEAL;
    task->crc = copy_crc(mount_of(client)->arena.data + rep->place, task->call->value, task->total);
    client->now_ns = clock_ns();
    task_ready(task);
}

/* NO_UPLOAD: a dataplane that went away after it had sealed could not say so. */
static bool is_sealed(const struct kvr_client *client, uint64_t ref)
{
    const struct arena *arena = &mount_of(client)->arena;
    uint64_t nr = (uint64_t)arena->maps[0].nr_blocks * arena->nr_partitions;

    return (uint32_t)ref < nr && hazard_holds(arena, ref);
}

static void place_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                         const struct kvr_op *record)
{
    static const uint8_t expected[] = {
        [PHASE_PLACE] = KVR_PLACE, [PHASE_SEAL] = KVR_SEAL, [PHASE_STORE] = KVR_STORE};
    struct task *task = datagram->entries[entry].task;
    enum kvr_status status = (enum kvr_status)record->status;
    uint64_t ref = task->ref;

    if (record->op != expected[task->phase]) {
        client->stats.rx_unexpected++;
        return;
    }
    if (status == KVR_OK && task->phase == PHASE_PLACE) {
        placed(client, datagram, entry, (const void *)record);
        return;
    }
    if (status == KVR_NO_UPLOAD && task->phase == PHASE_SEAL && is_sealed(client, ref))
        status = KVR_OK;
    else if (status == KVR_OK)
        ref = ((const struct kvr_put_rep *)(const void *)record)->ref;
    datagram_close(datagram, entry);
    end(client, task, status, ref);
}

const struct task_kind place_kind = {
    .size = place_size,
    .weight = no_weight,
    .write = place_write,
    .answer = place_answer,
    .restart = place_restart,
    .give_up = place_give_up,
    .prepare = place_prepare,
};

const struct task_kind store_kind = {
    .size = place_size,
    .weight = no_weight,
    .write = place_write,
    .answer = place_answer,
    .restart = store_restart,
    .give_up = place_give_up,
    .prepare = store_prepare,
};

/* ---- kvr_reserve, kvr_seal, kvr_abort: the same in pieces ---- */

/* call first: the task knows only that. */
struct piece {
    struct kvr_call call;
    struct kvr_place *place;
    uint32_t crc;
};

static struct piece *piece_of(const struct task *task)
{
    return (struct piece *)(void *)task->call;
}

static enum prepared reserve_prepare(struct kvr_client *client, struct task *task)
{
    enum prepared prepared = place_prepare(client, task);

    if (prepared != PREPARE_WAIT)
        return prepared;
    task->call->status = KVR_LIMIT;
    return PREPARE_DONE;
}

static void reserve_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                           const struct kvr_op *record)
{
    struct task *task = datagram->entries[entry].task;
    const struct kvr_place_rep *rep = (const void *)record;
    struct kvr_place *place = piece_of(task)->place;
    enum placed verdict;

    /* Nobody else gives back what the same thread would have to. */
    if (record->op == KVR_PLACE && record->status == KVR_LIMIT) {
        datagram_close(datagram, entry);
        task_end(client, task, KVR_LIMIT);
        return;
    }
    if (record->op != KVR_PLACE || record->status != KVR_OK) {
        place_answer(client, datagram, entry, record);
        return;
    }
    verdict = check_place(client, datagram, rep, task->total);
    if (verdict != PLACED) {
        not_placed(client, datagram, entry, verdict);
        return;
    }
    *place = (struct kvr_place){.data = mount_of(client)->arena.data + rep->place,
                                .ref = rep->ref,
                                .len = task->total,
                                .partition = task->link->partition,
                                .ticket = task->ticket,
                                .mount = task->mount};
    datagram_close(datagram, entry);
    task->holds = false; /* the place has it */
    task_end(client, task, KVR_OK);
}

static void piece_write(struct kvr_client *, struct datagram *datagram, unsigned entry,
                        struct writer *writer)
{
    const struct task *task = datagram->entries[entry].task;
    const struct piece *piece = piece_of(task);
    enum kvr_opcode op = task->traffic == TRAFFIC_WRITE ? KVR_SEAL : KVR_DROP;

    build_seal(writer, op, piece->place->ref, piece->place->ticket, piece->crc);
}

static void piece_answer(struct kvr_client *client, struct datagram *datagram, unsigned entry,
                         const struct kvr_op *record)
{
    struct task *task = datagram->entries[entry].task;
    bool seals = task->traffic == TRAFFIC_WRITE;
    uint64_t ref = piece_of(task)->place->ref;
    enum kvr_status status = (enum kvr_status)record->status;

    if (record->op != (seals ? KVR_SEAL : KVR_DROP)) {
        client->stats.rx_unexpected++;
        return;
    }
    if (status == KVR_NO_UPLOAD && (!seals || is_sealed(client, ref)))
        status = KVR_OK;
    datagram_close(datagram, entry);
    if (status != KVR_NO_UPLOAD && status != KVR_CORRUPT && task_soft(client, task, status))
        return;
    task->call->ref = status == KVR_OK ? ref : 0;
    task_end(client, task, status);
}

static void piece_restart(struct kvr_client *client, struct task *task)
{
    datagram_abandon(client, task);
    task_unqueue(client, task);
    task->phase = PHASE_SEAL;
    task->traffic = TRAFFIC_WRITE;
}

static void abort_restart(struct kvr_client *client, struct task *task)
{
    piece_restart(client, task);
    task->traffic = TRAFFIC_FREE;
}

/* After a move to another arena there is nothing any more that could be sealed. */
static enum prepared piece_prepare(struct kvr_client *client, struct task *task)
{
    if (piece_of(task)->place->mount == mount_of(client)->number)
        return PREPARE_SEND;
    task->call->status = KVR_NO_UPLOAD;
    return PREPARE_DONE;
}

static struct link *piece_route(struct kvr_client *client, const struct task *task)
{
    return client->links[piece_of(task)->place->partition];
}

static const struct task_kind reserve_kind = {
    .size = place_size,
    .weight = no_weight,
    .write = place_write,
    .answer = reserve_answer,
    .restart = place_restart,
    .give_up = place_give_up,
    .prepare = reserve_prepare,
};

static const struct task_kind seal_kind = {
    .size = place_size,
    .weight = no_weight,
    .write = piece_write,
    .answer = piece_answer,
    .restart = piece_restart,
    .prepare = piece_prepare,
    .route = piece_route,
};

static const struct task_kind abort_kind = {
    .size = place_size,
    .weight = no_weight,
    .write = piece_write,
    .answer = piece_answer,
    .restart = abort_restart,
    .prepare = piece_prepare,
    .route = piece_route,
};

static enum kvr_status usable(struct kvr_client *client)
{
    if (!client->local)
        return KVR_NOT_LOCAL;
    if (local_forked(client->local))
        return KVR_INVALID;
    return mount_of(client)->may_write ? KVR_OK : KVR_DENIED;
}

enum kvr_status kvr_reserve(struct kvr_client *client, const struct kvr_call *put,
                            struct kvr_place *place)
{
    struct piece piece = {.call = *put, .place = place};
    enum kvr_status status = usable(client);

    if (status != KVR_OK)
        return status;
    piece.call.op = KVR_CALL_PUT;
    piece.call.value = "";
    piece.call.private_state = NULL;
    if (put->value_len > KVR_VALUE_MAX)
        return KVR_TOO_LARGE;
    if (!task_valid(&piece.call))
        return KVR_INVALID;
    return poll_call(client, &piece.call, &reserve_kind);
}

/* Takes the place away from its owner, however it ends. */
static enum kvr_status finish(struct kvr_client *client, struct kvr_place *place,
                              const struct task_kind *kind, uint32_t crc)
{
    struct piece piece = {.place = place, .crc = crc};
    enum kvr_status status;
    struct mount *mount = mount_find(client->local, place->mount);

    if (!mount || place->partition >= mount->arena.nr_partitions || place->ticket >= KVR_TICKETS ||
        (mount->tickets[place->partition] >> place->ticket & 1))
        return KVR_NO_UPLOAD; /* ended before */
    piece.call.op = KVR_CALL_PUT;
    status = poll_call(client, &piece.call, kind);
    if (kind == &seal_kind && status != KVR_OK && mount == client->local->mount)
        drop(client->links[place->partition], place->ref, (uint8_t)place->ticket,
             client->options.priority);
    mount = mount_find(client->local, place->mount);
    if (mount) {
        ticket_give(mount, place->partition, (uint8_t)place->ticket);
        mount_forget(client->local, mount);
    }
    place->data = NULL;
    return status;
}

enum kvr_status kvr_seal(struct kvr_client *client, struct kvr_place *place, const uint32_t *crc)
{
    enum kvr_status status = usable(client);

    if (status != KVR_OK)
        return status;
    if (!place->data)
        return KVR_NO_UPLOAD;
    return finish(client, place, &seal_kind, crc ? *crc : crc32c(0, place->data, place->len));
}

enum kvr_status kvr_abort(struct kvr_client *client, struct kvr_place *place)
{
    enum kvr_status status = usable(client);

    if (status != KVR_OK)
        return status;
    return place->data ? finish(client, place, &abort_kind, 0) : KVR_NO_UPLOAD;
}
