#include "shard/spool/segment.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "shard/boot.h"
#include "shard/spool/record.h"

#define RETRY_NS     (1 * NS_PER_S)
#define BUSY_NS      (16 * NS_PER_MS)
#define TRY_AGAIN_NS   (10 * NS_PER_S)
#define ROW_RECORD_BYTES 512 /* of a row's record besides the body, about */
#define SPARSE_PERCENT 25
#define SPARSE_TIGHT   75 /* while there is no space */
/* What is moved stands among new mail again, which soon is gone: moved a little at a time it would
 * be sparse again at once. So segments wait until they fill one together, or are so many, or one
 * of them has waited so many times compact_after. */
#define ROUND_SEGMENTS 32
#define ROUND_LATE     4
#define NAME_PREFIX  "segment-"
#define NAME_DIGITS  6
#define INODES_SPARE 16

enum { STEP_SPACE, STEP_CREATE, STEP_OPEN, STEP_REMOVE, STEP_FORGET, STEP_CLOSE };

void spool_note(const struct spool_options *options, const char *format, ...)
{
    if (options->note == NULL) {
        return;
    }
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (size > 0) {
        size_t kept = MIN_OF((size_t)size, sizeof(line) - 1);
        options->note(options->note_context, slice_make(line, kept));
    }
}

/* --- lists of places -------------------------------------------------------------------------- */

static struct segment *list_at(const struct segments *segments, const struct segment_list *list,
                               uint32_t index)
{
    return &segments->table[list->places[index]];
}

static void list_push(struct segments *segments, struct segment_list *list,
                      const struct segment *segment)
{
    CHECK(list->count < SEGMENTS_MAX);
    list->places[list->count++] = (uint16_t)(segment - segments->table);
}

/* The order of the others stays. */
static void list_take(struct segment_list *list, uint32_t index)
{
    list->count--;
    memmove(list->places + index, list->places + index + 1,
            (list->count - index) * sizeof(*list->places));
}

/* --- table ------------------------------------------------------------------------------------ */

static void segments_retry(struct timer *timer)
{
    struct segments *segments = CONTAINER_OF(timer, struct segments, retry);
    if (segments->closing) {
        segments->changed(segments);
    } else {
        segments_tend(segments);
    }
}

#define TABLE_BYTES (SEGMENTS_MAX * sizeof(struct segment))
#define LIST_BYTES (SEGMENTS_MAX * sizeof(uint16_t))

int segments_init(struct segments *segments, struct shard *shard,
                  const struct spool_options *options)
{
    *segments = (struct segments){.shard = shard, .options = options, .next_number = 1};
    timer_init(&segments->retry, segments_retry);
    descriptors_init(&segments->descriptors, segments);
    int size = snprintf(segments->lane_path, sizeof(segments->lane_path), "%s/lane-%03u",
                        options->path, options->lane);
    if (size < 0 || (size_t)size >= sizeof(segments->lane_path)) {
        return -ENAMETOOLONG;
    }
    segments->table = boot_memory_take(TABLE_BYTES);
    segments->log.places = boot_memory_take(LIST_BYTES);
    segments->spares.places = boot_memory_take(LIST_BYTES);
    if (segments->table == NULL || segments->log.places == NULL ||
        segments->spares.places == NULL) {
        segments_fini(segments);
        return -ENOMEM;
    }
    return 0;
}

void segments_fini(struct segments *segments)
{
    shard_timer_clear(segments->shard, &segments->retry);
    descriptors_fini(&segments->descriptors);
    boot_memory_give(segments->table, TABLE_BYTES);
    boot_memory_give(segments->log.places, LIST_BYTES);
    boot_memory_give(segments->spares.places, LIST_BYTES);
}

const char *segments_slot_path(struct segments *segments, uint32_t slot)
{
    snprintf(segments->path, sizeof(segments->path), "%s/" NAME_PREFIX "%0*u",
             segments->lane_path, NAME_DIGITS, slot);
    return segments->path;
}

