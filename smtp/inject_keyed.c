/* Requests with an Idempotency-Key: what the book is asked before they begin and end. */
#include "smtp/inject.h"

#include <string.h>

#include "core/check.h"
#include "smtp/inject_job.h"

#define AGAIN_NS (16 * NS_PER_MS)

static const struct slice json_type = {(const uint8_t *)"application/json", 16};

static struct inject_job *job_of(struct inject_ask *ask)
{
    return CONTAINER_OF(ask, struct inject_job, ask);
}

static void ask(struct inject_job *job, enum inject_ask_task task,
                void (*done)(struct inject_ask *ask))
{
    job->ask.done = done;
    inject_ask_send(&job->ask, job->inject->shard, task);
}

/* --- before ----------------------------------------------------------------------------------- */

static void released(struct inject_ask *ask)
{
    inject_job_end(job_of(ask));
}

static void refuse(struct inject_job *job, unsigned status, struct slice line)
{
    inject_job_set_state(job, INJECT_ANSWERING);
    http_answer_text(job->exchange, status, line);
    inject_job_end(job);
}

static void claimed(struct inject_ask *back)
{
    struct inject_job *job = job_of(back);
    switch (back->result) {
    case INJECT_ASK_DONE:
        job->is_keyed = true;
        inject_job_set_state(job, INJECT_MAKING);
        return;
    case INJECT_ASK_ANSWERED:
        inject_job_set_state(job, INJECT_ANSWERING);
        http_answer(job->exchange, 200, json_type, back->answer);
        ask(job, INJECT_ASK_RELEASE, released);
        return;
    case INJECT_ASK_WORKING:
        refuse(job, 409, SLICE("Idempotency-Key: a request with it is being worked at"));
        return;
    case INJECT_ASK_OTHER:
        refuse(job, 422, SLICE("Idempotency-Key: it was used for another request"));
        return;
    case INJECT_ASK_REFUSED:
        refuse(job, 503, SLICE("4.3.0 Idempotency-Key: it cannot be kept now"));
        return;
    case INJECT_ASK_FULL:
        break;
    }
    CHECK(false);
}

void inject_job_claim(struct inject_job *job)
{
    const struct inject *inject = job->inject;
    struct slice body = job->exchange->body;
    job->ask.book = inject->book;
    job->ask.claim = (struct inject_claim){
        .key = XXH3_128bits(job->key.data, job->key.size),
        .body = XXH3_128bits(body.data, body.size),
        .request = id_next(inject->server->intake->ids, inject->shard->wall_ns),
    };
    inject_job_set_state(job, INJECT_CLAIMING);
    ask(job, INJECT_ASK_CLAIM, claimed);
}

/* --- after ------------------------------------------------------------------------------------ */

static void keep_again(struct timer *timer)
{
    inject_job_keep(CONTAINER_OF(timer, struct inject_job, again));
}

/* There is no room for the answer: what is stored cannot be refused any more, so it waits. */
static void keep_later(struct inject_job *job)
{
    timer_init(&job->again, keep_again);
    shard_timer_set(job->inject->shard, &job->again, AGAIN_NS);
}

static void dropped(struct inject_ask *back)
{
    inject_job_answer_now(job_of(back));
}

static void kept(struct inject_ask *back)
{
    struct inject_job *job = job_of(back);
    switch (back->result) {
    case INJECT_ASK_DONE:
        intake_release(job->inject->server->intake, &job->held);
        inject_job_set_state(job, INJECT_ANSWERING);
        http_answer(job->exchange, 200, json_type, slice_make(job->kept, job->kept_bytes));
        inject_job_end(job);
        return;
    case INJECT_ASK_FULL:
        keep_later(job);
        return;
    case INJECT_ASK_REFUSED:
        /* The rows end with the process; whether they are void the next one will know. */
        refuse(job, 503, SLICE("4.3.2 The server stops; ask again with the same key"));
        return;
    case INJECT_ASK_ANSWERED:
    case INJECT_ASK_WORKING:
    case INJECT_ASK_OTHER:
        break;
    }
    CHECK(false);
}

/* The whole answer, in pieces into `room`, whose bytes are counted; copied to `to` unless null. */
static size_t put_whole(struct inject_job *job, struct buf *room, uint8_t *to)
{
    size_t size = 0;
    bool ended = false;
    job->answer_part = 0;
    job->answered = 0;
    while (!ended) {
        buf_reset(room);
        ended = inject_job_put_answer(job, room);
        if (to != NULL) {
            memcpy(to + size, room->data, room->size);
        }
        size += room->size;
    }
    return size;
}

static bool write_answer(struct inject_job *job)
{
    struct buf *room = &job->inject->out;
    size_t size = put_whole(job, room, NULL);
    job->kept = metered_take(&job->inject->memory, size);
    if (job->kept == NULL) {
        return false;
    }
    job->kept_bytes = put_whole(job, room, job->kept);
    CHECK(job->kept_bytes == size);
    return true;
}

void inject_job_keep(struct inject_job *job)
{
    inject_job_set_state(job, INJECT_KEEPING);
    if (job->successes == 0) {
        ask(job, INJECT_ASK_DROP, dropped);
        return;
    }
    if (job->kept == NULL && !write_answer(job)) {
        keep_later(job);
        return;
    }
    job->ask.answer = slice_make(job->kept, job->kept_bytes);
    ask(job, INJECT_ASK_KEEP, kept);
}
