#include "shard/io/http_caller.h"

#include "core/check.h"
#include "shard/shard.h"

static void begin(struct http_caller *caller);

const char *http_call_end_name(enum http_call_end end)
{
    switch (end) {
    case HTTP_CALL_ANSWERED:
        return "answered";
    case HTTP_CALL_UPGRADED:
        return "open";
    case HTTP_CALL_NO_ADDRESS:
        return "no address";
    case HTTP_CALL_REFUSED:
        return "no connection";
    case HTTP_CALL_TIMEOUT:
        return "timed out";
    case HTTP_CALL_CUT:
    case HTTP_CALL_STALE:
        return "cut off";
    case HTTP_CALL_BAD:
        return "no HTTP";
    }
    CHECK(false);
}

/* --- ends ------------------------------------------------------------------------------------- */

static void tell(struct http_caller *caller, enum http_call_end end)
{
    shard_timer_clear(caller->shard, &caller->timer);
    caller->owed = false;
    caller->user->done(caller, end);
}

/* The request is over, and its connection with it. */
static void fail(struct http_caller *caller, enum http_call_end end)
{
    caller->end = end;
    caller->turn += end != HTTP_CALL_ANSWERED && end != HTTP_CALL_STALE;
    shard_timer_clear(caller->shard, &caller->timer);
    caller->state = HTTP_CALLER_CLOSING;
    stream_close(&caller->stream);
}

static void unask(struct http_caller *caller)
{
    if (caller->asking) {
        caller->asking = false;
        resolver_unask(caller->resolver, &caller->ask);
    }
}

static void unresolved(struct http_caller *caller, enum http_call_end end)
{
    unask(caller);
    caller->state = HTTP_CALLER_CLOSED;
    tell(caller, end);
}

static void expire(struct timer *timer)
{
    struct http_caller *caller = CONTAINER_OF(timer, struct http_caller, timer);
    if (caller->state == HTTP_CALLER_RESOLVING) {
        unresolved(caller, HTTP_CALL_TIMEOUT);
    } else {
        fail(caller, HTTP_CALL_TIMEOUT);
    }
}

/* --- the stream ------------------------------------------------------------------------------- */

static void send_request(struct http_caller *caller)
{
    const struct iovec iovecs[] = {
        {.iov_base = (void *)(uintptr_t)caller->head.data, .iov_len = caller->head.size},
        {.iov_base = (void *)(uintptr_t)caller->body.data, .iov_len = caller->body.size},
    };
    caller->state = HTTP_CALLER_ASKING;
    http_response_init(&caller->response, caller->body_bytes, sizeof(caller->body_bytes));
    stream_send(&caller->stream, iovecs, caller->body.size > 0 ? 2 : 1);
}

static void connected(struct stream *stream, enum stream_end end)
{
    struct http_caller *caller = CONTAINER_OF(stream, struct http_caller, stream);
    if (caller->state != HTTP_CALLER_CONNECTING) {
        return;
    }
    if (end == STREAM_OPEN) {
        send_request(caller);
    } else {
        fail(caller, end == STREAM_TIMEOUT ? HTTP_CALL_TIMEOUT : HTTP_CALL_REFUSED);
    }
}

/* An answer that overtakes its request ends the connection: the request's bytes are in use. */
static void answered(struct http_caller *caller)
{
    if (caller->response.keeps && !stream_sending(&caller->stream) &&
        caller->stream.end == STREAM_OPEN) {
        caller->state = HTTP_CALLER_IDLE;
        tell(caller, HTTP_CALL_ANSWERED);
    } else {
        fail(caller, HTTP_CALL_ANSWERED);
    }
}

static void ended(struct http_caller *caller)
{
    bool silent = caller->response.bytes == 0;
    if (http_response_end(&caller->response) == HTTP_RESPONSE_WHOLE) {
        answered(caller);
    } else {
        fail(caller, silent && caller->reused ? HTTP_CALL_STALE : HTTP_CALL_CUT);
    }
}

static void hear(struct http_caller *caller)
{
    enum http_response_step step = HTTP_RESPONSE_MORE;
    struct stream *stream = &caller->stream;
    while (step == HTTP_RESPONSE_MORE && stream_held_bytes(stream) > 0) {
        struct slice input = stream_input(stream);
        struct slice rest = input;
        step = http_response_feed(&caller->response, &rest);
        stream_consume(stream, input.size - rest.size);
    }
    switch (step) {
    case HTTP_RESPONSE_MORE:
        if (stream->end != STREAM_OPEN) {
            ended(caller);
        }
        return;
    case HTTP_RESPONSE_WHOLE:
        answered(caller);
        return;
    case HTTP_RESPONSE_UPGRADED:
        if (caller->user->input == NULL || stream_sending(stream)) {
            fail(caller, HTTP_CALL_BAD);
            return;
        }
        caller->state = HTTP_CALLER_OPEN;
        tell(caller, HTTP_CALL_UPGRADED);
        return;
    case HTTP_RESPONSE_BAD:
        fail(caller, HTTP_CALL_BAD);
        return;
    }
}

