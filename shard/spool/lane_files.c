#include "shard/spool/lane_files.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "shard/boot.h"

#define NAMES_BYTES   (SEGMENTS_MAX * 20u)
#define ORDER_BYTES   (SEGMENTS_MAX * sizeof(uint16_t))
#define HEADERS_BYTES (SEGMENTS_MAX * sizeof(struct record_segment))
#define BUSY_NS       (16 * NS_PER_MS)
#define HEAD_BYTES    (2 * RECORD_PAGE_BYTES)
#define CHECKPOINT_PREFIX "checkpoint-"

#define TRIES_MAX     3

enum {
    STEP_MAKE_DIR,
    STEP_LIST,
    STEP_CHECKPOINT,
    STEP_HEAD,        /* the first two pages at once, once */
    STEP_FIRST_PAGE,  /* each of them, when that has failed */
    STEP_SECOND_PAGE,
    STEP_LAST_PAGE,
};

static void lane_files_job_done(struct work_job *job);
static void lane_files_page_read(struct op *op);
static void lane_files_page(struct lane_files *files);
static void lane_files_file_open(struct descriptor_wait *wait);

/* --- life ------------------------------------------------------------------------------------- */

PRINTF(3, 4)
static void lane_files_fail(struct lane_files *files, int error, const char *format, ...)
{
    if (files->error == 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(files->reason, sizeof(files->reason), format, arguments);
        va_end(arguments);
        files->error = error;
    }
}

static void lane_files_submit(struct lane_files *files)
{
    files->job.done = lane_files_job_done;
    if (!work_submit(files->shard->work, files->shard, &files->job)) {
        shard_timer_set(files->shard, &files->retry, BUSY_NS);
    }
}

static void lane_files_retry(struct timer *timer)
{
    lane_files_submit(CONTAINER_OF(timer, struct lane_files, retry));
}

int lane_files_init(struct lane_files *files, struct shard *shard, struct segments *segments,
                    int *checkpoint_fds)
{
    *files = (struct lane_files){
        .shard = shard,
        .segments = segments,
        .checkpoint_fds = checkpoint_fds,
        .wait = {.done = lane_files_file_open},
    };
    timer_init(&files->retry, lane_files_retry);
    op_init(&files->op, lane_files_page_read);
    files->page = boot_memory_take(HEAD_BYTES);
    files->names = boot_memory_take(NAMES_BYTES);
    files->order = boot_memory_take(ORDER_BYTES);
    files->headers = boot_memory_take(HEADERS_BYTES);
    if (files->page == NULL || files->names == NULL || files->order == NULL ||
        files->headers == NULL) {
        lane_files_fini(files);
        return -ENOMEM;
    }
    return 0;
}

void lane_files_fini(struct lane_files *files)
{
    shard_timer_clear(files->shard, &files->retry);
    boot_memory_give(files->page, HEAD_BYTES);
    boot_memory_give(files->names, NAMES_BYTES);
    boot_memory_give(files->order, ORDER_BYTES);
    boot_memory_give(files->headers, HEADERS_BYTES);
    files->page = NULL;
    files->names = NULL;
    files->order = NULL;
    files->headers = NULL;
}

/* --- files ------------------------------------------------------------------------------------ */

static bool lane_files_open_checkpoint(struct lane_files *files, struct slice name)
{
    struct slice prefix = SLICE(CHECKPOINT_PREFIX);
    uint64_t file;
    if (!slice_starts_with(name, prefix) || name.size != prefix.size + 1 ||
        !slice_parse_u64(slice_skip(name, prefix.size), &file) || file >= CHECKPOINT_FILES) {
        return false;
    }
    files->opening = (unsigned)file;
    files->job = (struct work_job){
        .kind = WORK_OPEN,
        .flags = WORK_DIRECT | WORK_WRITE | WORK_PLAIN,
        .size = UINT64_MAX,
        .path = segments_checkpoint_path(files->segments, (unsigned)file),
    };
    lane_files_submit(files);
    return true;
}

static void lane_files_too_many(struct lane_files *files)
{
    lane_files_fail(files, -EMFILE, "spool: %s holds more than %u segments",
                    files->segments->lane_path, SEGMENTS_MAX);
}

/* Segments get their places in the table; others than these and checkpoints are left alone. */
static void lane_files_find(struct lane_files *files)
{
    struct segments *segments = files->segments;
    while (files->names_at < files->names_size) {
        struct slice name = slice_from_string(files->names + files->names_at);
        files->names_at += name.size + 1;
        uint32_t slot;
        if (lane_files_open_checkpoint(files, name)) {
            return;
        }
        if (segment_slot_parse(name, &slot) && segments_add(segments, slot, -1) == NULL) {
            lane_files_too_many(files);
            break;
        }
    }
    files->done(files);
}

