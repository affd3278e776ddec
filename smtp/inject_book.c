#include "smtp/inject_book.h"

#include <errno.h>

#include "core/check.h"

/* Of what is written or read at a time: a file that was not written by us may be larger. */
#define MEMORY_BYTES (64 * MIB)
/* Of one append, unless a single answer is larger. */
#define APPEND_BYTES (512 * KIB)
/* What a file may have beside twice what it says. */
#define GROWTH_BYTES (1 * MIB)
#define RETRY_NS     NS_PER_S
#define LOAD_TRIES   5

/* Grown as far as it may, and an answer as large as any, a file can still be read. */
static_assert(2 * INJECT_KEYS_BYTES_MAX + GROWTH_BYTES + INJECT_ANSWERS_BYTES < MEMORY_BYTES,
              "a file is written that no start reads");

enum {
    STAGE_IDLE,
    STAGE_SIZING,
    STAGE_READING,
    STAGE_SETTING_ASIDE,
    STAGE_APPENDING,
    STAGE_CLOSING, /* the old file, for the new one stands there */
    STAGE_REPLACING,
    STAGE_OPENING,
};

static void file_done(struct state_file *file, int64_t result);
static void job_done(struct work_job *job);
static void retry_fire(struct timer *timer);
static void write_next(struct inject_book *book);
static void write_anew(struct inject_book *book);
static void load_failed(struct inject_book *book, int error);
static void loaded(struct inject_book *book);

static struct inject_ask *ask_of(struct list *link)
{
    return CONTAINER_OF(link, struct inject_ask, link);
}

void inject_book_init(struct inject_book *book, struct shard *shard, struct boot_pages *pages,
                      const char *dir)
{
    book->shard = shard;
    book->fd = -1;
    inject_keys_init(&book->keys, pages, prng_next(&shard->prng));
    metered_init(&book->memory, MEMORY_BYTES);
    timer_init(&book->retry, retry_fire);
    list_init(&book->waiting);
    list_init(&book->writing);
    book->file.done = file_done;
    state_file_init(&book->file, shard, dir, "inject-keys");
}

void inject_book_fini(struct inject_book *book)
{
    shard_timer_clear(book->shard, &book->retry);
    metered_fini(&book->memory);
    inject_keys_fini(&book->keys);
}

/* --- asks ------------------------------------------------------------------------------------- */

static void ask_home(struct shard *receiver, struct mail *mail)
{
    struct inject_ask *ask = CONTAINER_OF(mail, struct inject_ask, mail);
    (void)receiver;
    ask->done(ask);
}

static void answer(struct inject_book *book, struct inject_ask *ask,
                   enum inject_ask_result result)
{
    ask->result = result;
    ask->mail.arrive = ask_home;
    shard_send(book->shard, ask->home, &ask->mail);
}

static bool is_stopping(const struct inject_book *book)
{
    return atomic_load_explicit(book->stop_level, memory_order_relaxed) > 0;
}

static void wait_for_write(struct inject_book *book, struct inject_ask *ask)
{
    list_init(&ask->link);
    list_push_back(&book->waiting, &ask->link);
    write_next(book);
}

/* Wall-clock time that no jump of the clock moves while the process lives: a day is a day. */
static uint64_t now_ns(const struct inject_book *book)
{
    return book->clock_base_ns + book->shard->now_ns;
}

static void claim(struct inject_book *book, struct inject_ask *ask)
{
    inject_keys_expire(&book->keys, now_ns(book));
    ask->key = inject_keys_find(&book->keys, ask->claim.key);
    if (ask->key != NULL) {
        const struct inject_claim *before = &ask->key->claim;
        bool same = before->body.low64 == ask->claim.body.low64 &&
                    before->body.high64 == ask->claim.body.high64;
        if (!same || !ask->key->is_durable) {
            answer(book, ask, same ? INJECT_ASK_WORKING : INJECT_ASK_OTHER);
            return;
        }
        ask->key->readers++;
        ask->answer = inject_key_answer(ask->key);
        counters_add(&book->shard->counters, COUNTER_inject_repeats, 1);
        answer(book, ask, INJECT_ASK_ANSWERED);
        return;
    }
    ask->claim.wall_ns = now_ns(book);
    ask->key = book->anew ? NULL : inject_keys_claim(&book->keys, &ask->claim);
    if (ask->key == NULL) {
        answer(book, ask, INJECT_ASK_REFUSED);
        return;
    }
    wait_for_write(book, ask);
}

