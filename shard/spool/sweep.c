#include "shard/spool/sweep.h"

#include <stdio.h>
#include <string.h>

#include "shard/boot.h"
#include "shard/spool/segment.h"

#define BUSY_NS     (16 * NS_PER_MS)
#define LANES_BYTES (64 * KIB)
#define FILES_BYTES (448 * KIB)

enum { STEP_LANES, STEP_FILES, STEP_REMOVE, STEP_REMOVE_DIR };

static void sweep_job_done(struct work_job *job);

void spool_sweep_fini(struct spool_sweep *sweep)
{
    if (sweep->memory != NULL) {
        shard_timer_clear(sweep->shard, &sweep->retry);
        boot_memory_give(sweep->memory, LANES_BYTES + FILES_BYTES);
        sweep->memory = NULL;
    }
}

static void sweep_end(struct spool_sweep *sweep)
{
    spool_sweep_fini(sweep);
    sweep->done(sweep);
}

static void sweep_submit(struct spool_sweep *sweep)
{
    sweep->job.done = sweep_job_done;
    if (!work_submit(sweep->shard->work, sweep->shard, &sweep->job)) {
        shard_timer_set(sweep->shard, &sweep->retry, BUSY_NS);
    }
}

static void sweep_retry(struct timer *timer)
{
    sweep_submit(CONTAINER_OF(timer, struct spool_sweep, retry));
}

static void sweep_list(struct spool_sweep *sweep, uint8_t step, struct sweep_names *names,
                       size_t capacity)
{
    sweep->step = step;
    sweep->job = (struct work_job){
        .kind = WORK_LIST, .path = sweep->file, .data = names->names, .data_size = capacity};
    sweep_submit(sweep);
}

/* Empty: there are no more. */
static struct slice sweep_name(struct sweep_names *names)
{
    if (names->at >= names->size) {
        return SLICE_NONE;
    }
    struct slice name = slice_from_string(names->names + names->at);
    names->at += name.size + 1;
    return name;
}

/* --- one lane --------------------------------------------------------------------------------- */

static bool sweep_unwanted(const struct spool_sweep *sweep, struct slice name)
{
    struct slice beside = SLICE(WORK_BESIDE);
    uint32_t slot;
    if (segment_slot_parse(name, &slot)) {
        return !sweep->holds(sweep, sweep->lane, slot);
    }
    /* What a crash left of the making of a segment. */
    if (slice_ends_with(name, beside) &&
        segment_slot_parse(slice_first(name, name.size - beside.size), &slot)) {
        return true;
    }
    return slice_starts_with(name, SLICE("checkpoint-"));
}

static void sweep_file(struct spool_sweep *sweep)
{
    struct slice name = sweep_name(&sweep->files);
    while (name.size > 0 && !sweep_unwanted(sweep, name)) {
        name = sweep_name(&sweep->files);
    }
    snprintf(sweep->file, sizeof(sweep->file), "%s/lane-%03u%s%.*s", sweep->path, sweep->lane,
             name.size > 0 ? "/" : "", (int)name.size, (const char *)name.data);
    sweep->step = name.size > 0 ? STEP_REMOVE : STEP_REMOVE_DIR;
    sweep->job = (struct work_job){
        .kind = name.size > 0 ? WORK_REMOVE : WORK_REMOVE_DIR, .path = sweep->file};
    sweep_submit(sweep);
}

/* --- all lanes -------------------------------------------------------------------------------- */

/* A lane that was given once and is no shard's now. */
static bool sweep_lane_parse(const struct spool_sweep *sweep, struct slice name, unsigned *lane_out)
{
    struct slice prefix = SLICE("lane-");
    uint64_t lane;
    if (!slice_starts_with(name, prefix) || name.size < prefix.size + 3 ||
        !slice_parse_u64(slice_skip(name, prefix.size), &lane) ||
        lane >= sweep->manifest->next_lane || manifest_has(sweep->manifest, (unsigned)lane)) {
        return false;
    }
    *lane_out = (unsigned)lane;
    return true;
}

static void sweep_lane(struct spool_sweep *sweep)
{
    struct slice name = sweep_name(&sweep->lanes);
    while (name.size > 0 && !sweep_lane_parse(sweep, name, &sweep->lane)) {
        name = sweep_name(&sweep->lanes);
    }
    if (name.size == 0) {
        sweep_end(sweep);
        return;
    }
    snprintf(sweep->file, sizeof(sweep->file), "%s/lane-%03u", sweep->path, sweep->lane);
    sweep_list(sweep, STEP_FILES, &sweep->files, FILES_BYTES);
}

static void sweep_job_done(struct work_job *job)
{
    struct spool_sweep *sweep = CONTAINER_OF(job, struct spool_sweep, job);
    size_t size = job->result < 0 ? 0 : (size_t)job->size;
    switch (sweep->step) {
    case STEP_LANES:
        sweep->lanes.size = size;
        sweep_lane(sweep);
        return;
    case STEP_FILES:
        sweep->files.at = 0;
        sweep->files.size = size;
        sweep_file(sweep);
        return;
    case STEP_REMOVE:
        sweep->removed += job->result >= 0;
        sweep_file(sweep);
        return;
    default:
        sweep_lane(sweep);
        return;
    }
}

void spool_sweep_start(struct spool_sweep *sweep)
{
    timer_init(&sweep->retry, sweep_retry);
    sweep->removed = 0;
    sweep->memory = boot_memory_take(LANES_BYTES + FILES_BYTES);
    if (sweep->memory == NULL) {
        sweep->done(sweep);
        return;
    }
    sweep->lanes = (struct sweep_names){.names = sweep->memory};
    sweep->files = (struct sweep_names){.names = sweep->memory + LANES_BYTES};
    snprintf(sweep->file, sizeof(sweep->file), "%s", sweep->path);
    sweep_list(sweep, STEP_LANES, &sweep->lanes, LANES_BYTES);
}
