/* For each range: make the folder, list it, read the range, write the copy. */
#include "shard/spool/quarantine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "shard/boot.h"

#define BUSY_NS     (16 * NS_PER_MS)
#define STUCK_MAX   16 /* reads in a row that brought no whole page: the end of the file */
#define DATA_BYTES  (QUARANTINE_FILE_BYTES_MAX + 2ull * RECORD_PAGE_BYTES)
#define NAMES_BYTES (2ull * QUARANTINE_FILES_MAX * QUARANTINE_NAME_BYTES)

enum { STEP_NONE, STEP_FOLDER, STEP_LIST, STEP_READ, STEP_WRITE };

static void quarantine_begin(struct quarantine *quarantine);
static void quarantine_read_done(struct op *op);
static void quarantine_file_open(struct descriptor_wait *wait);
static void quarantine_job_done(struct work_job *job);

static void quarantine_submit(struct quarantine *quarantine)
{
    quarantine->job.done = quarantine_job_done;
    if (!work_submit(quarantine->shard->work, quarantine->shard, &quarantine->job)) {
        shard_timer_set(quarantine->shard, &quarantine->retry, BUSY_NS);
    }
}

static void quarantine_retry(struct timer *timer)
{
    quarantine_submit(CONTAINER_OF(timer, struct quarantine, retry));
}

int quarantine_init(struct quarantine *quarantine, struct shard *shard,
                    const struct spool_options *options, struct segments *segments)
{
    *quarantine =
        (struct quarantine){.shard = shard, .options = options, .segments = segments};
    op_init(&quarantine->op, quarantine_read_done);
    quarantine->wait.done = quarantine_file_open;
    timer_init(&quarantine->retry, quarantine_retry);
    quarantine->data = boot_memory_take(DATA_BYTES);
    quarantine->names = boot_memory_take(NAMES_BYTES);
    if (quarantine->data == NULL || quarantine->names == NULL) {
        quarantine_fini(quarantine);
        return -ENOMEM;
    }
    return 0;
}

void quarantine_fini(struct quarantine *quarantine)
{
    shard_timer_clear(quarantine->shard, &quarantine->retry);
    boot_memory_give(quarantine->data, DATA_BYTES);
    boot_memory_give(quarantine->names, NAMES_BYTES);
    quarantine->data = NULL;
    quarantine->names = NULL;
}

bool quarantine_idle(const struct quarantine *quarantine)
{
    return quarantine->step == STEP_NONE;
}

/* --- what waits ------------------------------------------------------------------------------- */

static struct quarantine_name entry_name(const struct quarantine_entry *entry)
{
    const struct segment *segment = entry->segment;
    return (struct quarantine_name){
        .lane = segment->lane,
        .segment = segment->number - segment->shift,
        .offset = entry->range.offset,
        .bytes = entry->range.bytes,
        .reason = entry->reason,
    };
}

/* In the words of the line that named the damage. */
static void entry_note(const struct quarantine *quarantine, const char *what)
{
    const struct quarantine_name name = entry_name(&quarantine->waiting[0]);
    spool_note(quarantine->options, "spool: lane %u segment %u offset %llu: %s %s", name.lane,
               name.segment, (unsigned long long)name.offset, what, quarantine->path);
}

/* Finds its segment and keeps it. False: nothing of the range is in any file. */
static bool entry_pin(const struct quarantine *quarantine, struct quarantine_entry *entry)
{
    struct log_range *range = &entry->range;
    uint64_t end = quarantine->options->segment_bytes;
    if (range->bytes == UINT64_MAX) {
        range->bytes = end > range->offset ? end - range->offset : 0;
    }
    entry->segment = segments_find(quarantine->segments, range->segment);
    if (entry->segment == NULL || range->bytes == 0) {
        return false;
    }
    entry->segment->pins++;
    return true;
}

static void entry_unpin(const struct quarantine *quarantine, const struct quarantine_entry *entry)
{
    segments_unpin(quarantine->segments, entry->segment);
}