static void lane_files_list(struct lane_files *files)
{
    files->step = STEP_LIST;
    files->job = (struct work_job){
        .kind = WORK_LIST,
        .flags = WORK_SYNC, /* or mail would stand in a file whose name a power cut takes away */
        .path = files->segments->lane_path,
        .data = files->names,
        .data_size = NAMES_BYTES,
    };
    lane_files_submit(files);
}

void lane_files_open(struct lane_files *files, uint64_t uuid, bool foreign,
                     void (*done)(struct lane_files *files))
{
    files->uuid = uuid;
    files->foreign = foreign;
    files->done = done;
    if (foreign) {
        lane_files_list(files);
        return;
    }
    files->step = STEP_MAKE_DIR;
    files->job = (struct work_job){.kind = WORK_MAKE_DIR, .path = files->segments->lane_path};
    lane_files_submit(files);
}

/* Files of a kind that no spool has are not read past: somebody should look. */
static const char *lane_files_refusal(int error)
{
    switch (-error) {
    case ELOOP:
        return "a symbolic link";
    case EISDIR:
        return "a directory";
    case ESPIPE:
        return "no regular file";
    case EMLINK:
        return "has other names (hard links)";
    case EPERM:
        return "belongs to another user, or others may write to it";
    case EFBIG:
        return "larger than any segment";
    default:
        return strerror(-error);
    }
}

void lane_files_refuse(const char *path, int error, char *reason_out, size_t reason_bytes)
{
    snprintf(reason_out, reason_bytes, "spool: %s: cannot be used: %s", path,
             lane_files_refusal(error));
}

static void lane_files_unusable(struct lane_files *files, const char *path, int error)
{
    char reason[sizeof(files->reason)];
    lane_files_refuse(path, error, reason, sizeof(reason));
    lane_files_fail(files, error, "%s", reason);
}

static void lane_files_job_done(struct work_job *job)
{
    struct lane_files *files = CONTAINER_OF(job, struct lane_files, job);
    struct segments *segments = files->segments;
    bool existing = files->step == STEP_MAKE_DIR && job->result == -EEXIST;
    if (files->foreign && files->step == STEP_LIST && job->result == -ENOENT) {
        job->result = 0; /* a lane that never began, or is gone */
        job->size = 0;
    }
    if (files->step == STEP_LIST && job->result == -EFBIG) {
        lane_files_too_many(files); /* not even their names have room */
        files->done(files);
    } else if (job->result < 0 && !existing) {
        lane_files_unusable(files, files->step == STEP_CHECKPOINT ? segments->path
                                                                  : segments->lane_path,
                            job->result);
        files->done(files);
    } else if (files->step == STEP_MAKE_DIR) {
        lane_files_list(files);
    } else if (files->step == STEP_LIST) {
        files->names_size = (size_t)job->size;
        files->step = STEP_CHECKPOINT;
        lane_files_find(files);
    } else {
        files->checkpoint_fds[files->opening] = job->result;
        lane_files_find(files);
    }
}

/* --- first pages ------------------------------------------------------------------------------ */

/* Insertion by number: files are mostly in order already. */
static void lane_files_order(struct lane_files *files, uint32_t place)
{
    const struct segment *table = files->segments->table;
    uint32_t at = files->order_count++;
    while (at > 0 && table[files->order[at - 1]].number > table[place].number) {
        files->order[at] = files->order[at - 1];
        at--;
    }
    files->order[at] = (uint16_t)place;
}

/* Every file that was ever used is part of the log until it is known that nobody needs it. */
static void lane_files_sort(struct lane_files *files)
{
    struct segments *segments = files->segments;
    for (uint32_t i = 0; i < segments->count; i++) {
        segments->table[i].state = SEGMENT_ASIDE;
        if (segments->table[i].number != 0) {
            lane_files_order(files, i);
        }
    }
    for (uint32_t i = 0; i < files->order_count; i++) {
        uint32_t number = segments->table[files->order[i]].number;
        if (i > 0 && number == segments->table[files->order[i - 1]].number) {
            lane_files_fail(files, -EEXIST, "spool: %s: two files claim to be segment %u",
                            segments->lane_path, number);
        }
        segments_append_log(segments, &segments->table[files->order[i]]);
    }
}

static struct segment *lane_files_segment(struct lane_files *files)
{
    return &files->segments->table[files->page_at];
}

static void lane_files_page(struct lane_files *files)
{
    uint32_t at = files->step == STEP_SECOND_PAGE ? RECORD_PAGE_BYTES : 0;
    uint64_t last = files->segments->options->segment_bytes - RECORD_PAGE_BYTES;
    ring_read(files->shard->ring, &files->op, lane_files_segment(files)->fd, files->page + at,
              files->step == STEP_HEAD ? HEAD_BYTES : RECORD_PAGE_BYTES,
              files->step == STEP_LAST_PAGE ? last : at);
}

static void lane_files_step(struct lane_files *files, uint8_t step)
{
    files->step = step;
    files->tries = 0;
    lane_files_page(files);
}

