/* GET explain and inspect-…: parameters into questions, their JSON as it is. */
#include "smtp/http_admin.h"

#include "core/check.h"
#include "core/json.h"

#define QUESTIONS_MAX 8u
#define LIMIT_DEFAULT 5u
#define LIMIT_DIGITS  4u

#define BAD_ID   "id= wants 32 hexadecimal digits"
#define BAD_FLAG "want_body= wants true or false"

struct question {
    struct explain_request request;
    struct http_exchange *exchange; /* answered once */
    struct http_admin *http;
    uint8_t name[JSON_STRING_GROWTH * QUEUE_NAME_BYTES_MAX];
    uint8_t answer[INSPECT_BYTES_MAX];
};

static_assert(INSPECT_BYTES_MAX >= EXPLAIN_BYTES_MAX, "an answer of either kind has room");

void http_inspect_init(struct http_admin *http, struct boot_pages *pages)
{
    pool_init(&http->questions,
              boot_pages_take(pages, pool_memory(sizeof(struct question), QUESTIONS_MAX)),
              sizeof(struct question), QUESTIONS_MAX);
}

static void question_done(struct explain_request *request)
{
    struct question *question = CONTAINER_OF(request, struct question, request);
    struct http_exchange *exchange = question->exchange;
    switch (request->status) {
    case EXPLAIN_DONE:
        http_answer(exchange, 200, SLICE("application/json"), buf_slice(&request->answer));
        break;
    case EXPLAIN_UNKNOWN:
        http_answer_text(exchange, 404, SLICE("there is no such thing now"));
        break;
    case EXPLAIN_NOT_READ:
        http_answer_text(exchange, 503, SLICE("not all that may have this id could be read"));
        break;
    case EXPLAIN_STOPPING:
        http_answer_text(exchange, 503, SLICE("the server is stopping"));
        break;
    }
    pool_give(&question->http->questions, question);
}

/* Null: there is none now, and it has been said. */
static struct question *question_new(struct http_exchange *exchange, enum explain_what what)
{
    struct http_admin *http = http_admin_of(exchange);
    struct question *question = http != NULL ? pool_take(&http->questions) : NULL;
    if (http == NULL) {
        return NULL;
    }
    if (question == NULL) {
        http_answer_text(exchange, 503, SLICE("too many questions at once"));
        return NULL;
    }
    question->request = (struct explain_request){.what = what, .done = question_done};
    question->exchange = exchange;
    question->http = http;
    buf_init(&question->request.answer, question->answer, sizeof(question->answer));
    return question;
}

static void question_refuse(struct question *question, unsigned status, struct slice line)
{
    struct http_exchange *exchange = question->exchange;
    pool_give(&question->http->questions, question);
    http_answer_text(exchange, status, line);
}

static void question_ask(struct question *question)
{
    if (!explain_ask(question->http->explain, &question->request)) {
        question_refuse(question, 503, SLICE("too many questions at once"));
    }
}

/* True: it is there, and not empty. */
static bool has_text(struct question *question, struct slice key, struct slice *text_out)
{
    struct buf buf;
    buf_init(&buf, question->name, sizeof(question->name));
    enum http_query found = http_query_find(question->exchange->query, key, &buf);
    *text_out = buf_slice(&buf);
    return found == HTTP_QUERY_FOUND && buf.size > 0;
}

/* BAD: it is no id. */
static enum http_query find_id(struct question *question)
{
    uint8_t memory[ID_TEXT_BYTES];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    enum http_query found = http_query_find(question->exchange->query, SLICE("id"), &buf);
    if (found == HTTP_QUERY_FOUND && !id_parse(buf_slice(&buf), &question->request.id)) {
        return HTTP_QUERY_BAD;
    }
    return found;
}

/* False: it is neither missing nor true or false. */
static bool take_wants_body(struct question *question)
{
    uint8_t memory[8];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    switch (http_query_find(question->exchange->query, SLICE("want_body"), &buf)) {
    case HTTP_QUERY_NONE:
        return true;
    case HTTP_QUERY_FOUND:
        question->request.wants_body = slice_equal(buf_slice(&buf), SLICE("true"));
        return question->request.wants_body || slice_equal(buf_slice(&buf), SLICE("false"));
    case HTTP_QUERY_BAD:
        return false;
    }
    CHECK(false);
}

void http_admin_explain(struct http_exchange *exchange)
{
    struct question *question = question_new(exchange, EXPLAIN_QUEUE);
    if (question == NULL) {
        return;
    }
    struct explain_request *request = &question->request;
    enum http_query id = find_id(question);
    if (id == HTTP_QUERY_BAD) {
        question_refuse(question, 400, SLICE(BAD_ID));
        return;
    }
    if (id == HTTP_QUERY_FOUND) {
        request->what = EXPLAIN_ID;
    } else if (has_text(question, SLICE("domain"), &request->name)) {
        request->what = EXPLAIN_DOMAIN;
    } else if (!has_text(question, SLICE("queue"), &request->name)) {
        question_refuse(question, 400, SLICE("queue=, domain= or id= is needed"));
        return;
    }
    question_ask(question);
}

void http_admin_inspect_message(struct http_exchange *exchange)
{
    struct question *question = question_new(exchange, INSPECT_MESSAGE);
    if (question == NULL) {
        return;
    }
    if (!take_wants_body(question)) {
        question_refuse(question, 400, SLICE(BAD_FLAG));
    } else if (find_id(question) != HTTP_QUERY_FOUND) {
        question_refuse(question, 400, SLICE(BAD_ID));
    } else {
        question_ask(question);
    }
}

bool http_admin_take_limit(struct http_exchange *exchange, uint32_t most, uint32_t *limit_out)
{
    uint8_t memory[LIMIT_DIGITS];
    struct buf buf;
    uint64_t limit;
    buf_init(&buf, memory, sizeof(memory));
    switch (http_query_find(exchange->query, SLICE("limit"), &buf)) {
    case HTTP_QUERY_NONE:
        return true;
    case HTTP_QUERY_FOUND:
        if (!slice_parse_u64(buf_slice(&buf), &limit) || limit < 1 || limit > most) {
            return false;
        }
        *limit_out = (uint32_t)limit;
        return true;
    case HTTP_QUERY_BAD:
        return false;
    }
    CHECK(false);
}

static void inspect(struct http_exchange *exchange, enum explain_what what)
{
    struct question *question = question_new(exchange, what);
    if (question == NULL) {
        return;
    }
    question->request.limit = LIMIT_DEFAULT;
    if (!take_wants_body(question)) {
        question_refuse(question, 400, SLICE(BAD_FLAG));
    } else if (!http_admin_take_limit(exchange, INSPECT_LIMIT_MAX, &question->request.limit)) {
        question_refuse(question, 400, SLICE(HTTP_ADMIN_BAD_LIMIT));
    } else if (!has_text(question, SLICE("queue_name"), &question->request.name)) {
        question_refuse(question, 400, SLICE("queue_name= is needed"));
    } else {
        question_ask(question);
    }
}

void http_admin_inspect_queue(struct http_exchange *exchange)
{
    inspect(exchange, INSPECT_QUEUE);
}

void http_admin_inspect_ready(struct http_exchange *exchange)
{
    inspect(exchange, INSPECT_READY);
}