static bool entry_waits(const struct quarantine *quarantine, const struct log_range *range)
{
    for (unsigned i = 0; i < quarantine->count; i++) {
        const struct log_range *other = &quarantine->waiting[i].range;
        if (other->segment == range->segment && other->offset == range->offset) {
            return true;
        }
    }
    return false;
}

void quarantine_put(struct quarantine *quarantine, const struct log_range *range,
                    enum quarantine_reason reason)
{
    struct quarantine_entry entry = {.range = *range, .reason = reason};
    if (quarantine->count == QUARANTINE_WAITING_MAX || quarantine->idle != NULL ||
        entry_waits(quarantine, range) ||
        (quarantine->running && !entry_pin(quarantine, &entry))) {
        return;
    }
    quarantine->waiting[quarantine->count++] = entry;
    if (quarantine->running) {
        quarantine_begin(quarantine);
    }
}

void quarantine_run(struct quarantine *quarantine)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < quarantine->count; i++) {
        struct quarantine_entry entry = quarantine->waiting[i];
        if (entry_pin(quarantine, &entry)) {
            quarantine->waiting[kept++] = entry;
        }
    }
    quarantine->count = kept;
    quarantine->running = true;
    quarantine_begin(quarantine);
}

void quarantine_stop(struct quarantine *quarantine, void (*idle)(struct quarantine *quarantine))
{
    quarantine->idle = idle;
}

/* --- one range -------------------------------------------------------------------------------- */

static void quarantine_begin(struct quarantine *quarantine)
{
    if (quarantine->step != STEP_NONE || quarantine->count == 0) {
        return;
    }
    snprintf(quarantine->path, sizeof(quarantine->path), "%s/" QUARANTINE_FOLDER,
             quarantine->options->path);
    quarantine->step = STEP_FOLDER;
    quarantine->job = (struct work_job){.kind = WORK_MAKE_DIR, .path = quarantine->path};
    quarantine_submit(quarantine);
}

/* The first range is done with, copied or not. */
static void quarantine_next(struct quarantine *quarantine)
{
    entry_unpin(quarantine, &quarantine->waiting[0]);
    quarantine->count--;
    memmove(quarantine->waiting, quarantine->waiting + 1,
            quarantine->count * sizeof(quarantine->waiting[0]));
    quarantine->step = STEP_NONE;
    quarantine_begin(quarantine);
    if (quarantine->idle != NULL && quarantine_idle(quarantine)) {
        quarantine->idle(quarantine);
    }
}

static void quarantine_failed(struct quarantine *quarantine, int error)
{
    char what[64];
    snprintf(what, sizeof(what), "cannot be copied aside: error %d:", -error);
    entry_note(quarantine, what);
    quarantine_next(quarantine);
}

static void quarantine_list(struct quarantine *quarantine)
{
    quarantine->step = STEP_LIST;
    quarantine->job = (struct work_job){.kind = WORK_LIST,
                                        .path = quarantine->path,
                                        .data = quarantine->names,
                                        .data_size = NAMES_BYTES};
    quarantine_submit(quarantine);
}

/* How many names there are, and whether this is one of them. */
static unsigned count_names(const struct quarantine *quarantine, struct slice wanted, bool *has_out)
{
    unsigned count = 0;
    *has_out = false;
    for (size_t at = 0; at < quarantine->job.size; count++) {
        struct slice name = slice_from_string(quarantine->names + at);
        *has_out = *has_out || slice_equal(name, wanted);
        at += name.size + 1;
    }
    return count;
}

static void quarantine_read(struct quarantine *quarantine)
{
    ring_read(quarantine->shard->ring, &quarantine->op, quarantine->waiting[0].segment->fd,
              quarantine->data + quarantine->got, quarantine->read_size - quarantine->got,
              quarantine->read_at + quarantine->got);
}