/* The next file; without one, or with an error, it is over. */
static void lane_files_file(struct lane_files *files)
{
    struct segments *segments = files->segments;
    if (files->page_at == segments->count || files->error != 0) {
        if (files->error == 0) {
            lane_files_sort(files);
        }
        files->done(files);
        return;
    }
    struct segment *segment = lane_files_segment(files);
    segment->pins++;
    if (descriptors_use(&segments->descriptors, &files->wait, segment)) {
        lane_files_step(files, STEP_HEAD);
    }
}

/* Its pages are read, or it cannot be opened: no start without it. */
static void lane_files_file_over(struct lane_files *files)
{
    segments_unpin(files->segments, lane_files_segment(files));
    files->page_at++;
    lane_files_file(files);
}

static void lane_files_file_open(struct descriptor_wait *wait)
{
    struct lane_files *files = CONTAINER_OF(wait, struct lane_files, wait);
    if (wait->error == 0) {
        lane_files_step(files, STEP_HEAD);
        return;
    }
    lane_files_unusable(files, segments_file_path(files->segments, wait->segment), wait->error);
    lane_files_file_over(files);
}

void lane_files_read(struct lane_files *files, void (*done)(struct lane_files *files))
{
    files->done = done;
    lane_files_file(files);
}

static bool all_zero(struct slice bytes)
{
    uint8_t all = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        all |= bytes.data[i];
    }
    return all == 0;
}

/* A SEGMENT header that was torn or is damaged: its first group says as much. */
static bool lane_files_header_from_group(struct lane_files *files, struct slice page,
                                         struct record_segment *header_out)
{
    struct record_group group;
    if (page.size <= RECORD_PAGE_BYTES ||
        !record_group_get(slice_skip(page, RECORD_PAGE_BYTES), files->uuid, &group)) {
        return false;
    }
    *header_out = (struct record_segment){
        .version = group.version,
        .lane = group.lane,
        .number = group.segment,
        .uuid = files->uuid,
        .sequence = group.sequence,
        .log_first = group.log_first,
    };
    return true;
}

/* A file that holds something, but nothing that can be understood, is never used again. */
static void lane_files_head(struct lane_files *files, struct slice page)
{
    struct segment *segment = lane_files_segment(files);
    struct record_segment header;
    if (!record_segment_get(page, &header) &&
        !lane_files_header_from_group(files, page, &header)) {
        segment->blank = files->unread == 0 && all_zero(page);
        if (!segment->blank) {
            spool_note(files->segments->options, "spool: %s: no segment header: set aside",
                       segments_slot_path(files->segments, segment->slot));
        }
        return;
    }
    if (header.version > RECORD_VERSION) {
        lane_files_fail(files, -EPROTO,
                        "spool: %s is of format version %u, newer than this program",
                        segments_slot_path(files->segments, segment->slot), header.version);
    } else if (header.uuid != files->uuid || header.lane != files->segments->options->lane) {
        lane_files_fail(files, -EPROTO, "spool: %s belongs to another spool or lane",
                        segments_slot_path(files->segments, segment->slot));
    }
    segment->number = header.number;
    files->headers[files->page_at] = header;
}

/* One of the first two pages was read, or is zeros. */
static void lane_files_single_read(struct lane_files *files, int result)
{
    files->unread += result < 0;
    if (files->step == STEP_FIRST_PAGE) {
        lane_files_step(files, STEP_SECOND_PAGE);
    } else if (files->unread < HEAD_BYTES / RECORD_PAGE_BYTES) {
        lane_files_head(files, slice_make(files->page, HEAD_BYTES));
        lane_files_step(files, STEP_LAST_PAGE);
    } else {
        lane_files_fail(files, result, "spool: %s: cannot be read: %s",
                        segments_slot_path(files->segments, lane_files_segment(files)->slot),
                        strerror(-result));
        lane_files_file_over(files);
    }
}

static void lane_files_page_read(struct op *op)
{
    struct lane_files *files = CONTAINER_OF(op, struct lane_files, op);
    int result = op->result;
    bool single = files->step == STEP_FIRST_PAGE || files->step == STEP_SECOND_PAGE;
    if (result == -EINTR || result == -EAGAIN ||
        (result < 0 && files->step != STEP_HEAD && ++files->tries < TRIES_MAX)) {
        lane_files_page(files);
    } else if (single) {
        lane_files_single_read(files, result);
    } else if (files->step == STEP_LAST_PAGE) {
        lane_files_segment(files)->reusable = result > 0;
        lane_files_file_over(files);
    } else if (result < 0) {
        memset(files->page, 0, HEAD_BYTES);
        files->unread = 0;
        lane_files_step(files, STEP_FIRST_PAGE);
    } else {
        files->unread = 0;
        lane_files_head(files, slice_make(files->page, (size_t)result));
        lane_files_step(files, STEP_LAST_PAGE);
    }
}
