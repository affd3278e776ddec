#include "tsa/automation_store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"

#define RETRY_NS NS_PER_S
#define BUSY_NS  (16 * NS_PER_MS) /* the worker has no room */

static void timer_fired(struct timer *timer);
static void drive(struct automation_store *store);

void automation_store_init(struct automation_store *store, struct boot_pages *pages)
{
    int size = store->file != NULL
                   ? snprintf(store->path, sizeof(store->path), "%s", store->file)
                   : snprintf(store->path, sizeof(store->path), "%s/automation.db", store->dir);
    CHECK(size > 0 && (size_t)size < sizeof(store->path));
    const char *last = strrchr(store->path, '/');
    (void)snprintf(store->folder, sizeof(store->folder), "%.*s",
                   last == NULL ? 1 : (int)(last - store->path), last == NULL ? "." : store->path);
    store->rows = boot_pages_take(pages, AUTOMATION_BATCH_ROWS * sizeof(*store->rows));
    store->data = boot_pages_take(pages, AUTOMATION_BATCH_BYTES);
    state_db_init(&store->db, store->path);
    heap_init(&store->heap);
    timer_init(&store->timer, timer_fired);
}

void automation_store_fini(struct automation_store *store)
{
    shard_timer_clear(store->shard, &store->timer);
    heap_fini(&store->heap);
}

static bool is_busy(const struct automation_store *store)
{
    return store->stage == AUTOMATION_STORE_MAKING || store->stage == AUTOMATION_STORE_OPENING ||
           store->stage == AUTOMATION_STORE_WRITING || store->stage == AUTOMATION_STORE_CLOSING;
}

/* --- the log ---------------------------------------------------------------------------------- */

static void say(const struct automation_store *store, const char *note, const char *key,
                const char *text)
{
    struct logline line;
    logline_begin(&line, "automation_store");
    logline_string(&line, "file", store->path);
    logline_string(&line, "note", note);
    if (key != NULL) {
        logline_string(&line, key, text);
    }
    logline_end(&line, &store->log);
}

static void say_bad(struct automation_store *store, int error)
{
    counters_add(&store->shard->counters, COUNTER_automation_failures, 1);
    if (!store->bad) {
        store->bad = true;
        bool told = store->db.error[0] != '\0' && store->stage != AUTOMATION_STORE_MAKING;
        say(store, "cannot be used; what has changed is kept in memory, and tried every second",
            "error", told ? store->db.error : strerror(-error));
    }
}

static void say_good(struct automation_store *store)
{
    if (store->bad) {
        store->bad = false;
        say(store, "is written again", NULL, NULL);
    }
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void job_send(struct automation_store *store)
{
    if (!work_submit(store->shard->work, store->shard, &store->job)) {
        shard_timer_set(store->shard, &store->timer, BUSY_NS);
    }
}

static void job_begin(struct automation_store *store, enum automation_store_stage stage,
                      enum work_kind kind, work_done *done)
{
    store->stage = stage;
    shard_timer_clear(store->shard, &store->timer); /* of a job it says: send it again */
    store->task.wall_ns = store->shard->wall_ns;
    store->job = (struct work_job){
        .kind = (uint8_t)kind,
        .done = done,
        .path = kind == WORK_MAKE_DIR ? store->folder : store->path,
        .data = &store->task,
    };
    job_send(store);
}

static void closed(struct work_job *job)
{
    struct automation_store *store = CONTAINER_OF(job, struct automation_store, job);
    store->stage = AUTOMATION_STORE_ENDED;
}

static void end(struct automation_store *store)
{
    shard_timer_clear(store->shard, &store->timer);
    if (store->db.handle != NULL) {
        job_begin(store, AUTOMATION_STORE_CLOSING, WORK_STATE_CLOSE, closed);
    } else {
        store->stage = AUTOMATION_STORE_ENDED;
    }
}

static void serve(struct automation_store *store)
{
    if (!store->served) {
        store->served = true;
        store->loaded(store);
    }
}

static void failed(struct automation_store *store, int error)
{
    say_bad(store, error);
    store->stage =
        store->db.handle != NULL ? AUTOMATION_STORE_OPEN : AUTOMATION_STORE_CLOSED;
    store->changed = true;
    if (store->stopping) {
        end(store); /* the last changes are lost, which was said */
        serve(store);
        return;
    }
    shard_timer_set(store->shard, &store->timer, RETRY_NS);
    if (store->stage == AUTOMATION_STORE_CLOSED && store->opens >= AUTOMATION_OPENS_MAX) {
        serve(store);
    }
}

/* --- opening ---------------------------------------------------------------------------------- */

static uint32_t slots_of(const struct automation *automation, uint32_t table)
{
    if (table > AUTOMATION_COUNTERS) {
        return 0;
    }
    return table == AUTOMATION_EFFECTS ? automation->effects_max : automation->counters_max;
}

/* Rows of slots that we have are written anew in any case; the others are to go. */
static void note_beyond(struct automation_store *store)
{
    const struct state_rows *rows = &store->task.rows;
    store->beyond = (struct state_rows){
        heap_take_array(&store->heap, rows->count + 1, sizeof(struct state_row)), 0};
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct state_row *row = &rows->rows[i];
        if (row->slot >= slots_of(store->automation, row->table)) {
            store->beyond.rows[store->beyond.count++] =
                (struct state_row){row->table, row->slot, SLICE_NONE};
        }
    }
}