static void quarantine_listed(struct quarantine *quarantine)
{
    const struct quarantine_entry *entry = &quarantine->waiting[0];
    const struct quarantine_name name = entry_name(entry);
    struct buf path;
    bool there;
    size_t folder = strlen(quarantine->path) + 1;
    buf_init(&path, (uint8_t *)quarantine->path, sizeof(quarantine->path) - 1);
    path.size = folder - 1;
    buf_put_byte(&path, '/');
    quarantine_name_put(&path, &name);
    if (path.overflow) {
        quarantine_failed(quarantine, -ENAMETOOLONG);
        return;
    }
    quarantine->path[path.size] = '\0';
    unsigned count = count_names(quarantine, slice_skip(buf_slice(&path), folder), &there);
    if (there) {
        quarantine_next(quarantine);
        return;
    }
    if (count >= QUARANTINE_FILES_MAX || quarantine->segments->no_space) {
        entry_note(quarantine, "no room for a copy:");
        quarantine_next(quarantine);
        return;
    }
    uint64_t end = name.offset + MIN_OF(name.bytes, (uint64_t)QUARANTINE_FILE_BYTES_MAX);
    quarantine->step = STEP_READ;
    quarantine->got = 0;
    quarantine->stuck = 0;
    quarantine->read_at = name.offset & ~(uint64_t)(RECORD_PAGE_BYTES - 1);
    quarantine->read_size =
        (uint32_t)(align_up(end, RECORD_PAGE_BYTES) - quarantine->read_at);
    if (descriptors_use(&quarantine->segments->descriptors, &quarantine->wait, entry->segment)) {
        quarantine_read(quarantine);
    }
}

static void quarantine_file_open(struct descriptor_wait *wait)
{
    struct quarantine *quarantine = CONTAINER_OF(wait, struct quarantine, wait);
    if (wait->error != 0) {
        quarantine_failed(quarantine, wait->error);
        return;
    }
    quarantine_read(quarantine);
}

static void quarantine_write(struct quarantine *quarantine)
{
    const struct log_range *range = &quarantine->waiting[0].range;
    uint32_t skip = (uint32_t)(range->offset - quarantine->read_at);
    if (quarantine->got <= skip) {
        quarantine_failed(quarantine, -ENODATA); /* a file that was cut */
        return;
    }
    uint64_t size = MIN_OF(range->bytes, (uint64_t)QUARANTINE_FILE_BYTES_MAX);
    quarantine->step = STEP_WRITE;
    quarantine->job = (struct work_job){.kind = WORK_REPLACE,
                                        .path = quarantine->path,
                                        .data = quarantine->data + skip,
                                        .data_size = MIN_OF(size, quarantine->got - skip)};
    quarantine_submit(quarantine);
}

static void quarantine_read_done(struct op *op)
{
    struct quarantine *quarantine = CONTAINER_OF(op, struct quarantine, op);
    int result = op->result;
    if (result == -EINTR || result == -EAGAIN) {
        quarantine_read(quarantine);
        return;
    }
    if (result < 0) {
        quarantine_failed(quarantine, result);
        return;
    }
    /* A short read is continued at a whole page; at the end of the file it brings nothing new. */
    uint32_t got = quarantine->got + (uint32_t)result;
    uint32_t whole = got & ~(uint32_t)(RECORD_PAGE_BYTES - 1);
    quarantine->stuck = whole > quarantine->got ? 0 : quarantine->stuck + 1;
    if (result > 0 && got < quarantine->read_size && quarantine->stuck <= STUCK_MAX) {
        quarantine->got = whole;
        quarantine_read(quarantine);
        return;
    }
    quarantine->got = got;
    quarantine_write(quarantine);
}

static void quarantine_job_done(struct work_job *job)
{
    struct quarantine *quarantine = CONTAINER_OF(job, struct quarantine, job);
    if (job->result < 0) {
        quarantine_failed(quarantine, job->result);
    } else if (quarantine->step == STEP_FOLDER) {
        quarantine_list(quarantine);
    } else if (quarantine->step == STEP_LIST) {
        quarantine_listed(quarantine);
    } else {
        entry_note(quarantine, "damaged bytes are copied to");
        quarantine_next(quarantine);
    }
}
