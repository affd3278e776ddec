#include "shard/state_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"

#define BUSY_NS (16 * NS_PER_MS)

static void job_done(struct work_job *job);
static void dir_made(struct work_job *job);

static void submit(struct state_file *file)
{
    if (!work_submit(file->shard->work, file->shard, &file->job)) {
        shard_timer_set(file->shard, &file->retry, BUSY_NS);
    }
}

static void retry_fire(struct timer *timer)
{
    submit(CONTAINER_OF(timer, struct state_file, retry));
}

static void aside_name(struct state_file *file)
{
    int size = file->asides == 0
                   ? snprintf(file->aside, sizeof(file->aside), "%s.damaged", file->path)
                   : snprintf(file->aside, sizeof(file->aside), "%s.damaged-%u", file->path,
                              file->asides + 1);
    CHECK(size > 0 && (size_t)size < sizeof(file->aside));
}

void state_file_init(struct state_file *file, struct shard *shard, const char *dir,
                     const char *name)
{
    file->shard = shard;
    file->dir = dir;
    timer_init(&file->retry, retry_fire);
    int size = snprintf(file->path, sizeof(file->path), "%s/%s", dir, name);
    CHECK(size > 0 && (size_t)size < sizeof(file->path));
    aside_name(file);
}

static void file_done(struct work_job *job)
{
    struct state_file *file = CONTAINER_OF(job, struct state_file, job);
    file->done(file, job->result < 0 ? job->result : (int64_t)job->size);
}

void state_file_read(struct state_file *file, void *data, size_t capacity)
{
    file->job = (struct work_job){.kind = WORK_READ_FILE,
                                  .done = file_done,
                                  .path = file->path,
                                  .data = data,
                                  .data_size = capacity};
    submit(file);
}

static void aside_look(struct state_file *file);

static void aside_looked(struct work_job *job)
{
    struct state_file *file = CONTAINER_OF(job, struct state_file, job);
    if (job->result == 0 && file->asides + 1 < STATE_FILE_ASIDES_MAX) {
        file->asides++;
        aside_look(file);
        return;
    }
    file->job = (struct work_job){.kind = WORK_RENAME,
                                  .done = file_done,
                                  .path = file->path,
                                  .path_to = file->aside};
    submit(file);
}

/* Is that name taken? */
static void aside_look(struct state_file *file)
{
    aside_name(file);
    file->job =
        (struct work_job){.kind = WORK_STAT, .done = aside_looked, .path = file->aside};
    submit(file);
}

void state_file_set_aside(struct state_file *file)
{
    file->asides = 0;
    aside_look(file);
}

static void replaced(struct state_file *file)
{
    const struct work_job *job = &file->job;
    file->unknown = job->result < 0 && (file->unknown || job->renamed_out);
    file->done(file, MIN_OF(job->result, 0));
}

static void write_job(struct state_file *file, work_done *done)
{
    file->job = (struct work_job){.kind = WORK_REPLACE,
                                  .done = done,
                                  .path = file->path,
                                  .data = (void *)(uintptr_t)file->data,
                                  .data_size = file->size};
    submit(file);
}

static void second_write_done(struct work_job *job)
{
    replaced(CONTAINER_OF(job, struct state_file, job));
}

static void dir_made(struct work_job *job)
{
    struct state_file *file = CONTAINER_OF(job, struct state_file, job);
    if (job->result < 0 && job->result != -EEXIST) {
        file->done(file, job->result);
        return;
    }
    write_job(file, second_write_done);
}

static void job_done(struct work_job *job)
{
    struct state_file *file = CONTAINER_OF(job, struct state_file, job);
    if (job->result != -ENOENT || job->renamed_out) {
        replaced(file);
        return;
    }
    file->job = (struct work_job){.kind = WORK_MAKE_DIR, .done = dir_made, .path = file->dir};
    submit(file);
}

void state_file_replace(struct state_file *file, const void *data, size_t size)
{
    file->data = data;
    file->size = size;
    write_job(file, job_done);
}

void state_file_say_aside(const struct state_file *file, const struct log_sink *log,
                          const char *event, const char *note, int error)
{
    struct logline line;
    logline_begin(&line, event);
    logline_string(&line, "file", file->path);
    logline_string(&line, "note", note);
    if (error == 0) {
        logline_string(&line, "set_aside", file->aside);
    } else {
        logline_string(&line, "not_set_aside", strerror(-error));
    }
    logline_end(&line, log);
}

void state_file_say(const struct state_file *file, const struct log_sink *log, const char *event,
                    const char *note, int error)
{
    struct logline line;
    logline_begin(&line, event);
    logline_string(&line, "file", file->path);
    logline_string(&line, "note", note);
    if (error != 0) {
        logline_string(&line, "error", strerror(-error));
    }
    logline_end(&line, log);
}
