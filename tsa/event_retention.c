/*
 * A look: list → (sizes, from the newest file to the oldest) → remove, from the oldest on. A file's
 * records are older than the beginning of the next file, which stands in that one's name.
 */
#include "tsa/event_retention.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"
#include "core/date.h"

#define LOOK_NS     (60 * NS_PER_S)
#define BUSY_NS     NS_PER_S
#define NAMES_BYTES MIB
#define NAME_ROOM   (EVENT_FILE_NAME_BYTES + 1)
#define PATH_ROOM   (1024 + NAME_ROOM + 2)

enum { STEP_REST, STEP_LIST, STEP_SIZE, STEP_REMOVE };

static void retention_done(struct work_job *job);
static void retention_look(struct event_retention *retention);

bool event_file_name(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        uint8_t byte = name.data[i];
        bool good = i == 8 ? byte == '-' : i == 15 ? byte == '.' : byte >= '0' && byte <= '9';
        if (!good) {
            return false;
        }
    }
    return name.size == EVENT_FILE_NAME_BYTES;
}

static char *name_at(const struct event_retention *retention, uint32_t index)
{
    return retention->names + (size_t)index * NAME_ROOM;
}

static void retention_rest(struct event_retention *retention, uint64_t after_ns)
{
    retention->step = STEP_REST;
    if (!retention->stopping) {
        shard_timer_set(retention->shard, &retention->timer, after_ns);
    }
}

/* Says what left; a trouble once, until a look goes well. */
static void retention_end(struct event_retention *retention, int error)
{
    struct logline line;
    if (retention->removed > 0) {
        logline_begin(&line, "event_log_removed");
        logline_string(&line, "path", retention->options.path);
        logline_u64(&line, "files", retention->removed);
        logline_end(&line, &retention->options.sink);
    }
    if (error != 0 && !retention->troubled) {
        logline_begin(&line, "event_log_keeps");
        logline_string(&line, "path", retention->options.path);
        logline_i64(&line, "error", error);
        logline_end(&line, &retention->options.sink);
    }
    retention->troubled = error != 0;
    retention_rest(retention, LOOK_NS);
    if (retention->asked) {
        retention->asked = false;
        retention_look(retention);
    }
}

static void retention_submit(struct event_retention *retention, struct work_job job)
{
    job.done = retention_done;
    retention->job = job;
    if (retention->stopping ||
        !work_submit(retention->shard->work, retention->shard, &retention->job)) {
        retention_rest(retention, BUSY_NS);
    }
}

static void retention_look(struct event_retention *retention)
{
    if (retention->step != STEP_REST) {
        retention->asked = true;
        return;
    }
    shard_timer_clear(retention->shard, &retention->timer);
    retention->step = STEP_LIST;
    retention->removed = 0;
    retention_submit(retention, (struct work_job){.kind = WORK_LIST,
                                                  .path = retention->options.path,
                                                  .data = retention->names,
                                                  .data_size = NAMES_BYTES});
}

static void retention_fire(struct timer *timer)
{
    retention_look(CONTAINER_OF(timer, struct event_retention, timer));
}

static void retention_path(struct event_retention *retention, uint32_t index)
{
    struct buf path;
    buf_init(&path, (uint8_t *)retention->path, PATH_ROOM - 1);
    buf_put_string(&path, retention->options.path);
    buf_put_byte(&path, '/');
    buf_put(&path, slice_make(name_at(retention, index), EVENT_FILE_NAME_BYTES));
    CHECK(!path.overflow);
    retention->path[path.size] = '\0';
}

/* From the oldest on; the newest stays, and so does the open one, wherever the clock put it. */
static void retention_remove(struct event_retention *retention)
{
    retention->step = STEP_REMOVE;
    while (retention->at < retention->border &&
           memcmp(name_at(retention, retention->at), retention->open_name, NAME_ROOM) == 0) {
        retention->at++;
    }
    if (retention->at >= retention->border) {
        retention_end(retention, 0);
        return;
    }
    retention_path(retention, retention->at);
    retention_submit(retention,
                     (struct work_job){.kind = WORK_REMOVE, .path = retention->path});
}