static void input(struct stream *stream)
{
    struct http_caller *caller = CONTAINER_OF(stream, struct http_caller, stream);
    if (caller->state == HTTP_CALLER_ASKING) {
        hear(caller);
    } else if (caller->state == HTTP_CALLER_OPEN) {
        caller->user->input(caller);
    } else if (caller->state == HTTP_CALLER_IDLE) {
        /* The server has closed, or speaks unasked. */
        caller->state = HTTP_CALLER_CLOSING;
        stream_close(stream);
    }
}

static void sent(struct stream *stream, enum stream_end end)
{
    struct http_caller *caller = CONTAINER_OF(stream, struct http_caller, stream);
    if (caller->state == HTTP_CALLER_OPEN && caller->user->sent != NULL) {
        caller->user->sent(caller, end);
    } /* of a request that is not sent whole the input will end as well, perhaps with an answer */
}

static void released(struct stream *stream)
{
    struct http_caller *caller = CONTAINER_OF(stream, struct http_caller, stream);
    CHECK(caller->state == HTTP_CALLER_CLOSING);
    caller->state = HTTP_CALLER_CLOSED;
    if (caller->waiting) {
        caller->waiting = false;
        begin(caller);
    } else if (caller->owed) {
        tell(caller, caller->end);
    }
}

static const struct stream_user stream_user = {
    .connected = connected,
    .input = input,
    .sent = sent,
    .released = released,
};

/* --- the beginning ---------------------------------------------------------------------------- */

static void connect_next(struct http_caller *caller)
{
    static const struct endpoint any = {0};
    static const struct socket_options options = {.congestion = ""};
    if (caller->address_count == 0) {
        unresolved(caller, HTTP_CALL_NO_ADDRESS);
        return;
    }
    caller->state = HTTP_CALLER_CONNECTING;
    stream_connect(&caller->stream, caller->shard, &stream_user,
                   &caller->addresses[caller->turn % caller->address_count], &any, &options);
}

static void ask_for(struct http_caller *caller, enum dns_type type)
{
    caller->ask.question = (struct dns_question){.name = caller->url->host, .type = type};
    caller->asking = true;
    resolver_ask(caller->resolver, &caller->ask);
}

static void resolved(struct resolver_ask *ask, const struct dns_answer *answer,
                     uint64_t expires_ns, bool stale)
{
    struct http_caller *caller = CONTAINER_OF(ask, struct http_caller, ask);
    (void)expires_ns;
    (void)stale;
    caller->asking = false;
    for (unsigned i = 0; answer->status == DNS_OK && i < answer->count &&
                         caller->address_count < HTTP_CALLER_ADDRESSES_MAX; i++) {
        struct endpoint *address = &caller->addresses[caller->address_count++];
        *address = answer->records[i].address;
        address->port = caller->url->address.port;
    }
    if (ask->question.type == DNS_A) {
        ask_for(caller, DNS_AAAA);
    } else {
        connect_next(caller);
    }
}

static void add_loopback(struct http_caller *caller, struct slice text)
{
    struct endpoint *address = &caller->addresses[caller->address_count++];
    CHECK(endpoint_parse_address(text, address));
    address->port = caller->url->address.port;
}

static void begin(struct http_caller *caller)
{
    caller->reused = caller->state == HTTP_CALLER_IDLE;
    shard_timer_set(caller->shard, &caller->timer, caller->timeout_ns);
    if (caller->reused) {
        send_request(caller);
        return;
    }
    caller->state = HTTP_CALLER_RESOLVING;
    caller->address_count = 0;
    if (slice_equal(caller->url->host, SLICE("localhost"))) {
        add_loopback(caller, SLICE("127.0.0.1"));
        add_loopback(caller, SLICE("::1"));
    } else if (caller->url->host.size > 0) {
        ask_for(caller, DNS_A);
        return;
    } else {
        caller->addresses[caller->address_count++] = caller->url->address;
    }
    connect_next(caller);
}

/* --- from outside ----------------------------------------------------------------------------- */

void http_caller_init(struct http_caller *caller)
{
    caller->state = HTTP_CALLER_CLOSED;
    timer_init(&caller->timer, expire);
    resolver_ask_init(&caller->ask);
    caller->ask.done = resolved;
}

void http_caller_ask(struct http_caller *caller, struct slice head, struct slice body,
                     uint64_t timeout_ns)
{
    CHECK(!caller->owed && caller->state != HTTP_CALLER_OPEN);
    caller->owed = true;
    caller->head = head;
    caller->body = body;
    caller->timeout_ns = timeout_ns;
    if (caller->state == HTTP_CALLER_CLOSING) {
        caller->waiting = true;
    } else {
        begin(caller);
    }
}

void http_caller_close(struct http_caller *caller)
{
    caller->owed = false;
    caller->waiting = false;
    shard_timer_clear(caller->shard, &caller->timer);
    unask(caller);
    if (caller->state == HTTP_CALLER_RESOLVING) {
        caller->state = HTTP_CALLER_CLOSED;
    } else if (caller->state != HTTP_CALLER_CLOSED) {
        caller->state = HTTP_CALLER_CLOSING;
        stream_close(&caller->stream);
    }
}

bool http_caller_closed(const struct http_caller *caller)
{
    return caller->state == HTTP_CALLER_CLOSED;
}
