/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks between the cache and the memory that an engine computes in: its paged cache, on a GPU or
 * in host memory. kvrail-client(3) is the manual; examples/paged_cache.c is short.
 *
 * A region is such memory, registered once. kvr_load finds how long a prefix of the keys is stored
 * and brings those blocks to their places, layer by layer if that is asked for; kvr_store takes
 * blocks from there. On shm:// a device of the server moves the bytes of regions that it was handed
 * (KVR_REGION_MEMFD, _CUDA_IPC, _CUDA_FD). On udp://, and where the server has no device for host
 * memory, the library copies by itself, to and from `base`. */
#ifndef KVRAIL_TRANSFER_H
#define KVRAIL_TRANSFER_H

#include <kvrail/client.h>
#include <kvrail/region.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KVR_HANDLE_MAX 64u

struct kvr_region;

struct kvr_region_spec {
    enum kvr_region_kind kind;
    int fd;        /* _MEMFD, _CUDA_FD: stays the caller's, the library has a copy */
    uint64_t size; /* bytes */
    void *base;    /* where the caller has it mapped; NULL: not in host memory, or not known */
    uint8_t bytes[KVR_HANDLE_MAX]; /* _CUDA_IPC */
};

/* Waits for the server at most the default timeout. The memory must stay as it is until
 * kvr_region_forget; kvr_close forgets all, but waits for nobody: what transfers that still ran
 * were about may be written to for a moment more. After a restart of the server the library
 * registers it again by itself. KVR_INVALID; KVR_NO_DEVICE: the server has no device that reaches
 * such memory, and it is no host memory whose base is known; KVR_LIMIT: too many regions or bytes;
 * KVR_TIMEOUT, KVR_UNREACHABLE, KVR_NO_MEMORY. */
KVR_API enum kvr_status kvr_region_register(struct kvr_client *client,
                                            const struct kvr_region_spec *spec,
                                            struct kvr_region **region);
/* 1: a device of the server moves its bytes; 0: the library does. */
KVR_API int kvr_region_by_device(const struct kvr_region *region);
/* On KVR_OK no byte of it is read or written any more, also by what ended as KVR_TIMEOUT or
 * KVR_CANCELED, and region is gone. KVR_BUSY: transfers of it are running; KVR_TIMEOUT: the server
 * did not say so in time; call again. */
KVR_API enum kvr_status kvr_region_forget(struct kvr_client *client, struct kvr_region *region);

/* Blocks of one form between the cache and a region. Zero it, fill what is needed; it, the keys and
 * offs belong to the caller and stay untouched until it is done. */
struct kvr_transfer {
    /* in */
    const struct kvr_key *keys; /* load: a chain from its start */
    const uint64_t *offs;       /* of each key's block in the region, multiples of 16 */
    uint32_t nr_keys;
    struct kvr_region *region;
    struct kvr_form form;
    struct kvr_conversion conversion; /* by a device only */
    uint16_t first_layer, nr_layers;  /* load: only these; 0, 0 = all */
    uint8_t priority_set, priority;   /* priority counts if priority_set is 1 */
    uint32_t timeout_ms;              /* of all of it; 0 = the client's default */
    /* store */
    uint32_t ttl_ms;
    uint16_t layout;
    uint8_t add;                  /* only what is absent; what is there counts as done */
    const struct kvr_hint *hints; /* NULL or nr_keys */
    /* load: called from kvr_poll (kvr_load) when the first `layers` of the layers asked for are
     * there, of the first `prefix` blocks; each time with more. NULL: not wanted. */
    void (*on_layer)(struct kvr_transfer *transfer, uint32_t layers);
    void (*done)(struct kvr_transfer *transfer); /* submitted ones; called from kvr_poll */
    void *user;
    enum kvr_status *statuses; /* NULL or nr_keys: what became of each */

    /* out */
    enum kvr_status status; /* KVR_OK: load: all blocks of the prefix that is stored; store: all.
                             * Else what became of the first block that is not there. */
    uint32_t prefix;        /* load: the first so many blocks; before it is done: that are stored */
    uint32_t nr_done;       /* blocks */
    uint64_t bytes;         /* of values */
    uint64_t latency_ns;

