/* One message of a request after the other: made, passed through, stored. */
#include "smtp/inject.h"

#include <string.h>

#include "core/check.h"
#include "smtp/inject_job.h"
#include "smtp/inject_meta.h"
#include "smtp/limits.h"
#include "smtp/route.h"

/* What things cost of a turn's work, beside the bytes that are made. */
#define WORK_OF_RECIPIENT 256
#define WORK_OF_MESSAGE   4096
#define WORK_OF_STEP      16
/* Steps that the templates of one message may take in all. */
#define STEPS_MAX 200000
/* How often, and how long, a request of which a part is stored looks for room for its next. */
#define ROOM_AGAIN_NS (10 * NS_PER_MS)
#define ROOM_WAIT_NS  (10 * NS_PER_S)
/* Of content, passed through in one step. */
#define FEED_BYTES (64 * KIB)

/* --- the message in hand -------------------------------------------------------------------- */

/* What is left of the message in hand goes. */
static void drop_message(struct inject_job *job)
{
    if (job->put != NULL) {
        pool_give(&job->inject->puts, job->put);
        job->put = NULL;
    }
    spill_drop(&job->spill);
    transaction_reset(&job->transaction);
    metered_give(&job->inject->memory, job->rest);
    job->rest = NULL;
    job->rest_bytes = 0;
}

/* --- failures ------------------------------------------------------------------------------- */

static void fail_range(struct inject_job *job, uint32_t first, uint32_t end, const char *error)
{
    for (uint32_t i = first; i < end; i++) {
        struct inject_outcome *outcome = &job->outcomes[i];
        if (outcome->error == NULL) {
            outcome->error = error;
        }
        outcome->count = 0;
    }
}

static void next_message(struct inject_job *job)
{
    drop_message(job);
    inject_job_set_state(job, INJECT_MAKING);
}

static void room_again(struct timer *timer)
{
    inject_job_set_state(CONTAINER_OF(timer, struct inject_job, again), INJECT_MAKING);
}

/*
 * There is no room for the message in hand. While others of the same request hold some it is made
 * again when one of them has come home. When they are all stored the room is held by what is being
 * delivered, or by other requests: it is made again in a moment, as long as there is patience. A
 * request of which nothing is stored can be refused whole instead, and does not wait.
 */
static bool wait_for_room(struct inject_job *job)
{
    struct shard *shard = job->inject->shard;
    if (job->open == 0) {
        job->short_ns = job->short_ns == 0 ? shard->now_ns : job->short_ns;
        if (!job->is_begun || shard->now_ns - job->short_ns >= ROOM_WAIT_NS) {
            return false;
        }
        timer_init(&job->again, room_again);
        shard_timer_set(shard, &job->again, ROOM_AGAIN_NS);
    }
    job->next = job->first;
    drop_message(job);
    inject_job_set_state(job, INJECT_WAITING);
    return true;
}

/* The message in hand is refused; for want of room all that would follow, too. */
static void refuse_message(struct inject_job *job, struct slice reply)
{
    if (slice_starts_with(reply, SLICE("452"))) {
        if (wait_for_room(job)) {
            return;
        }
        job->next = job->request.recipient_count;
    }
    fail_range(job, job->first, job->next, inject_job_error(job, reply));
    next_message(job);
}

static struct slice verdict_reply(struct verdict verdict, uint8_t *memory, size_t capacity)
{
    struct buf buf;
    buf_init(&buf, memory, capacity);
    buf_put_u64(&buf, verdict.code);
    buf_put_byte(&buf, ' ');
    buf_put_string(&buf, verdict.text);
    return buf_slice(&buf);
}

/* --- recipients ----------------------------------------------------------------------------- */

