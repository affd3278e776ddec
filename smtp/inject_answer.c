/* The answer to a request of which every message is on the disk, or is refused. */
#include "smtp/inject.h"

#include <string.h>

#include "core/json.h"
#include "smtp/inject_job.h"

/* Of an address or an error, in the answer. */
#define ECHO_BYTES_MAX 512
/* The longest element: an address and its error, escaped. */
#define ELEMENT_BYTES_MAX (2 * JSON_STRING_GROWTH * ECHO_BYTES_MAX + 64)

enum part { PART_COUNTS, PART_FAILED, PART_ERRORS, PART_IDS, PART_END };

static struct slice clip(struct slice text)
{
    return slice_first(text, MIN_OF(text.size, ECHO_BYTES_MAX));
}

static struct slice address_of(const struct inject_job *job, uint32_t index)
{
    return clip(job->request.recipients[index].mailbox.email);
}

static void put_error(struct buf *room, const struct inject_job *job, uint32_t index)
{
    uint8_t memory[2 * ECHO_BYTES_MAX + 2];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    buf_put(&text, address_of(job, index));
    buf_put(&text, SLICE(": "));
    buf_put(&text, clip(slice_from_string(job->outcomes[index].error)));
    json_put_string(room, buf_slice(&text));
}

static void put_id(struct buf *room, const struct inject_outcome *outcome)
{
    struct id first = id_with_index(outcome->id, 0);
    buf_put(room, SLICE("{\"id\":\""));
    id_put(room, &first);
    buf_put(room, SLICE("\",\"count\":"));
    buf_put_u64(room, outcome->count);
    buf_put_byte(room, '}');
}

/* What a list says of a recipient; true when it says something. */
static bool put_element(struct buf *room, const struct inject_job *job, uint32_t index)
{
    const struct inject_outcome *outcome = &job->outcomes[index];
    bool listed = job->answer_part == PART_IDS ? outcome->count > 0 : outcome->error != NULL;
    if (!listed) {
        return false;
    }
    if (!job->is_first) {
        buf_put_byte(room, ',');
    }
    if (job->answer_part == PART_IDS) {
        put_id(room, outcome);
    } else if (job->answer_part == PART_FAILED) {
        json_put_string(room, address_of(job, index));
    } else {
        put_error(room, job, index);
    }
    return true;
}

/* The list of one part, as far as there is room; true at its end. */
static bool put_list(struct buf *room, struct inject_job *job)
{
    while (job->answered < job->request.recipient_count) {
        if (buf_room(room) < ELEMENT_BYTES_MAX) {
            return false;
        }
        if (put_element(room, job, job->answered++)) {
            job->is_first = false;
        }
    }
    return true;
}

static void next_part(struct inject_job *job)
{
    job->answer_part++;
    job->answered = 0;
    job->is_first = true;
}

bool inject_job_put_answer(struct inject_job *job, struct buf *room)
{
    static const char *const ends[] = {"", "],\"errors\":[", "],\"ids\":[", "]}\n"};
    if (job->answer_part == PART_COUNTS) {
        buf_put(room, SLICE("{\"success_count\":"));
        buf_put_u64(room, job->successes);
        buf_put(room, SLICE(",\"fail_count\":"));
        buf_put_u64(room, job->request.recipient_count - job->successes);
        buf_put(room, SLICE(",\"failed_recipients\":["));
        next_part(job);
    }
    while (job->answer_part != PART_END) {
        if (!put_list(room, job) || buf_room(room) < ELEMENT_BYTES_MAX) {
            return false;
        }
        buf_put_string(room, ends[job->answer_part]);
        next_part(job);
    }
    return true;
}

static enum http_fill fill(struct http_exchange *exchange, struct buf *room)
{
    struct inject_job *job = exchange->user;
    if (!inject_job_put_answer(job, room)) {
        return HTTP_FILL_MORE;
    }
    inject_job_end(job);
    return HTTP_FILL_END;
}

static void gone(struct http_exchange *exchange)
{
    inject_job_end(exchange->user);
}

/* Nothing came of it, for errors of the content alone. */
static bool is_content_at_fault(const struct inject_job *job)
{
    return job->successes == 0 && job->problem.text[0] != '\0';
}

/* Refused for want of room, by a spool that does not work or by a stop (RFC 3463 3.4): ours. */
static bool is_ours(const char *error)
{
    return error[0] == '4' && strncmp(error + 3, " 4.3.", 5) == 0;
}

/* Nothing came of it, and it was none of its fault: what to say; null: something did, or it was. */
static const char *busy_with(const struct inject_job *job)
{
    for (uint32_t i = 0; i < job->request.recipient_count; i++) {
        const char *error = job->outcomes[i].error;
        if (error == NULL || !is_ours(error)) {
            return NULL;
        }
    }
    return job->outcomes[0].error;
}

static void count(struct inject_job *job)
{
    for (uint32_t i = 0; i < job->request.recipient_count; i++) {
        const struct inject_outcome *outcome = &job->outcomes[i];
        job->successes += outcome->error == NULL;
        if (outcome->error != NULL && !outcome->is_content) {
            /* Not the content alone: the list says what it was. */
            job->problem.text[0] = '\0';
        }
    }
}

void inject_job_answer(struct inject_job *job)
{
    count(job);
    if (job->is_keyed) {
        inject_job_keep(job);
    } else {
        inject_job_answer_now(job);
    }
}

void inject_job_answer_now(struct inject_job *job)
{
    struct http_exchange *exchange = job->exchange;
    inject_job_set_state(job, INJECT_ANSWERING);
    const char *busy = busy_with(job);
    if (busy != NULL) {
        http_answer_later(exchange, 0, slice_from_string(busy));
        inject_job_end(job);
        return;
    }
    if (is_content_at_fault(job)) {
        http_answer_text(exchange, 422, slice_from_string(job->problem.text));
        inject_job_end(job);
        return;
    }
    exchange->user = job;
    exchange->gone = gone;
    if (!http_answer_stream(exchange, 200, SLICE("application/json"), fill)) {
        inject_job_end(job);
    }
}