void segment_path_put(const struct segments *segments, const struct segment *segment, char *path,
                      size_t path_bytes)
{
    snprintf(path, path_bytes, "%s/lane-%03u/" NAME_PREFIX "%0*u", segments->options->path,
             segment->lane, NAME_DIGITS, segment->slot);
}

const char *segments_file_path(struct segments *segments, const struct segment *segment)
{
    segment_path_put(segments, segment, segments->path, sizeof(segments->path));
    return segments->path;
}

const char *segments_checkpoint_path(struct segments *segments, unsigned file)
{
    snprintf(segments->path, sizeof(segments->path), "%s/checkpoint-%u", segments->lane_path, file);
    return segments->path;
}

bool segment_slot_parse(struct slice name, uint32_t *slot_out)
{
    struct slice prefix = SLICE(NAME_PREFIX);
    uint64_t slot;
    if (name.size != prefix.size + NAME_DIGITS || !slice_starts_with(name, prefix) ||
        !slice_parse_u64(slice_skip(name, prefix.size), &slot)) {
        return false;
    }
    *slot_out = (uint32_t)slot;
    return true;
}

static struct segment *entry_free(struct segments *segments)
{
    for (uint32_t i = 0; i < segments->count && segments->gone > 0; i++) {
        if (segments->table[i].gone) {
            segments->gone--;
            return &segments->table[i];
        }
    }
    return segments->count == SEGMENTS_MAX ? NULL : &segments->table[segments->count++];
}

struct segment *segments_add(struct segments *segments, uint32_t slot, int fd)
{
    struct segment *segment = entry_free(segments);
    if (segment == NULL) {
        return NULL;
    }
    *segment = (struct segment){
        .slot = slot, .lane = (uint16_t)segments->options->lane, .fd = fd};
    segments->next_slot = MAX_OF(segments->next_slot, slot + 1);
    return segment;
}

void segments_append_log(struct segments *segments, struct segment *segment)
{
    segment->state = SEGMENT_SEALED;
    segment->sealed_ns = segments->shard->now_ns;
    list_push(segments, &segments->log, segment);
    segments->next_number = MAX_OF(segments->next_number, segment->number + 1);
}

/* --- segments of adopted lanes ---------------------------------------------------------------- */

bool segments_foreign(const struct segments *segments, const struct segment *segment)
{
    return segment->lane != segments->options->lane;
}

static struct segment *foreign_add(struct segments *segments, const struct segment *found)
{
    struct segment *segment = entry_free(segments);
    if (segment != NULL) {
        *segment = (struct segment){
            .number = found->number,
            .slot = found->slot,
            .shift = found->shift,
            .lane = found->lane,
            .rows_total = found->rows_total,
            .fd = -1,
            .state = SEGMENT_ASIDE,
        };
    }
    return segment;
}

struct segment *segments_adopt(struct segments *segments, const struct segment *found)
{
    struct segment_list *log = &segments->log;
    uint32_t index = segments_index(segments, found->number);
    if (index < log->count && segments_at(segments, index)->number == found->number) {
        return NULL;
    }
    struct segment *segment = foreign_add(segments, found);
    if (segment != NULL) {
        segment->state = SEGMENT_SEALED;
        segment->sealed_ns = segments->shard->now_ns;
        list_push(segments, log, segment);
        memmove(log->places + index + 1, log->places + index,
                (log->count - 1 - index) * sizeof(*log->places));
        log->places[index] = (uint16_t)(segment - segments->table);
        segments->next_number = MAX_OF(segments->next_number, segment->number + 1);
    }
    return segment;
}

static void foreign_part(struct segments *segments, struct segment *segment)
{
    segment->parting = true;
    segments->parting++;
}

struct segment *segments_part(struct segments *segments, const struct segment *found)
{
    struct segment *segment = foreign_add(segments, found);
    if (segment != NULL) {
        foreign_part(segments, segment);
    }
    return segment;
}

void segments_disown(struct segments *segments, struct segment *segment, bool file)
{
    list_take(&segments->log, segments_index(segments, segment->number));
    segment->state = SEGMENT_ASIDE;
    if (!file) {
        *segment = (struct segment){.fd = -1, .state = SEGMENT_ASIDE, .gone = true};
        segments->gone++;
    }
}