static void restore(struct automation_store *store)
{
    for (uint32_t i = 0; i < store->task.rows.count; i++) {
        const struct state_row *row = &store->task.rows.rows[i];
        bool taken = row->table <= AUTOMATION_COUNTERS &&
                     automation_restore(store->automation, (enum automation_table)row->table,
                                        row->bytes, store->shard->wall_ns);
        store->restored += taken;
        store->refused += !taken;
    }
}

static void opened(struct work_job *job)
{
    struct automation_store *store = CONTAINER_OF(job, struct automation_store, job);
    if (job->result < 0) {
        failed(store, job->result);
        return;
    }
    store->stage = AUTOMATION_STORE_OPEN;
    if (store->db.set_aside) {
        say(store, "was damaged; it is set aside, and another one is begun", "aside",
            store->db.aside);
    }
    note_beyond(store);
    if (!store->served) {
        restore(store);
        say_good(store);
    }
    if (store->task.rows.count > 0 || store->served) {
        automation_change_all(store->automation);
        store->changed = true;
    }
    serve(store);
    drive(store);
}

static void directory_made(struct work_job *job)
{
    struct automation_store *store = CONTAINER_OF(job, struct automation_store, job);
    if (job->result < 0 && job->result != -EEXIST) {
        failed(store, job->result);
        return;
    }
    heap_fini(&store->heap);
    heap_init(&store->heap);
    store->beyond = (struct state_rows){0};
    store->task = (struct state_db_job){.db = &store->db, .heap = &store->heap};
    job_begin(store, AUTOMATION_STORE_OPENING, WORK_STATE_OPEN, opened);
}

static void open_file(struct automation_store *store)
{
    store->opens++;
    job_begin(store, AUTOMATION_STORE_MAKING, WORK_MAKE_DIR, directory_made);
}

void automation_store_load(struct automation_store *store)
{
    CHECK(store->stage == AUTOMATION_STORE_CLOSED && !store->served);
    open_file(store);
}

/* --- writing ---------------------------------------------------------------------------------- */

static bool has_room(const struct state_rows *rows, const struct buf *buf)
{
    return rows->count < AUTOMATION_BATCH_ROWS && buf_room(buf) >= AUTOMATION_ROW_BYTES_MAX;
}

static void gather_table(struct automation_store *store, enum automation_table table,
                         struct state_rows *rows, struct buf *buf)
{
    uint32_t slot = 0;
    while (has_room(rows, buf) && automation_changed(store->automation, table, &slot)) {
        size_t start = buf->size;
        automation_put_row(store->automation, table, slot, buf);
        rows->rows[rows->count++] =
            (struct state_row){table, slot, slice_make(buf->data + start, buf->size - start)};
    }
    CHECK(!buf->overflow);
}

/* What is to be written next. False: nothing. */
static bool gather(struct automation_store *store)
{
    struct state_rows *rows = &store->task.rows;
    struct buf buf;
    buf_init(&buf, store->data, AUTOMATION_BATCH_BYTES);
    *rows = (struct state_rows){store->rows, 0};
    while (store->beyond.count > 0 && has_room(rows, &buf)) {
        rows->rows[rows->count++] = store->beyond.rows[--store->beyond.count];
    }
    gather_table(store, AUTOMATION_EFFECTS, rows, &buf);
    gather_table(store, AUTOMATION_COUNTERS, rows, &buf);
    store->full = !has_room(rows, &buf);
    store->changed = false;
    return rows->count > 0;
}

/* The batch is dirty again. */
static void keep(struct automation_store *store)
{
    for (uint32_t i = 0; i < store->task.rows.count; i++) {
        const struct state_row *row = &store->rows[i];
        if (row->slot < slots_of(store->automation, row->table)) {
            automation_change(store->automation, (enum automation_table)row->table, row->slot);
        } else {
            store->beyond.rows[store->beyond.count++] = *row; /* where it came from */
        }
    }
}

static void written(struct work_job *job)
{
    struct automation_store *store = CONTAINER_OF(job, struct automation_store, job);
    if (job->result < 0) {
        keep(store);
        failed(store, job->result);
        return;
    }
    store->stage = AUTOMATION_STORE_OPEN;
    counters_add(&store->shard->counters, COUNTER_automation_rows, store->task.rows.count);
    say_good(store);
    if (store->stopping || store->full) {
        drive(store);
    } else if (store->changed) {
        shard_timer_set(store->shard, &store->timer, AUTOMATION_STORE_WAIT_NS);
    }
}

/* What is next: nothing of it is with a worker. */
static void drive(struct automation_store *store)
{
    if (store->stage == AUTOMATION_STORE_CLOSED && !store->stopping) {
        open_file(store);
    } else if (store->stage == AUTOMATION_STORE_OPEN && gather(store)) {
        job_begin(store, AUTOMATION_STORE_WRITING, WORK_STATE_WRITE, written);
    } else if (store->stopping) {
        end(store);
    }
}

static void timer_fired(struct timer *timer)
{
    struct automation_store *store = CONTAINER_OF(timer, struct automation_store, timer);
    if (is_busy(store)) {
        job_send(store); /* the worker had no room for it */
    } else {
        drive(store);
    }
}

void automation_store_wake(struct automation_store *store)
{
    if (store->changed || !store->served || store->stopping) {
        return;
    }
    store->changed = true;
    if (!is_busy(store)) {
        shard_timer_set(store->shard, &store->timer, AUTOMATION_STORE_WAIT_NS);
    }
}

void automation_store_stop(struct automation_store *store)
{
    store->stopping = true;
    if (!is_busy(store) && store->stage != AUTOMATION_STORE_ENDED) {
        drive(store);
    }
}

bool automation_store_stopped(const struct automation_store *store)
{
    return store->stage == AUTOMATION_STORE_ENDED;
}