static void keep(struct inject_book *book, struct inject_ask *ask)
{
    if (inject_keys_done(&book->keys, ask->key, ask->answer)) {
        wait_for_write(book, ask);
        return;
    }
    answer(book, ask, is_stopping(book) ? INJECT_ASK_REFUSED : INJECT_ASK_FULL);
}

static void ask_arrives(struct shard *receiver, struct mail *mail)
{
    struct inject_ask *ask = CONTAINER_OF(mail, struct inject_ask, mail);
    struct inject_book *book = ask->book;
    (void)receiver;
    switch (ask->task) {
    case INJECT_ASK_CLAIM:
        claim(book, ask);
        break;
    case INJECT_ASK_KEEP:
        keep(book, ask);
        break;
    case INJECT_ASK_DROP:
        inject_keys_drop(&book->keys, ask->key);
        answer(book, ask, INJECT_ASK_DONE);
        break;
    case INJECT_ASK_RELEASE:
        ask->key->readers--;
        answer(book, ask, INJECT_ASK_DONE);
        break;
    }
    counters_set(&book->shard->counters, COUNTER_inject_keys_forgotten, book->keys.forgotten);
}

void inject_ask_send(struct inject_ask *ask, struct shard *from, enum inject_ask_task task)
{
    ask->task = task;
    ask->home = from->index;
    ask->mail.arrive = ask_arrives;
    shard_send(from, ask->book->shard->index, &ask->mail);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void data_give(struct inject_book *book)
{
    metered_give(&book->memory, book->data);
    book->data = NULL;
}

static bool data_take(struct inject_book *book, uint64_t bytes)
{
    CHECK(book->data == NULL);
    book->data = metered_take(&book->memory, MAX_OF(bytes, (uint64_t)1));
    book->data_bytes = bytes;
    return book->data != NULL;
}

static void submit(struct inject_book *book, uint8_t stage, struct work_job job)
{
    book->stage = stage;
    book->job = job;
    book->job.done = job_done;
    if (!work_submit(book->shard->work, book->shard, &book->job)) {
        shard_timer_set(book->shard, &book->retry, RETRY_NS);
    }
}

/* Nothing is being written: the next, or the end. */
static void rest(struct inject_book *book)
{
    book->stage = STAGE_IDLE;
    if (!book->stopping) {
        write_next(book);
    } else if (book->fd >= 0) {
        int fd = book->fd;
        book->fd = -1;
        submit(book, STAGE_CLOSING, (struct work_job){.kind = WORK_CLOSE, .fd = fd});
    }
}

static void answer_all(struct inject_book *book, struct list *asks)
{
    for (struct list *link = list_pop_front(asks); link != NULL; link = list_pop_front(asks)) {
        struct inject_ask *ask = ask_of(link);
        ask->key->is_durable = ask->task == INJECT_ASK_KEEP;
        answer(book, ask, INJECT_ASK_DONE);
    }
}

/* What was asked of a book that cannot be written: new claims are refused, answers wait for better
 * times, unless the node stops. They are void after a start if they are not in the file then. */
static void give_up(struct inject_book *book, struct list *asks)
{
    struct list *link = asks->next;
    while (link != asks) {
        struct inject_ask *ask = ask_of(link);
        link = link->next;
        if (ask->task == INJECT_ASK_CLAIM || is_stopping(book)) {
            list_remove(&ask->link);
            if (ask->task == INJECT_ASK_CLAIM) {
                inject_keys_drop(&book->keys, ask->key);
            }
            answer(book, ask, INJECT_ASK_REFUSED);
        }
    }
}

static void write_failed(struct inject_book *book, int error)
{
    data_give(book);
    if (!book->is_loaded) {
        load_failed(book, error);
        return;
    }
    if (!book->anew) {
        state_file_say(&book->file, &book->log, "inject_keys", "cannot be written", error);
    }
    book->anew = true;
    give_up(book, &book->writing);
    give_up(book, &book->waiting);
    if (!book->stopping) {
        shard_timer_set(book->shard, &book->retry, RETRY_NS);
    }
    rest(book);
}

/* The file is what is known. */
static void written_anew(struct inject_book *book)
{
    if (book->anew) {
        state_file_say(&book->file, &book->log, "inject_keys", "is written again", 0);
    }
    book->anew = false;
    answer_all(book, &book->writing);
    if (!book->is_loaded) {
        loaded(book);
        return;
    }
    rest(book);
}

static void appended(struct inject_book *book, int result)
{
    if (result < 0) {
        write_failed(book, result);
        return;
    }
    book->file_bytes += book->data_bytes;
    data_give(book);
    answer_all(book, &book->writing);
    rest(book);
}

/* Moves what goes into one append; its bytes. */
static uint64_t take_asks(struct inject_book *book)
{
    uint64_t bytes = 0;
    while (!list_empty(&book->waiting)) {
        struct inject_ask *ask = ask_of(book->waiting.next);
        uint64_t more = inject_key_bytes(ask->key);
        if (bytes > 0 && bytes + more > APPEND_BYTES) {
            break;
        }
        bytes += more;
        list_remove(&ask->link);
        list_push_back(&book->writing, &ask->link);
    }
    return bytes;
}

static void append(struct inject_book *book)
{
    struct buf buf;
    uint64_t bytes = take_asks(book);
    if (!data_take(book, bytes)) {
        write_failed(book, -ENOMEM);
        return;
    }
    buf_init(&buf, book->data, bytes);
    for (struct list *link = book->writing.next; link != &book->writing; link = link->next) {
        inject_keys_put(&buf, ask_of(link)->key);
    }
    CHECK(!buf.overflow && buf.size == bytes);
    submit(book, STAGE_APPENDING,
           (struct work_job){.kind = WORK_APPEND, .flags = WORK_SYNC, .fd = book->fd,
                             .data = book->data, .data_size = bytes});
}

static void write_anew(struct inject_book *book)
{
    struct buf buf;
    if (book->fd >= 0) {
        int fd = book->fd;
        book->fd = -1;
        submit(book, STAGE_CLOSING, (struct work_job){.kind = WORK_CLOSE, .fd = fd});
        return;
    }
    for (struct list *link = list_pop_front(&book->waiting); link != NULL;
         link = list_pop_front(&book->waiting)) {
        list_push_back(&book->writing, link);
    }
    if (!data_take(book, inject_keys_bytes(&book->keys))) {
        write_failed(book, -ENOMEM);
        return;
    }
    buf_init(&buf, book->data, book->data_bytes);
    inject_keys_put_all(&buf, &book->keys);
    CHECK(!buf.overflow);
    book->file_bytes = buf.size;
    book->stage = STAGE_REPLACING;
    state_file_replace(&book->file, buf.data, buf.size);
}

static void write_next(struct inject_book *book)
{
    if (book->stage != STAGE_IDLE || book->anew || list_empty(&book->waiting)) {
        return;
    }
    if (book->fd < 0 || book->file_bytes > 2 * inject_keys_bytes(&book->keys) + GROWTH_BYTES) {
        write_anew(book);
    } else {
        append(book);
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

static void size_file(struct inject_book *book)
{
    submit(book, STAGE_SIZING, (struct work_job){.kind = WORK_STAT, .path = book->file.path});
}

/* It says which mail is void: without it nothing may be sent. */
static void load_failed(struct inject_book *book, int error)
{
    data_give(book);
    state_file_say(&book->file, &book->log, "inject_keys", "cannot be read and written", error);
    if (++book->tries < LOAD_TRIES) {
        shard_timer_set(book->shard, &book->retry, RETRY_NS);
        return;
    }
    book->stage = STAGE_IDLE;
    book->loaded(book, SLICE("state_dir/inject-keys cannot be read and written"));
}

static void loaded(struct inject_book *book)
{
    book->stage = STAGE_IDLE;
    book->is_loaded = true;
    book->loaded(book, SLICE_NONE);
}

static void read_done(struct inject_book *book, int64_t result)
{
    if (result < 0 && result != -ENOENT) {
        load_failed(book, (int)result);
        return;
    }
    size_t size = result > 0 ? (size_t)result : 0;
    bool good = inject_keys_read(&book->keys, slice_make(book->data, size));
    data_give(book);
    book->clock_base_ns = book->shard->wall_ns - book->shard->now_ns;
    inject_keys_expire(&book->keys, now_ns(book));
    if (!good) {
        book->stage = STAGE_SETTING_ASIDE;
        state_file_set_aside(&book->file);
        return;
    }
    if (size == 0) {
        loaded(book);
        return;
    }
    /* What a process that was killed had appended last may not be durable, and is relied on. */
    write_anew(book);
}

static void sized(struct inject_book *book, int result)
{
    if (result == -ENOENT || (result == 0 && book->job.size == 0)) {
        read_done(book, 0);
    } else if (result < 0) {
        load_failed(book, result);
    } else if (!data_take(book, book->job.size)) {
        load_failed(book, -EFBIG);
    } else {
        book->stage = STAGE_READING;
        state_file_read(&book->file, book->data, book->data_bytes);
    }
}

static void file_done(struct state_file *file, int64_t result)
{
    struct inject_book *book = CONTAINER_OF(file, struct inject_book, file);
    switch (book->stage) {
    case STAGE_READING:
        read_done(book, result);
        return;
    case STAGE_SETTING_ASIDE:
        state_file_say_aside(file, &book->log, "inject_keys", "makes no sense; no key is known",
                             (int)result);
        loaded(book);
        return;
    default:
        data_give(book);
        if (result < 0) {
            write_failed(book, (int)result);
            return;
        }
        submit(book, STAGE_OPENING,
               (struct work_job){.kind = WORK_OPEN, .flags = WORK_WRITE, .path = file->path});
        return;
    }
}

static void job_done(struct work_job *job)
{
    struct inject_book *book = CONTAINER_OF(job, struct inject_book, job);
    switch (book->stage) {
    case STAGE_SIZING:
        sized(book, job->result);
        return;
    case STAGE_APPENDING:
        appended(book, job->result);
        return;
    case STAGE_CLOSING:
        if (book->stopping) {
            book->stage = STAGE_IDLE;
        } else {
            write_anew(book);
        }
        return;
    default:
        if (job->result < 0) {
            write_failed(book, job->result);
            return;
        }
        book->fd = job->result;
        written_anew(book);
        return;
    }
}

static void retry_fire(struct timer *timer)
{
    struct inject_book *book = CONTAINER_OF(timer, struct inject_book, retry);
    if (!book->is_loaded && book->stage <= STAGE_READING) {
        size_file(book);
    } else if (book->stage == STAGE_IDLE || !book->is_loaded) {
        write_anew(book);
    } else {
        submit(book, book->stage, book->job); /* the workers were full */
    }
}

/* --- start and stop --------------------------------------------------------------------------- */

void inject_book_load(struct inject_book *book)
{
    size_file(book);
}

void inject_book_stop(struct inject_book *book)
{
    book->stopping = true;
    if (book->stage == STAGE_IDLE) {
        shard_timer_clear(book->shard, &book->retry);
        rest(book);
    } /* else what is under way, or tried again, comes to rest */
}

bool inject_book_idle(const struct inject_book *book)
{
    return book->stage == STAGE_IDLE && book->fd < 0;
}
