/* From the body of a request to the request, in the worker when it is large. */
#include "smtp/inject.h"

#include <string.h>

#include "core/check.h"
#include "smtp/inject_job.h"
#include "smtp/inject_meta.h"

#define ARENA_BYTES_LEAST (64 * KIB)
/* The arena of a request in bytes of its body: first what most want, then what all do. */
#define ARENA_FACTOR     4
#define ARENA_FACTOR_MAX 24
/* What the reader of JSON takes while it reads, in bytes of the text. */
#define READER_FACTOR    14
/* A body of as many bytes is read by the worker: what is smaller takes a millisecond or two. */
#define LARGE_BYTES      (256 * KIB)
#define KEY_BYTES_SHOWN  64

/* --- reading a request ---------------------------------------------------------------------- */

void inject_refuse(struct inject_refusal *refusal, unsigned status, const char *text)
{
    struct buf buf;
    refusal->status = status;
    buf_init(&buf, refusal->problem.text, sizeof(refusal->problem.text) - 1);
    buf_put_string(&buf, text);
    refusal->problem.text[buf.size] = '\0';
}

static void refuse_json(struct inject_refusal *refusal, const struct json_problem *problem)
{
    struct buf buf;
    refusal->status = 400;
    buf_init(&buf, refusal->problem.text, sizeof(refusal->problem.text) - 1);
    buf_put_string(&buf, json_fault_text(problem->fault));
    if (problem->fault == JSON_KEY_TWICE) {
        buf_put_string(&buf, ": ");
        buf_put_shown(&buf, problem->key, KEY_BYTES_SHOWN);
    }
    refusal->problem.text[buf.size] = '\0';
}

/* What would not fit into a message's metadata is refused, lest a part of it be missed silently. */
static void check_metadata(const struct inject_job *job, struct inject_refusal *refusal)
{
    const struct inject_request *request = &job->request;
    for (uint32_t i = 0; i < request->recipient_count; i++) {
        const struct json_value *metadata = request->recipients[i].metadata;
        uint8_t memory[INJECT_META_BYTES_MAX];
        struct buf buf;
        buf_init(&buf, memory, sizeof(memory));
        const char *wrong = metadata == NULL ? NULL : inject_meta_put(&buf, metadata);
        if (wrong != NULL) {
            refusal->status = 400;
            buf_init(&buf, refusal->problem.text, sizeof(refusal->problem.text) - 1);
            buf_printf(&buf, "recipients[%u].metadata: %s", i, wrong);
            refusal->problem.text[buf.size] = '\0';
            return;
        }
    }
}

/* Pure, over the job's arena and refusal: by whatever thread. */
static void read_body(struct inject_job *job)
{
    struct inject_refusal *refusal = &job->refusal;
    struct json_problem problem;
    struct json_reader *reader = json_reader_open();
    const struct json_value *root =
        json_value_read(reader, job->exchange->body, &job->arena, &problem);
    json_reader_close(reader);
    *refusal = (struct inject_refusal){0};
    if (root == NULL) {
        refuse_json(refusal, &problem);
        return;
    }
    if (!inject_request_read(root, &job->arena, &job->request, &refusal->problem)) {
        refusal->status = 400;
        return;
    }
    check_metadata(job, refusal);
    if (refusal->status == 0 &&
        !inject_compile(&job->request, &job->arena, &job->templates, &refusal->problem)) {
        refusal->status = 422;
    }
    if (refusal->status == 0) {
        size_t bytes = job->request.recipient_count * sizeof(*job->outcomes);
        job->outcomes = arena_take(&job->arena, job->request.recipient_count,
                                   sizeof(*job->outcomes));
        if (job->outcomes != NULL) {
            memset(job->outcomes, 0, bytes);
        }
    }
}

/* --- memory, and by whom ---------------------------------------------------------------------- */

static void begin(struct inject_job *job);

static size_t reader_bytes(const struct inject_job *job)
{
    return READER_FACTOR * job->exchange->body.size + ARENA_BYTES_LEAST;
}

static void ended(struct inject_job *job)
{
    metered_unbook(&job->inject->memory, reader_bytes(job));
    if (!job->arena.overflow) {
        inject_job_was_read(job);
    } else if (job->arena_factor == ARENA_FACTOR) {
        job->arena_factor = ARENA_FACTOR_MAX;
        begin(job);
    } else {
        inject_refuse(&job->refusal, 413, "The request has too many parts for its memory");
        inject_job_was_read(job);
    }
}

static void compute(struct work_job *work)
{
    read_body(CONTAINER_OF(work, struct inject_job, reading));
}

static void computed(struct work_job *work)
{
    ended(CONTAINER_OF(work, struct inject_job, reading));
}

/* A large body would hold up everybody here: the worker reads it. */
static void read_somewhere(struct inject_job *job)
{
    struct shard *shard = job->inject->shard;
    if (job->exchange->body.size < LARGE_BYTES) {
        read_body(job);
        ended(job);
        return;
    }
    job->reading =
        (struct work_job){.kind = WORK_COMPUTE, .done = computed, .compute = compute};
    if (!work_submit(shard->work, shard, &job->reading)) {
        metered_unbook(&job->inject->memory, reader_bytes(job));
        inject_refuse(&job->refusal, 503, "4.3.2 Too many large requests at a time");
        inject_job_was_read(job);
    }
}

static void begin(struct inject_job *job)
{
    struct inject *inject = job->inject;
    size_t bytes = job->arena_factor * job->exchange->body.size + ARENA_BYTES_LEAST;
    metered_give(&inject->memory, job->memory);
    job->memory = NULL;
    if (bytes + reader_bytes(job) > inject->memory.limit) {
        inject_refuse(&job->refusal, 413, "The request is too large for the memory of requests");
    } else {
        job->memory = metered_take(&inject->memory, bytes);
        if (job->memory == NULL || !metered_book(&inject->memory, reader_bytes(job))) {
            inject_refuse(&job->refusal, 503, "No memory for this request now");
        }
    }
    if (job->refusal.status != 0) {
        inject_job_was_read(job);
        return;
    }
    arena_init(&job->arena, job->memory, bytes);
    read_somewhere(job);
}

void inject_job_read(struct inject_job *job)
{
    job->arena_factor = ARENA_FACTOR;
    inject_job_set_state(job, INJECT_READING);
    begin(job);
}
