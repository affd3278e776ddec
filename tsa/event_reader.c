#include "tsa/event_reader.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"
#include "core/date.h"

static void step(struct event_reader *reader);

/* --- places ----------------------------------------------------------------------------------- */

void event_offset_put(struct buf *buf, const struct event_offset *place)
{
    buf_put_string(buf, place->file);
    buf_put_byte(buf, '-');
    buf_put_u64(buf, place->frame);
    buf_put_byte(buf, '-');
    buf_put_u64(buf, place->text);
}

bool event_offset_parse(struct slice text, struct event_offset *place_out)
{
    uint64_t bytes;
    *place_out = (struct event_offset){0};
    if (text.size <= EVENT_FILE_NAME_BYTES || text.data[EVENT_FILE_NAME_BYTES] != '-') {
        return false;
    }
    struct slice name = slice_first(text, EVENT_FILE_NAME_BYTES);
    struct slice rest = slice_skip(text, EVENT_FILE_NAME_BYTES + 1);
    size_t dash = slice_find(rest, '-');
    if (!event_file_name(name) || dash == rest.size ||
        !slice_parse_u64(slice_first(rest, dash), &place_out->frame) ||
        !slice_parse_u64(slice_skip(rest, dash + 1), &bytes) || place_out->frame > INT64_MAX ||
        bytes == 0 || bytes > EVENT_LOG_FLUSH_BYTES) {
        return false;
    }
    memcpy(place_out->file, name.data, name.size);
    place_out->text = (uint32_t)bytes;
    return true;
}