/* Parses a recipient; false, and it has its error, when it is refused. */
static bool take_recipient(struct inject_job *job, uint32_t index,
                           struct address *address_out)
{
    const struct inject_recipient *recipient = &job->request.recipients[index];
    struct inject_outcome *outcome = &job->outcomes[index];
    uint8_t text[128];
    job->inject->work -= WORK_OF_RECIPIENT;
    *outcome = (struct inject_outcome){0};
    if (!address_parse_bare(recipient->mailbox.email, false, address_out)) {
        outcome->error = "501 5.1.3 Malformed recipient address";
        return false;
    }
    struct verdict verdict = route_verdict(job->inject->server->conf, address_out->domain);
    if (verdict.code != 0) {
        outcome->error = inject_job_error(job, verdict_reply(verdict, text, sizeof(text)));
        return false;
    }
    return true;
}

/* --- making --------------------------------------------------------------------------------- */

/* Of what is shared, no other recipient would have better luck. */
static void fail_content(struct inject_job *job, uint32_t index, const char *problem)
{
    uint32_t end = job->is_shared ? job->request.recipient_count : index + 1;
    const char *error = inject_job_error(job, slice_from_string(problem));
    if (job->problem.text[0] == '\0') {
        struct buf buf;
        buf_init(&buf, job->problem.text, sizeof(job->problem.text) - 1);
        buf_put_string(&buf, problem);
    }
    for (uint32_t i = index; i < end; i++) {
        job->outcomes[i].error = error;
        job->outcomes[i].is_content = true;
    }
    job->next = end;
}

/* The message for a recipient, in the room. What all share is made for nobody by name. */
static bool make(struct inject_job *job, uint32_t index, bool *utf8_out)
{
    const struct inject_recipient *recipient = &job->request.recipients[index];
    const struct inject_recipient nobody = {
        .mailbox = {.email = recipient->mailbox.email},
        .is_valid = true,
    };
    struct inject *inject = job->inject;
    struct server *server = inject->server;
    struct inject_problem problem;
    uint8_t id_text[ID_TEXT_BYTES];
    struct id id = id_next(server->intake->ids, inject->shard->wall_ns);
    struct buf id_buf;
    buf_init(&id_buf, id_text, sizeof(id_text));
    id_put(&id_buf, &id);
    struct inject_maker maker = {
        .templates = &job->templates,
        .texts = &inject->texts,
        .scratch = &inject->scratch,
        .id = buf_slice(&id_buf),
        .hostname = server->conf->node.hostname,
        .wall_ns = inject->shard->wall_ns,
        .steps = STEPS_MAX,
    };
    buf_reset(&inject->out);
    bool good = inject_make(&maker, job->is_shared ? &nobody : recipient, &inject->out, utf8_out,
                            &problem);
    inject->work -= (int64_t)(WORK_OF_MESSAGE + maker.work +
                              WORK_OF_STEP * (STEPS_MAX - maker.steps));
    if (!good) {
        fail_content(job, index, problem.text);
    }
    return good;
}

/* Envelope with its first recipient. */
static bool begin_envelope(struct inject_job *job, const struct address *recipient, bool utf8)
{
    struct address sender;
    if (!address_parse_bare(job->request.envelope_sender, true, &sender)) {
        CHECK(false); /* the request was read, and its sender checked */
    }
    const struct mail_params params = {
        .body = slice_is_ascii(buf_slice(&job->inject->out)) ? MAIL_BODY_7BIT
                                                              : MAIL_BODY_8BITMIME,
        .smtputf8 = utf8 || sender.utf8 || recipient->utf8,
    };
    return transaction_begin(&job->transaction, &sender, &params) &&
           transaction_add_recipient(&job->transaction, recipient, NULL) == RECIPIENT_ADDED;
}

/* Keeps what was made until it is all passed through. */
static bool keep(struct inject_job *job)
{
    struct slice made = buf_slice(&job->inject->out);
    job->rest = metered_take(&job->inject->memory, made.size);
    if (job->rest == NULL) {
        return false;
    }
    memcpy(job->rest, made.data, made.size);
    job->rest_bytes = made.size;
    job->rest_at = 0;
    return true;
}

