#include "smtp/inject.h"

#include <string.h>

#include "core/check.h"
#include "smtp/compose_check.h"
#include "smtp/inject_job.h"
#include "smtp/server_session.h"

#define SCRATCH_BYTES    (256 * KIB)
/* A message may be so many times as large as a request, and this. */
#define MESSAGE_FACTOR   2
#define MESSAGE_EXTRA    (256 * KIB)
/* Of the memory for injection, messages that are made may take one part in so many. */
#define ROOM_PART        4
/* Of an Idempotency-Key. */
#define KEY_BYTES_MAX    255
/* Of one turn, in bytes made: what is not bytes is counted as some (inject_put.c). */
#define TURN_WORK        (512 * KIB)

static void inject_turn(struct deferred *deferred);

/* --- boot ----------------------------------------------------------------------------------- */

/* The largest message that may be made of a request. */
static uint64_t message_bytes_max(const struct conf *conf, uint64_t memory_max)
{
    uint64_t body = 0;
    for (size_t i = 0; i < conf->http_listener_count; i++) {
        body = MAX_OF(body, conf->http_listeners[i].request_body_limit);
    }
    return MIN_OF(MESSAGE_FACTOR * body + MESSAGE_EXTRA, memory_max / (2 * ROOM_PART));
}

void inject_init(struct inject *inject, struct server *server, struct cell *rates,
                 uint64_t memory_max, struct boot_pages *pages)
{
    *inject = (struct inject){
        .shard = server->shard,
        .server = server,
        .book = inject->book,
        .rates = rates,
    };
    metered_init(&inject->memory, memory_max);
    inject_set_conf(inject);
    uint64_t bytes = pool_memory(sizeof(struct inject_job), INJECT_JOBS_MAX);
    pool_init(&inject->jobs, boot_pages_take(pages, bytes), sizeof(struct inject_job),
              INJECT_JOBS_MAX);
    inject->hashes = boot_pages_take(pages, INJECT_JOBS_MAX * sizeof(XXH3_state_t));
    bytes = pool_memory(sizeof(struct inject_put), INJECT_PUTS_MAX);
    pool_init(&inject->puts, boot_pages_take(pages, bytes), sizeof(struct inject_put),
              INJECT_PUTS_MAX);
    list_init(&inject->ready);
    deferred_init(&inject->turn, inject_turn);
}

void inject_set_conf(struct inject *inject)
{
    inject->message_bytes_max = message_bytes_max(inject->server->conf, inject->memory.limit);
}

void inject_fini(struct inject *inject)
{
    deferred_cancel(&inject->turn);
    metered_fini(&inject->memory);
}

uint64_t inject_memory(const struct inject *inject)
{
    return inject->memory.used;
}

/* --- turns ---------------------------------------------------------------------------------- */

static void inject_turn(struct deferred *deferred)
{
    struct inject *inject = CONTAINER_OF(deferred, struct inject, turn);
    inject->work = TURN_WORK;
    while (inject->work > 0 && !list_empty(&inject->ready)) {
        struct list *link = list_pop_front(&inject->ready);
        list_push_back(&inject->ready, link);
        inject_job_step(CONTAINER_OF(link, struct inject_job, link));
    }
    if (!list_empty(&inject->ready)) {
        shard_defer(inject->shard, &inject->turn);
    }
}

static const struct {
    bool is_ready; /* there is something to do; else what it waits for sets the state */
} state_rows[] = {
    [INJECT_MAKING] = {.is_ready = true},
    [INJECT_FEEDING] = {.is_ready = true},
    [INJECT_SPILLING] = {.is_ready = false},
    [INJECT_GATHERING] = {.is_ready = true},
    [INJECT_WAITING] = {.is_ready = false},
    [INJECT_ENDING] = {.is_ready = false},
    [INJECT_READING] = {.is_ready = false},
    [INJECT_CLAIMING] = {.is_ready = false},
    [INJECT_KEEPING] = {.is_ready = false},
    [INJECT_ANSWERING] = {.is_ready = false},
};