    void *private_state; /* the library's; zero before the first use */
};

/* Run one transfer to its end; return transfer->status. They do what kvr_poll does meanwhile. Past
 * its deadline a transfer ends as KVR_TIMEOUT or KVR_EXPIRED. Where that is KVR_TIMEOUT the server
 * did not answer, and a block of a load may still be written to: the memory may be used for
 * something else when kvr_region_forget has returned. KVR_INVALID: a form that makes no sense, or a
 * conversion where no device is; KVR_BAD_RANGE: a block that does not lie in the region. */
KVR_API enum kvr_status kvr_load(struct kvr_client *client, struct kvr_transfer *transfer);
KVR_API enum kvr_status kvr_store(struct kvr_client *client, struct kvr_transfer *transfer);

/* Start one. KVR_OK: done will be called from kvr_poll, exactly once; else it is not started. */
KVR_API enum kvr_status kvr_submit_load(struct kvr_client *client, struct kvr_transfer *transfer);
KVR_API enum kvr_status kvr_submit_store(struct kvr_client *client, struct kvr_transfer *transfer);

/* ---- Copies on the server's devices, read where they lie -------------------------------------
 * Blocks that are loaded often have a copy in the memory of a device of the server (`gpu_pool`), as
 * they were stored. A client on the same host that may write the cache can have that memory, and
 * read copies there by itself. All of it on the thread that owns the handle. */

/* Memory that the server exports, as it is to be imported by the caller's own means: mmap of fd,
 * cuMemImportFromShareableHandle, or cuIpcOpenMemHandle. Not to be written to. It stays readable
 * for who has imported it, whatever becomes of the server. */
struct kvr_gpu_memory {
    uint64_t number; /* of this handle's memories: another one is other memory */
    enum kvr_region_kind kind;
    int fd;                        /* _MEMFD, _CUDA_FD: the library's; -1: none */
    uint64_t size;                 /* bytes */
    uint8_t bytes[KVR_HANDLE_MAX]; /* _CUDA_IPC */
};

/* A copy of a stored value. */
struct kvr_gpu_place {
    const struct kvr_gpu_memory *memory; /* the library's, there until the place is released */
    uint64_t offset;                     /* in it */
    uint64_t ref;                        /* of the block */
    uint32_t len;
    uint32_t crc;    /* CRC32C of the value, as its writer gave it; nobody has compared it */
    uint16_t layout; /* as it was stored */
    uint16_t device;
    uint16_t partition, ticket; /* the library's, */
    uint64_t pin;               /* this too */
};

/* Finds the copy of key's block on a device and holds it: its bytes stay as they are until
 * kvr_gpu_release, whatever becomes of the key. Import memory once for each number. Waits for the
 * server, at most twice the default timeout. KVR_MISS: not stored, or there is no copy on that
 * device (now; each call counts as a hit, and hits make copies); KVR_NO_DEVICE: no such device, or
 * the server has no pool there; KVR_LIMIT: too many are held; KVR_NOT_LOCAL, KVR_DENIED: the handle
 * is not on the server's host, may not write; KVR_INVALID, KVR_TIMEOUT, KVR_UNREACHABLE,
 * KVR_NO_MEMORY. Only on KVR_OK is there something to release. */
KVR_API enum kvr_status kvr_gpu_look(struct kvr_client *client, const struct kvr_key *key,
                                     uint32_t device, struct kvr_gpu_place *place);
/* When the last read has ended, on the device too. Clears place, however it ends. KVR_OK: what was
 * read since kvr_gpu_look was the value. KVR_INVALID: this handle holds no such place. All else
 * (KVR_INTERNAL: the device failed, or the server was replaced; KVR_TIMEOUT): what was read may be
 * anything. */
KVR_API enum kvr_status kvr_gpu_release(struct kvr_client *client, struct kvr_gpu_place *place);

#ifdef __cplusplus
}
#endif
#endif