static void retention_size(struct event_retention *retention)
{
    retention->step = STEP_SIZE;
    retention_path(retention, retention->at);
    retention_submit(retention, (struct work_job){.kind = WORK_STAT, .path = retention->path});
}

static void retention_listed(struct event_retention *retention, size_t size)
{
    struct slice rest = slice_make(retention->names, size);
    char oldest[NAME_ROOM] = {0};
    struct buf cutoff;
    uint64_t wall_ns = retention->shard->wall_ns;
    retention->count = 0;
    while (rest.size > 0) {
        struct slice name = slice_first(rest, slice_find(rest, 0));
        rest = slice_skip(rest, MIN_OF(name.size + 1, rest.size));
        if (event_file_name(name)) {
            memmove(name_at(retention, retention->count++), name.data, NAME_ROOM);
        }
    }
    buf_init(&cutoff, (uint8_t *)oldest, EVENT_FILE_NAME_BYTES);
    date_put_file_name(&cutoff, wall_ns - MIN_OF(wall_ns, retention->options.age_ns));
    retention->border = 0;
    while (retention->border + 1 < retention->count &&
           strcmp(name_at(retention, retention->border + 1), oldest) <= 0) {
        retention->border++;
    }
    if (retention->options.bytes == 0 || retention->count < 2) {
        retention->at = 0;
        retention_remove(retention);
        return;
    }
    retention->bytes = 0;
    retention->at = retention->count - 1;
    retention_size(retention);
}

static void retention_sized(struct event_retention *retention, uint64_t bytes)
{
    retention->bytes += bytes;
    bool newest = retention->at + 1 == retention->count;
    if (retention->bytes > retention->options.bytes && !newest) {
        retention->border = MAX_OF(retention->border, retention->at + 1);
    }
    if (retention->at > retention->border) {
        retention->at--;
        retention_size(retention);
        return;
    }
    retention->at = 0;
    retention_remove(retention);
}

static void retention_done(struct work_job *job)
{
    struct event_retention *retention = CONTAINER_OF(job, struct event_retention, job);
    bool gone = job->result == -ENOENT; /* somebody else removed it, or there is nothing yet */
    if (job->result < 0 && !gone) {
        retention_end(retention, job->result);
    } else if (retention->step == STEP_LIST) {
        retention_listed(retention, gone ? 0 : (size_t)job->size);
    } else if (retention->step == STEP_SIZE) {
        retention_sized(retention, gone ? 0 : job->size);
    } else {
        retention->at++;
        if (!gone) {
            retention->removed++;
            retention->removed_ever++;
            counters_add(&retention->shard->counters, COUNTER_event_files_removed, 1);
        }
        retention_remove(retention);
    }
}

void event_retention_init(struct event_retention *retention, struct shard *shard,
                          const struct event_retention_options *options)
{
    *retention = (struct event_retention){.shard = shard, .options = *options};
    retention->names = heap_take(options->heap, NAMES_BYTES);
    retention->path = heap_take(options->heap, PATH_ROOM);
    timer_init(&retention->timer, retention_fire);
    shard_timer_set(shard, &retention->timer, LOOK_NS);
}

void event_retention_file(struct event_retention *retention, struct slice name)
{
    CHECK(name.size == EVENT_FILE_NAME_BYTES);
    memcpy(retention->open_name, name.data, EVENT_FILE_NAME_BYTES);
    if (!retention->stopping) {
        retention_look(retention);
    }
}

void event_retention_stop(struct event_retention *retention)
{
    retention->stopping = true;
    retention->asked = false;
    shard_timer_clear(retention->shard, &retention->timer);
}

bool event_retention_idle(const struct event_retention *retention)
{
    return !retention->job.in_flight;
}