/* The next one whose file is to go; null: none. */
static struct segment *foreign_parting(struct segments *segments)
{
    for (uint32_t i = 0; i < segments->count && segments->parting > 0; i++) {
        if (segments->table[i].parting) {
            segments->table[i].parting = false;
            segments->parting--;
            return &segments->table[i];
        }
    }
    return NULL;
}

static void segments_append_spare(struct segments *segments, struct segment *segment)
{
    segment->state = SEGMENT_SPARE;
    list_push(segments, &segments->spares, segment);
}

/* The first spare whose file is open, or is not; the list's length: there is none. */
static uint32_t spare_index(const struct segments *segments, bool open)
{
    uint32_t index = 0;
    while (index < segments->spares.count &&
           (list_at(segments, &segments->spares, index)->fd >= 0) != open) {
        index++;
    }
    return index;
}

static uint32_t spares_open(const struct segments *segments)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < segments->spares.count; i++) {
        count += list_at(segments, &segments->spares, i)->fd >= 0;
    }
    return count;
}

static void segments_seal(struct segments *segments, struct segment *segment)
{
    if (segment->state == SEGMENT_OPEN) {
        segment->state = SEGMENT_SEALED;
        segment->sealed_ns = segments->shard->now_ns;
    }
    descriptors_keep(&segments->descriptors, segment);
}

struct segment *segments_begin(struct segments *segments)
{
    uint32_t index = spare_index(segments, true);
    if (index == segments->spares.count) {
        return NULL;
    }
    struct segment *segment = list_at(segments, &segments->spares, index);
    list_take(&segments->spares, index);
    if (segments->log.count > 0) {
        segments_seal(segments, segments_at(segments, segments->log.count - 1));
    }
    *segment = (struct segment){
        .number = segments->next_number++,
        .slot = segment->slot,
        .lane = segment->lane,
        .fd = segment->fd,
        .state = SEGMENT_OPEN,
        .reusable = segment->reusable,
    };
    list_push(segments, &segments->log, segment);
    return segment;
}

struct segment *segments_at(const struct segments *segments, uint32_t index)
{
    return list_at(segments, &segments->log, index);
}