void inject_job_set_state(struct inject_job *job, enum inject_state state)
{
    struct inject *inject = job->inject;
    job->state = state;
    if (!state_rows[state].is_ready) {
        list_remove(&job->link);
    } else if (!list_linked(&job->link)) {
        list_push_back(&inject->ready, &job->link);
        shard_defer(inject->shard, &inject->turn);
    }
}

/* --- room ----------------------------------------------------------------------------------- */

static bool room_take(struct inject *inject)
{
    size_t message = (size_t)inject->message_bytes_max;
    if (inject->room != NULL) {
        return true;
    }
    inject->room = metered_take(&inject->memory, 2 * message + SCRATCH_BYTES);
    if (inject->room == NULL) {
        return false;
    }
    arena_init(&inject->scratch, inject->room, SCRATCH_BYTES);
    arena_init(&inject->texts, inject->room + SCRATCH_BYTES, message);
    buf_init(&inject->out, inject->room + SCRATCH_BYTES + message, message);
    return true;
}

static void room_give(struct inject *inject)
{
    if (inject->jobs.used == 0) {
        metered_give(&inject->memory, inject->room);
        inject->room = NULL;
    }
}

/* --- the life of a job ---------------------------------------------------------------------- */

static struct inject_job *job_begin(struct inject *inject, struct http_exchange *exchange)
{
    struct inject_job *job = pool_take(&inject->jobs);
    if (job == NULL) {
        return NULL;
    }
    memset(job, 0, sizeof(*job));
    job->inject = inject;
    job->exchange = exchange;
    list_init(&job->link);
    row_list_init(&job->held);
    spill_init(&job->spill, inject->server->intake, inject->server->blocks, inject_job_spilled);
    transaction_init(&job->transaction, inject->server->blocks,
                     &inject->hashes[pool_index(&inject->jobs, job)]);
    if (!room_take(inject)) {
        inject_job_end(job);
        return NULL;
    }
    return job;
}

void inject_job_end(struct inject_job *job)
{
    struct inject *inject = job->inject;
    CHECK(job->open == 0 && job->put == NULL && !spill_in_flight(&job->spill));
    list_remove(&job->link);
    conf_lease_drop(&job->lease);
    transaction_reset(&job->transaction);
    metered_give(&inject->memory, job->kept);
    metered_give(&inject->memory, job->rest);
    metered_give(&inject->memory, job->memory);
    pool_give(&inject->jobs, job);
    room_give(inject);
}