struct event_offset event_offset_now(const struct event_ends *ends, const struct shard *shard)
{
    struct event_offset place = {0};
    struct buf name;
    if (ends->open) {
        memcpy(place.file, ends->last.file, sizeof(place.file));
        place.frame = ends->last.bytes;
        return place;
    }
    buf_init(&name, place.file, EVENT_FILE_NAME_BYTES);
    date_put_file_name(&name, shard->wall_ns - NS_PER_US);
    CHECK(!name.overflow);
    place.after = true;
    return place;
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void rest_in(struct event_reader *reader, enum event_reader_state state)
{
    reader->state = state;
    reader->ready(reader);
}

static void job_done(struct work_job *job);

static void job_start(struct event_reader *reader, struct work_job job)
{
    job.done = job_done;
    reader->job = job;
    if (!work_submit(reader->shard->work, reader->shard, &reader->job)) {
        rest_in(reader, EVENT_READER_FAILED); /* the workers are full: the client comes again */
    }
}

static void list_start(struct event_reader *reader)
{
    job_start(reader, (struct work_job){.kind = WORK_LIST,
                                        .path = reader->ends->path,
                                        .data = reader->chunk,
                                        .data_size = EVENT_READER_CHUNK_BYTES});
}

/* There is no file that retention could have removed: none was there yet, or one that failed is
 * empty. */
static bool has_no_file(const struct event_reader *reader)
{
    return reader->place.after || reader->place.file[0] == '\0' ||
           event_ends_durable(reader->ends, reader->place.file) == 0;
}

/*
 * The first file behind this one; none: that was all. Files leave oldest first: when this one has
 * left, so may have others behind it that were not read.
 */
static void list_done(struct event_reader *reader, int32_t result, size_t size)
{
    struct event_offset *place = &reader->place;
    if (result < 0 && result != -ENOENT) {
        rest_in(reader, EVENT_READER_FAILED);
        return;
    }
    const char *next = NULL;
    bool there = has_no_file(reader);
    for (size_t at = 0; result >= 0 && at < size && next == NULL;) {
        const char *name = (const char *)reader->chunk + at;
        size_t bytes = strlen(name);
        bool is_file = event_file_name(slice_make(name, bytes));
        there = there || strcmp(name, place->file) == 0;
        next = is_file && strcmp(name, place->file) > 0 ? name : NULL;
        at += bytes + 1;
    }
    if (!there) {
        rest_in(reader, EVENT_READER_GONE);
    } else if (next == NULL) {
        rest_in(reader, EVENT_READER_END);
    } else {
        *place = (struct event_offset){0};
        memcpy(place->file, next, EVENT_FILE_NAME_BYTES);
        step(reader);
    }
}

/* All of its file was read: the next one, when there is one. */
static void file_pass(struct event_reader *reader)
{
    reader->chunk_at = 0;
    reader->chunk_size = 0;
    list_start(reader);
}

static void read_start(struct event_reader *reader)
{
    struct buf path;
    const char *file = reader->place.file;
    uint64_t limit = event_ends_durable(reader->ends, file);
    uint64_t left = limit - MIN_OF(limit, reader->place.frame);
    reader->chunk_at = 0;
    reader->chunk_size = 0;
    if (left == 0 && reader->given) {
        rest_in(reader, EVENT_READER_NOWHERE);
        return;
    }
    if (left == 0 && event_ends_is_open(reader->ends, file)) {
        rest_in(reader, EVENT_READER_END);
        return;
    }
    if (left == 0) {
        file_pass(reader);
        return;
    }
    buf_init(&path, reader->path, sizeof(reader->path) - 1);
    buf_put_string(&path, reader->ends->path);
    buf_put_byte(&path, '/');
    buf_put_string(&path, reader->place.file);
    CHECK(!path.overflow);
    reader->path[path.size] = '\0';
    job_start(reader, (struct work_job){.kind = WORK_READ_AT,
                                        .path = reader->path,
                                        .data = reader->chunk,
                                        .data_size = MIN_OF(left, EVENT_READER_CHUNK_BYTES),
                                        .size = reader->place.frame});
}

static void decompress_start(struct event_reader *reader)
{
    job_start(reader, (struct work_job){.kind = WORK_DECOMPRESS,
                                        .data = reader->chunk + reader->chunk_at,
                                        .data_size = reader->chunk_size - reader->chunk_at,
                                        .output = reader->text,
                                        .output_capacity = EVENT_LOG_FLUSH_BYTES});
}

static void read_done(struct event_reader *reader, int32_t result, size_t size)
{
    if (result == -ENOENT) {
        rest_in(reader, EVENT_READER_GONE);
    } else if (result >= 0 && size == 0 && reader->given) {
        rest_in(reader, EVENT_READER_NOWHERE);
    } else if (result >= 0 && size == 0) {
        file_pass(reader);
    } else if (result < 0) {
        rest_in(reader, EVENT_READER_FAILED);
    } else {
        reader->chunk_size = size;
        decompress_start(reader);
    }
}

static void frame_pass(struct event_reader *reader)
{
    reader->place.frame += reader->frame_bytes;
    reader->place.text = 0;
    reader->chunk_at += MIN_OF(reader->frame_bytes, reader->chunk_size - reader->chunk_at);
    reader->text_size = 0;
}

/* What ends in the middle of a frame ends there: a crash has left it so. */
static bool is_torn(const struct event_reader *reader, const struct work_job *job)
{
    return job->result == -EAGAIN && reader->chunk_size < EVENT_READER_CHUNK_BYTES &&
           !event_ends_is_open(reader->ends, reader->place.file);
}

static void frame_unread(struct event_reader *reader, const struct work_job *job)
{
    if (reader->given) {
        rest_in(reader, EVENT_READER_NOWHERE);
        return;
    }
    if (!is_torn(reader, job)) {
        event_ends_say_damage(reader->ends, reader->place.file, reader->place.frame);
    }
    if (job->used > 0) {
        frame_pass(reader);
        step(reader);
    } else {
        file_pass(reader); /* nothing behind it can be found */
    }
}

static void decompress_done(struct event_reader *reader, const struct work_job *job)
{
    reader->frame_bytes = job->used;
    if (job->result == -EAGAIN && reader->chunk_at > 0) {
        read_start(reader); /* it goes on behind what was read */
        return;
    }
    if (job->result < 0) {
        frame_unread(reader, job);
        return;
    }
    uint32_t taken = reader->place.text;
    reader->text_size = (size_t)job->size;
    if (taken > reader->text_size || (taken > 0 && reader->text[taken - 1] != '\n')) {
        rest_in(reader, EVENT_READER_NOWHERE);
        return;
    }
    reader->given = false;
    if (taken == reader->text_size) {
        frame_pass(reader);
        step(reader);
        return;
    }
    rest_in(reader, EVENT_READER_LINES);
}

static void job_done(struct work_job *job)
{
    struct event_reader *reader = CONTAINER_OF(job, struct event_reader, job);
    if (job->kind == WORK_LIST) {
        list_done(reader, job->result, (size_t)job->size);
    } else if (job->kind == WORK_READ_AT) {
        read_done(reader, job->result, (size_t)job->size);
    } else {
        CHECK(job->kind == WORK_DECOMPRESS);
        decompress_done(reader, job);
    }
}

/* --- from outside ----------------------------------------------------------------------------- */

static void step(struct event_reader *reader)
{
    if (reader->place.after || reader->place.file[0] == '\0') {
        list_start(reader);
    } else if (reader->chunk_at < reader->chunk_size) {
        decompress_start(reader);
    } else {
        read_start(reader);
    }
}

void event_reader_start(struct event_reader *reader, const struct event_offset *place)
{
    reader->state = EVENT_READER_READING;
    reader->place = *place;
    reader->given = place->text > 0; /* the end of a record, then */
    reader->chunk_at = 0;
    reader->chunk_size = 0;
    reader->text_size = 0;
    step(reader);
}

bool event_reader_line(struct event_reader *reader, struct slice *line_out)
{
    if (reader->state != EVENT_READER_LINES) {
        return false;
    }
    struct slice rest =
        slice_make(reader->text + reader->place.text, reader->text_size - reader->place.text);
    size_t size = slice_find(rest, '\n');
    if (size < rest.size) {
        *line_out = slice_first(rest, size + 1);
        reader->place.text += (uint32_t)size + 1;
        return true;
    }
    reader->state = EVENT_READER_READING;
    frame_pass(reader);
    step(reader);
    return false;
}

void event_reader_back(struct event_reader *reader, size_t bytes)
{
    CHECK(reader->state == EVENT_READER_LINES && reader->place.text >= bytes);
    reader->place.text -= (uint32_t)bytes;
}

void event_reader_more(struct event_reader *reader)
{
    CHECK(reader->state == EVENT_READER_END);
    reader->state = EVENT_READER_READING;
    step(reader);
}

bool event_reader_idle(const struct event_reader *reader)
{
    return !reader->job.in_flight;
}