/* Numbers grow by one at least, and mostly by one: both ends say about where it is. */
uint32_t segments_index(const struct segments *segments, uint32_t number)
{
    uint32_t count = segments->log.count;
    if (count == 0 || number > segments_at(segments, count - 1)->number) {
        return count;
    }
    uint32_t first = segments_at(segments, 0)->number;
    uint32_t behind = segments_at(segments, count - 1)->number - number;
    uint32_t high = number > first ? MIN_OF(number - first, count - 1) : 0;
    uint32_t low = behind < count ? count - 1 - behind : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (segments_at(segments, middle)->number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct segment *segments_find(const struct segments *segments, uint32_t number)
{
    uint32_t index = segments_index(segments, number);
    if (index == segments->log.count || segments_at(segments, index)->number != number) {
        return NULL;
    }
    return segments_at(segments, index);
}

/* --- what keeps a segment --------------------------------------------------------------------- */

static uint64_t rows_bytes(uint32_t count, uint64_t bytes)
{
    return count * (align_up(bytes, RECORD_PLACE_BYTES) + ROW_RECORD_BYTES);
}

void segment_rows_live(struct segment *segment, uint32_t count, uint64_t bytes)
{
    segment->live += count;
    segment->live_bytes += rows_bytes(count, bytes);
}

void segment_rows_dead(struct segment *segment, uint32_t count, uint64_t bytes)
{
    uint64_t gone = rows_bytes(count, bytes);
    CHECK(segment->live >= count);
    segment->live -= count;
    segment->live_bytes -= MIN_OF(gone, segment->live_bytes);
}

bool segments_keep_bodies(struct segments *segments, const struct pieces *pieces, uint32_t handle)
{
    uint32_t numbers[PIECES_SEGMENTS_MAX];
    uint32_t count = pieces_segments(pieces, handle, numbers);
    bool whole = true;
    for (uint32_t i = 0; i < count; i++) {
        struct segment *segment = segments_find(segments, numbers[i]);
        if (segment != NULL) {
            segment->bodies++;
        }
        whole = whole && segment != NULL;
    }
    return whole;
}

void segments_drop_bodies(struct segments *segments, const struct pieces *pieces, uint32_t handle,
                          uint64_t sequence)
{
    uint32_t numbers[PIECES_SEGMENTS_MAX];
    uint32_t count = pieces_segments(pieces, handle, numbers);
    for (uint32_t i = 0; i < count; i++) {
        struct segment *segment = segments_find(segments, numbers[i]);
        if (segment != NULL) {
            CHECK(segment->bodies > 0);
            segment->bodies--;
            segments_eased(segments, segment, sequence);
        }
    }
}

/* --- leaving the log -------------------------------------------------------------------------- */

/* Nobody would miss its bytes; its outcomes and events may still be wanted. */
static bool segment_idle(const struct segment *segment)
{
    return segment->state != SEGMENT_OPEN && segment->live == 0 && segment->pins == 0 &&
           segment->bodies == 0;
}

static bool segment_told(const struct segments *segments, const struct segment *segment)
{
    const struct spool_position *cursor = &segments->cursor;
    return segment->number < cursor->group.segment && segment->dead_sequence < cursor->sequence;
}

static bool segment_may_go(const struct segments *segments, const struct segment *segment)
{
    return segments->settled && segment_idle(segment) && segment_told(segments, segment) &&
           segment->number < segments->checkpoint.group.segment;
}

static void segment_let_go(struct segments *segments, uint32_t index)
{
    struct segment *segment = segments_at(segments, index);
    bool poisoned = segment->state == SEGMENT_POISONED;
    list_take(&segments->log, index);
    descriptors_forget(&segments->descriptors, segment);
    segment->state = SEGMENT_ASIDE;
    if (segments_foreign(segments, segment)) {
        foreign_part(segments, segment);
    } else if (segment->reusable && !poisoned) {
        segments_append_spare(segments, segment);
    }
}

/* All that may go now. */
static void segments_sweep(struct segments *segments)
{
    uint32_t before = segments->spares.count;
    for (uint32_t i = 0; i < segments->log.count;) {
        if (segment_may_go(segments, segments_at(segments, i))) {
            segment_let_go(segments, i);
        } else {
            i++;
        }
    }
    if (segments->spares.count > before || segments->parting > 0) {
        segments->changed(segments);
        segments_tend(segments);
    }
}

void segments_unpin(struct segments *segments, struct segment *segment)
{
    CHECK(segment->pins > 0);
    segment->pins--;
    segments_eased(segments, segment, 0);
    descriptors_trim(&segments->descriptors);
}

void segments_eased(struct segments *segments, struct segment *segment, uint64_t sequence)
{
    segment->dead_sequence = MAX_OF(segment->dead_sequence, sequence);
    if (!segment_may_go(segments, segment)) {
        return;
    }
    segment_let_go(segments, segments_index(segments, segment->number));
    segments->changed(segments);
}

void segments_checkpointed(struct segments *segments, struct spool_position begin)
{
    segments->checkpoint = begin;
    segments_sweep(segments);
}

void segments_cursor(struct segments *segments, struct spool_position cursor)
{
    segments->cursor = cursor;
    segments_sweep(segments);
}

uint32_t segments_waiting(const struct segments *segments)
{
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < segments->log.count; i++) {
        const struct segment *segment = segments_at(segments, i);
        waiting += segment->number >= segments->checkpoint.group.segment &&
                   segment_idle(segment) && segment_told(segments, segment);
    }
    return waiting;
}

void segments_settle(struct segments *segments, uint64_t sequence,
                     struct spool_position checkpoint, struct spool_position cursor)
{
    segments->settled = true;
    segments->checkpoint = checkpoint;
    segments->cursor = cursor;
    for (uint32_t i = 0; i < segments->count; i++) {
        struct segment *segment = &segments->table[i];
        if (segment->state == SEGMENT_ASIDE && segment->reusable && segment->blank) {
            descriptors_forget(&segments->descriptors, segment);
            segments_append_spare(segments, segment);
        }
    }
    for (uint32_t i = 0; i < segments->log.count; i++) {
        struct segment *segment = segments_at(segments, i);
        segment->dead_sequence = sequence;
    }
    segments_sweep(segments);
    segments_tend(segments);
}

/* --- emptying --------------------------------------------------------------------------------- */

/* Little of it is live: a quarter of its rows, or of its bytes. */
static bool segment_sparse(const struct segments *segments, const struct segment *segment,
                           unsigned percent)
{
    uint64_t bytes = segments->options->segment_bytes;
    bool few = segment->rows_total > 0 &&
               (uint64_t)segment->live * 100 < (uint64_t)segment->rows_total * percent;
    return few || segment->live_bytes < bytes / 100 * percent;
}

static bool segment_worth(const struct segments *segments, const struct segment *segment)
{
    uint64_t now_ns = segments->shard->now_ns;
    if (segment->live == 0 ||
        (segment->tried_ns != 0 && now_ns - segment->tried_ns < TRY_AGAIN_NS)) {
        return false;
    }
    if (segment->state == SEGMENT_POISONED) {
        return true;
    }
    if (segment->state != SEGMENT_SEALED ||
        segment->number >= segments->checkpoint.group.segment) {
        return false;
    }
    if (segments->no_space) {
        return segment_sparse(segments, segment, SPARSE_TIGHT);
    }
    return now_ns - segment->sealed_ns >= segments->options->compact_after_ns &&
           segment_sparse(segments, segment, SPARSE_PERCENT);
}

bool segments_round_due(const struct segments *segments)
{
    uint64_t now_ns = segments->shard->now_ns;
    uint64_t bytes = 0;
    unsigned count = 0;
    bool due = false;
    for (uint32_t i = 0; i < segments->log.count && !due; i++) {
        const struct segment *segment = segments_at(segments, i);
        if (segment_worth(segments, segment)) {
            bytes += segment->live_bytes;
            count++;
            due = segments->no_space || segment->state == SEGMENT_POISONED ||
                  now_ns - segment->sealed_ns >= ROUND_LATE * segments->options->compact_after_ns;
        }
    }
    return due || bytes >= segments->options->segment_bytes || count >= ROUND_SEGMENTS;
}

bool segments_victim(const struct segments *segments, uint32_t *number_out)
{
    const struct segment *best = NULL;
    for (uint32_t i = 0; i < segments->log.count; i++) {
        const struct segment *segment = segments_at(segments, i);
        if (!segment_worth(segments, segment)) {
            continue;
        }
        if (segment->state == SEGMENT_POISONED) {
            best = segment;
            break;
        }
        /* The oldest; without space the one that is emptied most cheaply. */
        if (best == NULL || (segments->no_space && segment->live_bytes < best->live_bytes)) {
            best = segment;
        }
    }
    if (best != NULL) {
        *number_out = best->number;
    }
    return best != NULL;
}

/* --- making new ones -------------------------------------------------------------------------- */

static void segments_job_done(struct work_job *job);

static void segments_submit(struct segments *segments, uint8_t step)
{
    segments->step = step;
    segments->job.done = segments_job_done;
    if (!work_submit(segments->shard->work, segments->shard, &segments->job)) {
        segments->making = false;
        shard_timer_set(segments->shard, &segments->retry, BUSY_NS);
    }
}

/* One too many, or an adopted one: its name goes, then its descriptor. */
static void segments_shrink(struct segments *segments)
{
    if (segments->surplus == NULL) {
        segments->surplus = foreign_parting(segments);
    }
    if (segments->surplus == NULL) {
        uint32_t index = spare_index(segments, false);
        index = MIN_OF(index, segments->spares.count - 1);
        segments->surplus = list_at(segments, &segments->spares, index);
        list_take(&segments->spares, index);
        segments->surplus->state = SEGMENT_ASIDE;
    }
    segments->making = true;
    segments->job = (struct work_job){
        .kind = WORK_REMOVE, .path = segments_file_path(segments, segments->surplus)};
    segments_submit(segments, STEP_REMOVE);
}

static void segments_forgotten(struct segments *segments)
{
    *segments->surplus = (struct segment){.fd = -1, .state = SEGMENT_ASIDE, .gone = true};
    segments->surplus = NULL;
    segments->gone++;
    segments->making = false;
    if (segments->parting > 0) {
        shard_timer_set(segments->shard, &segments->retry, BUSY_NS);
    } else if (segments->spares.count > SEGMENT_SPARES_MAX) {
        shard_timer_set(segments->shard, &segments->retry, RETRY_NS);
    }
}

static void segments_removed(struct segments *segments)
{
    if (segments->job.result < 0 && segments->job.result != -ENOENT) {
        if (segments_foreign(segments, segments->surplus)) {
            foreign_part(segments, segments->surplus);
        } else {
            segments_append_spare(segments, segments->surplus);
        }
        segments->surplus = NULL;
        segments->making = false;
        shard_timer_set(segments->shard, &segments->retry, RETRY_NS);
        return;
    }
    if (segments->surplus->fd < 0) {
        segments_forgotten(segments);
        return;
    }
    segments->job = (struct work_job){.kind = WORK_CLOSE, .fd = segments->surplus->fd};
    segments_submit(segments, STEP_FORGET);
}

/* A spare whose file was closed while it was part of the log. False: there is none, or not now. */
static bool segments_reopen(struct segments *segments)
{
    uint32_t index = spare_index(segments, false);
    if (index == segments->spares.count || segments->shard->now_ns < segments->reopen_ns) {
        return false;
    }
    segments->reopening = list_at(segments, &segments->spares, index);
    segments->making = true;
    segments->job = descriptors_open_job(segments_file_path(segments, segments->reopening));
    segments_submit(segments, STEP_OPEN);
    return true;
}

/* It waits behind the others where the reason may pass, and else for the next start. */
static void segments_reopen_failed(struct segments *segments, int error)
{
    struct segment *segment = segments->reopening;
    bool again = descriptors_may_pass(error);
    if (!again || segments->reopen_ns == 0) {
        spool_note(segments->options, "spool: %s: cannot be opened: error %d%s", segments->path,
                   -error, again ? "; it is tried again" : "");
    }
    list_take(&segments->spares, spare_index(segments, false));
    segment->state = SEGMENT_ASIDE;
    if (again) {
        segments_append_spare(segments, segment);
        segments->reopen_ns = segments->shard->now_ns + RETRY_NS;
    }
}

/* Others are made while one cannot be opened. */
static void segments_reopened(struct segments *segments)
{
    int result = segments->job.result;
    segments->making = false;
    if (result < 0) {
        segments_reopen_failed(segments, result);
    } else {
        segments->reopening->fd = result;
        segments->reopen_ns = 0;
    }
    segments->changed(segments);
    segments_tend(segments);
}

void segments_tend(struct segments *segments)
{
    if (segments->making || segments->closing || segments->job.in_flight) {
        return;
    }
    bool few = spares_open(segments) < SEGMENT_SPARES;
    if ((few && segments_reopen(segments)) || timer_is_set(&segments->retry)) {
        return;
    }
    if (segments->surplus != NULL || segments->parting > 0 ||
        segments->spares.count > SEGMENT_SPARES_MAX) {
        segments_shrink(segments);
        return;
    }
    if (!few || (segments->count == SEGMENTS_MAX && segments->gone == 0)) {
        return;
    }
    segments->making = true;
    segments->job = (struct work_job){.kind = WORK_SPACE, .path = segments->lane_path};
    segments_submit(segments, STEP_SPACE);
}

static void segments_space_set(struct segments *segments, bool no_space)
{
    if (no_space != segments->no_space) {
        segments->no_space = no_space;
        spool_note(segments->options, "spool: lane %u: %s", segments->options->lane,
                   no_space ? "no space for another segment" : "space again");
    }
    segments->changed(segments);
}

static void segments_wait(struct segments *segments, bool no_space)
{
    segments->making = false;
    shard_timer_set(segments->shard, &segments->retry, RETRY_NS);
    segments_space_set(segments, no_space || segments->no_space);
}

static void segments_space_done(struct segments *segments)
{
    const struct work_job *job = &segments->job;
    const struct spool_options *options = segments->options;
    if (job->result < 0) {
        segments_wait(segments, false);
        return;
    }
    uint64_t keep = MAX_OF(options->free_bytes_min, job->space / 100 * options->free_percent_min);
    keep += segments->reserve_bytes;
    if (job->size < options->segment_bytes || job->size - options->segment_bytes < keep ||
        (job->inodes > 0 && job->inodes_free < INODES_SPARE)) {
        segments_wait(segments, true);
        return;
    }
    segments->job = (struct work_job){
        .kind = WORK_CREATE,
        .flags = WORK_DIRECT | WORK_WRITE,
        .path = segments_slot_path(segments, segments->next_slot),
        .size = options->segment_bytes,
    };
    segments_submit(segments, STEP_CREATE);
}

static void segments_created(struct segments *segments)
{
    int result = segments->job.result;
    if (result == -EEXIST) {
        segments->next_slot++;
        segments->making = false;
        segments_tend(segments);
        return;
    }
    if (result < 0) {
        spool_note(segments->options, "spool: %s: cannot be made: error %d", segments->path,
                   -result);
        bool no_space = result == -ENOSPC || result == -EDQUOT;
        segments->failures = no_space ? 0 : segments->failures + 1;
        segments_wait(segments, no_space);
        segments->changed(segments);
        return;
    }
    struct segment *segment = segments_add(segments, segments->next_slot, result);
    CHECK(segment != NULL);
    segment->reusable = true;
    segments_append_spare(segments, segment);
    segments->making = false;
    segments->failures = 0;
    segments_space_set(segments, false);
    segments_tend(segments);
}

/* A stop has come meanwhile: what the job brought is closed with the rest. */
static void segments_job_left(struct segments *segments)
{
    if (segments->step == STEP_CREATE && segments->job.result >= 0) {
        struct segment *segment =
            segments_add(segments, segments->next_slot, segments->job.result);
        CHECK(segment != NULL);
        segment->state = SEGMENT_ASIDE;
    } else if (segments->step == STEP_OPEN) {
        segments->reopening->fd = MAX_OF(segments->job.result, -1);
    } else if (segments->step == STEP_FORGET) {
        segments->surplus->fd = -1;
    }
    segments->changed(segments);
}

static void segments_job_done(struct work_job *job)
{
    struct segments *segments = CONTAINER_OF(job, struct segments, job);
    if (segments->closing) {
        segments_job_left(segments);
        return;
    }
    switch (segments->step) {
    case STEP_SPACE:
        segments_space_done(segments);
        break;
    case STEP_CREATE:
        segments_created(segments);
        break;
    case STEP_OPEN:
        segments_reopened(segments);
        break;
    case STEP_REMOVE:
        segments_removed(segments);
        break;
    case STEP_FORGET:
        segments_forgotten(segments);
        break;
    }
}

/* --- the end ---------------------------------------------------------------------------------- */

bool segments_close_next(struct segments *segments, void (*closed)(struct segments *segments))
{
    segments->closing = true;
    segments->changed = closed;
    if (segments->job.in_flight || !descriptors_idle(&segments->descriptors)) {
        return true;
    }
    shard_timer_clear(segments->shard, &segments->retry);
    while (segments->count > 0 && segments->table[segments->count - 1].fd < 0) {
        segments->count--;
    }
    if (segments->count == 0) {
        return false;
    }
    struct segment *segment = &segments->table[segments->count - 1];
    segments->job = (struct work_job){
        .kind = WORK_CLOSE, .done = segments_job_done, .fd = segment->fd};
    segments->step = STEP_CLOSE;
    if (work_submit(segments->shard->work, segments->shard, &segments->job)) {
        segment->fd = -1;
    } else {
        shard_timer_set(segments->shard, &segments->retry, BUSY_NS);
    }
    return true;
}