static void end_all(struct inject_job *job)
{
    inject_job_set_state(job, INJECT_ENDING);
    if (job->open == 0) {
        inject_job_answer(job);
    }
}

/* Mail may come; else what that means is done. */
static bool is_admitted(struct inject_job *job)
{
    uint8_t text[128];
    struct verdict verdict = server_sender_verdict(job->inject->server, 0);
    job->inject->work -= WORK_OF_RECIPIENT;
    job->first = job->next;
    if (verdict.code == 0) {
        return true;
    }
    /* A server that stops, or stores nothing, refuses all that is left. */
    job->next = verdict.code == 421 ? job->request.recipient_count : job->next + 1;
    refuse_message(job, verdict_reply(verdict, text, sizeof(text)));
    return false;
}

static void step_make(struct inject_job *job)
{
    struct address recipient;
    bool utf8;
    if (job->next == job->request.recipient_count) {
        end_all(job);
        return;
    }
    if (!is_admitted(job)) {
        return;
    }
    if (job->open == INJECT_OPEN_MAX) {
        inject_job_set_state(job, INJECT_WAITING);
        return;
    }
    uint32_t index = job->next;
    if (!take_recipient(job, index, &recipient)) {
        job->next++;
        return;
    }
    /* Before the work, which would be for nothing. */
    job->put = pool_take(&job->inject->puts);
    if (job->put == NULL) {
        job->next++;
        refuse_message(job, SLICE("452 4.3.1 Too many messages on their way to the disk"));
        return;
    }
    if (!make(job, index, &utf8)) {
        drop_message(job);
        return;
    }
    job->next++;
    if (!keep(job) || !begin_envelope(job, &recipient, utf8)) {
        refuse_message(job, SLICE("452 4.3.1 No memory for this message now"));
        return;
    }
    conf_lease_move(&job->lease, job->inject->server->lease);
    transaction_begin_content(&job->transaction, job->inject->message_bytes_max,
                              job->inject->server->conf->queues.labels);
    content_pick(&job->transaction.content, &job->inject->server->conf->log.headers);
    inject_job_set_state(job, INJECT_FEEDING);
}

/* --- content -------------------------------------------------------------------------------- */

void inject_job_spilled(struct spill *spill, bool kept)
{
    struct inject_job *job = CONTAINER_OF(spill, struct inject_job, spill);
    inject_job_set_state(job, INJECT_FEEDING);
    if (!kept) {
        refuse_message(job, SLICE("452 4.3.1 Insufficient system storage"));
    }
}

/* What the content pass, as SMTP has it, holds against a message is a fault of its content. */
static void refuse_content(struct inject_job *job, const char *reply)
{
    if (job->transaction.content.fault == CONTENT_NO_MEMORY) {
        refuse_message(job, slice_from_string(reply));
        return;
    }
    fail_content(job, job->next - 1, reply);
    next_message(job);
}

/* All of the content has passed. */
static void end_content(struct inject_job *job)
{
    struct content *content = &job->transaction.content;
    if (spill_last(&job->spill, content)) {
        inject_job_set_state(job, INJECT_SPILLING);
        return;
    }
    content_bdat_end(content);
    const char *reply = content_refusal(content, RECEIVED_FIELDS_MAX);
    if (reply != NULL) {
        refuse_content(job, reply);
        return;
    }
    inject_job_set_state(job, INJECT_GATHERING);
}

static void step_feed(struct inject_job *job)
{
    struct content *content = &job->transaction.content;
    size_t count = MIN_OF(job->rest_bytes - job->rest_at, FEED_BYTES);
    if (count == 0) {
        end_content(job);
        return;
    }
    content_bdat(content, slice_make(job->rest + job->rest_at, count));
    job->rest_at += count;
    job->inject->work -= (int64_t)count;
    if (content->body.size > SPILL_BYTES) {
        spill_begin(&job->spill, content);
        inject_job_set_state(job, INJECT_SPILLING);
    }
}

/* --- storing -------------------------------------------------------------------------------- */

