/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at a job before a byte of it moves. Producer's thread; forms and offsets come from clients,
 * so nothing is believed, and nothing is read but the job itself and the sizes of its regions. */
#include "gpu/form.h"
#include "gpu/worker.h"

#define ALIGN_MASK 15u

static bool converts(const struct kvr_conversion *conversion)
{
    return conversion->bits != 0 && conversion->bits != 16;
}

static bool fields_valid(const struct gpu_job *job, unsigned nr_devices)
{
    bool move = job->direction == GPU_MOVE;

    if (job->direction != GPU_LOAD && job->direction != GPU_STORE && !move)
        return false;
    if (job->priority >= GPU_PRIORITIES || job->device < GPU_ANY ||
        (job->device != GPU_ANY && (unsigned)job->device >= nr_devices))
        return false;
    if (!job->region || (move ? !job->from : !job->near))
        return false;
    return ((job->region_off | (move ? job->from_off : 0)) & ALIGN_MASK) == 0;
}

static bool forms_valid(const struct gpu_job *job)
{
    const struct kvr_form *form = &job->form;

    if (!form_valid(form, &job->conversion) || form_packed_len(form, &job->conversion) == 0)
        return false;
    if (job->direction == GPU_MOVE &&
        (converts(&job->conversion) || !form_valid(&job->from_form, &job->conversion) ||
         !form_alike(form, &job->from_form)))
        return false;
    return job->nr_layers == 0 ? job->first_layer == 0
                               : (unsigned)job->first_layer + job->nr_layers <= form->nr_layers;
}

static bool fits(const struct kvr_form *form, const struct gpu_region *region, uint64_t off)
{
    uint64_t span = form_span(form), size = gpu_region_size(region);

    return span != 0 && off <= size && span <= size - off;
}

enum kvr_status job_check(struct gpu_job *job, unsigned nr_devices)
{
    uint32_t packed_len;

    if (!fields_valid(job, nr_devices) || !forms_valid(job))
        return KVR_BAD_FIELD;
    if (job->device != GPU_ANY &&
        (!region_wants(job->region, (unsigned)job->device) ||
         (job->direction == GPU_MOVE && !region_wants(job->from, (unsigned)job->device))))
        return KVR_BAD_FIELD;
    packed_len = form_packed_len(&job->form, &job->conversion);
    if (!fits(&job->form, job->region, job->region_off))
        return KVR_BAD_RANGE;
    if (job->direction == GPU_MOVE ? !fits(&job->from_form, job->from, job->from_off)
                                   : job->near_len != packed_len)
        return KVR_BAD_RANGE;
    job->lost = job_lost(job);
    job->layer_bytes = packed_len / job->form.nr_layers;
    job->bytes = (uint64_t)job->form.nr_kinds * job->form.nr_pieces * job->form.piece_bytes *
                 job_layers(job);
    return KVR_OK;
}