const char *inject_job_error(struct inject_job *job, struct slice text)
{
    if (job->last_error != NULL && slice_equal(slice_from_string(job->last_error), text)) {
        return job->last_error;
    }
    size_t mark = arena_mark(&job->arena);
    uint8_t *copy = arena_take_bytes(&job->arena, text.size + 1);
    if (copy == NULL) {
        arena_rewind(&job->arena, mark);
        return "refused; there are too many reasons to tell each";
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    job->last_error = (const char *)copy;
    return job->last_error;
}

/* --- inject_rate ---------------------------------------------------------------------------- */

/*
 * Takes the recipients of a request out of its listener's rate, all or none: what was taken in any
 * time is at most the rate's, and its burst. More than the burst would never be taken.
 */
static void take_rate(const struct inject_job *job, struct inject_refusal *refusal)
{
    const struct inject *inject = job->inject;
    unsigned listener = job->exchange->listener;
    const struct rate *rate = &inject->server->conf->http_listeners[listener].inject_rate;
    struct cell *cell = &inject->rates[listener];
    uint64_t count = job->request.recipient_count;
    int64_t now = (int64_t)inject->shard->now_ns;
    if (!rate_is_set(rate)) {
        return;
    }
    if (count > rate->burst) {
        inject_refuse(refusal, 413, "recipients: more than inject_rate lets through at a time");
        return;
    }
    struct gcra_grant grant =
        cell_reserve(cell, rate, inject->shard->now_ns, RATE_ANY_TIME, count);
    int64_t last = grant.first_ns + (int64_t)((count - 1) * rate->interval_ns);
    if (grant.count == count && last <= now) {
        return;
    }
    cell_refund(cell, rate, grant.count);
    inject_refuse(refusal, 503, "4.3.2 More recipients than inject_rate, come again later");
    refusal->retry_after_s = (uint32_t)(((uint64_t)(last - now) + NS_PER_S - 1) / NS_PER_S);
    counters_add(&inject->shard->counters, COUNTER_inject_rate_refused, 1);
}

/* --- sharing -------------------------------------------------------------------------------- */

static bool is_constant(const struct template *template)
{
    return template == NULL || template_is_constant(template);
}

/* Whether all recipients get the same content. A builder names each in To, unless it says who. */
static bool is_shared(const struct inject_templates *templates)
{
    const struct inject_request *request = templates->request;
    const struct compose *parts = &request->parts;
    bool says_to = request->raw.data != NULL || compose_find_header(parts, "To") != NULL;
    bool constant = is_constant(templates->raw) && is_constant(templates->text_body) &&
                    is_constant(templates->html_body) && is_constant(templates->amp_html_body) &&
                    is_constant(templates->subject);
    for (uint32_t i = 0; i < parts->header_count && constant; i++) {
        constant = is_constant(templates->headers[i]);
    }
    return says_to && constant;
}

/* --- requests ------------------------------------------------------------------------------- */

static void answer_refusal(struct inject_job *job)
{
    const struct inject_refusal *refusal = &job->refusal;
    struct slice text = slice_from_string(refusal->problem.text);
    if (refusal->status == 503) {
        http_answer_later(job->exchange, refusal->retry_after_s, text);
    } else {
        http_answer_text(job->exchange, refusal->status, text);
    }
    inject_job_end(job);
}

void inject_job_was_read(struct inject_job *job)
{
    struct inject_refusal *refusal = &job->refusal;
    uint32_t count = job->request.recipient_count;
    if (refusal->status == 0 && job->key.size > 0 && count > INJECT_KEYED_MAX) {
        inject_refuse(refusal, 413, "recipients: at most 1000 with an Idempotency-Key");
    }
    if (refusal->status == 0) {
        take_rate(job, refusal);
    }
    if (refusal->status != 0) {
        answer_refusal(job);
        return;
    }
    job->is_shared = is_shared(&job->templates);
    if (job->key.size > 0) {
        inject_job_claim(job);
    } else {
        inject_job_set_state(job, INJECT_MAKING);
    }
}

/* False: it is none, or there are several. Empty: there is none. */
static bool take_key(const struct http_exchange *exchange, struct slice *key_out)
{
    unsigned count = http_head_count(exchange->head, SLICE("Idempotency-Key"));
    if (count == 0) {
        return true;
    }
    return count == 1 && http_head_field(exchange->head, SLICE("Idempotency-Key"), key_out) &&
           key_out->size > 0 && key_out->size <= KEY_BYTES_MAX;
}

void inject_handle(struct inject *inject, struct http_exchange *exchange)
{
    struct slice key = SLICE_NONE;
    if (!take_key(exchange, &key)) {
        http_answer_text(exchange, 400, SLICE("Idempotency-Key: wants one, of 255 bytes at most"));
        return;
    }
    struct verdict verdict = server_sender_verdict(inject->server, exchange->body.size);
    if (verdict.code != 0) {
        http_answer_text(exchange, 503, slice_from_string(verdict.text));
        return;
    }
    struct inject_job *job = job_begin(inject, exchange);
    if (job == NULL) {
        http_answer_text(exchange, 503, SLICE("4.3.2 Too many requests at a time"));
        return;
    }
    job->key = key;
    inject_job_read(job);
}