static void put_done(void *context, struct slice reply)
{
    struct inject_put *put = context;
    struct inject_job *job = put->job;
    if (slice_starts_with(reply, SLICE("250"))) {
        job->is_begun = true;
    } else {
        fail_range(job, put->first, put->end, inject_job_error(job, reply));
    }
    pool_give(&job->inject->puts, put);
    job->open--;
    if (job->state == INJECT_WAITING) {
        inject_job_set_state(job, INJECT_MAKING);
    } else if (job->state == INJECT_ENDING && job->open == 0) {
        inject_job_answer(job);
    }
}

static struct intake_ticket *put_message(struct inject_job *job, struct slice *refusal_out)
{
    struct server *server = job->inject->server;
    const struct json_value *metadata = job->request.recipients[job->first].metadata;
    const struct conf_trace *trace = &job->request.trace.supplemental;
    uint8_t memory[INJECT_META_BYTES_MAX];
    struct buf extra;
    buf_init(&extra, memory, sizeof(memory));
    if (metadata != NULL && inject_meta_put(&extra, metadata) != NULL) {
        CHECK(false); /* the request was read, and its metadata checked */
    }
    const struct reception reception = {
        .hostname = server->conf->node.hostname,
        .peer = job->exchange->peer,
        .http = true,
        .received_header = job->request.trace.received_header,
        .trace = trace->supplemental_header ? trace : NULL,
        .extra = buf_slice(&extra),
        .request = job->is_keyed ? &job->ask.claim.request : NULL,
    };
    const struct intake_owner owner = {
        .done = put_done,
        .context = job->put,
        .held = job->is_keyed ? &job->held : NULL,
    };
    *job->put = (struct inject_put){.job = job, .first = job->first, .end = job->next};
    return intake_put(server->intake, &job->transaction, &job->spill.parts, &reception, &owner,
                      refusal_out);
}

static void store(struct inject_job *job)
{
    struct slice refusal;
    struct intake_ticket *ticket = put_message(job, &refusal);
    if (ticket == NULL) {
        refuse_message(job, refusal);
        return;
    }
    job->put = NULL; /* put_done gives it back */
    job->open++;
    job->short_ns = 0;
    job->outcomes[job->first].id = ticket->message->id;
    job->outcomes[job->first].count = job->transaction.recipient_count;
    spill_passed(&job->spill);
    next_message(job);
}

/* Metadata are a message's, as it stands in the spool. */
static bool is_next_alike(const struct inject_job *job)
{
    const struct inject_recipient *recipients = job->request.recipients;
    return inject_meta_equal(recipients[job->first].metadata, recipients[job->next].metadata);
}

/* One recipient more of a message that many share, or its end. */
static void step_gather(struct inject_job *job)
{
    struct transaction *transaction = &job->transaction;
    struct address recipient;
    if (!job->is_shared || job->next == job->request.recipient_count ||
        transaction->recipient_count == INJECT_GROUP_MAX || !is_next_alike(job)) {
        store(job);
        return;
    }
    if (!take_recipient(job, job->next, &recipient)) {
        job->next++;
        return;
    }
    if (transaction_add_recipient(transaction, &recipient, NULL) != RECIPIENT_ADDED) {
        store(job); /* it is the first of the next message */
        return;
    }
    transaction->smtputf8 = transaction->smtputf8 || recipient.utf8;
    job->next++;
}

void inject_job_step(struct inject_job *job)
{
    switch (job->state) {
    case INJECT_MAKING:
        step_make(job);
        return;
    case INJECT_FEEDING:
        step_feed(job);
        return;
    case INJECT_GATHERING:
        step_gather(job);
        return;
    case INJECT_SPILLING:
    case INJECT_WAITING:
    case INJECT_ENDING:
    case INJECT_READING:
    case INJECT_CLAIMING:
    case INJECT_KEEPING:
    case INJECT_ANSWERING:
        break;
    }
    CHECK(false);
}
