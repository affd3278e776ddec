#include "tsa/subscriber.h"

#include <assert.h>
#include <stdio.h>

#include "core/backoff.h"
#include "core/base64.h"
#include "core/check.h"
#include "core/shaping.h"
#include "tsa/hub.h"

static_assert(CHANGE_TEXT_BYTES_MAX >= HUB_MESSAGE_BYTES_MAX, "whatever a daemon says is heard");

/* --- what is said ----------------------------------------------------------------------------- */

static void say(const struct subscriber_url *url, const char *state, const char *error)
{
    struct logline line;
    logline_begin(&line, "subscribe");
    logline_text(&line, "url", url->url->text);
    logline_string(&line, "state", state);
    if (error != NULL) {
        logline_string(&line, "error", error);
    }
    logline_end(&line, &url->subscriber->sink);
}

/* --- ends ------------------------------------------------------------------------------------- */

static void end(struct subscriber_url *url)
{
    url->open = false;
    url->well = false;
    websocket_fini(&url->websocket);
    url->websocket = (struct websocket){0};
    http_caller_close(&url->caller);
}

/* A first failure is said when it is followed by a second one: a connection may break. */
static void fail(struct subscriber_url *url, const char *error)
{
    struct shard *shard = url->subscriber->shard;
    end(url);
    url->counts.failures++;
    url->failures++;
    if (url->failures > 1 && !url->failing) {
        url->failing = true;
        say(url, "failing", error);
    }
    shard_timer_set(shard, &url->timer,
                    backoff_ns(url->failures, SUBSCRIBER_PAUSE_MIN_NS, SUBSCRIBER_PAUSE_MAX_NS,
                               &shard->prng));
}

/* What comes next would be guessed: a snapshot is wanted. */
static void fail_anew(struct subscriber_url *url, const char *error)
{
    url->number = 0;
    fail(url, error);
}

static void is_well(struct subscriber_url *url)
{
    if (!url->well) {
        url->well = true;
        url->failing = false;
        url->failures = 0;
        say(url, "connected", NULL);
    }
}

/* --- changes ---------------------------------------------------------------------------------- */

static void not_taken(void *context, const struct shaping_override *row, struct slice why)
{
    (void)context;
    (void)row;
    (void)why;
}

/* Would a path take this option? Ours might be older or newer than the daemon. */
static bool is_option(const struct automation_effect *effect)
{
    const struct shaping_override row = {.domain = effect->domain,
                                         .source = effect->source,
                                         .rollup = effect->rollup,
                                         .name = effect->name,
                                         .value = effect->value};
    if (effect->kind != SHAPING_SET_CONFIG && effect->kind != SHAPING_SET_DOMAIN_CONFIG) {
        return true;
    }
    struct shaping_overrides *overrides = shaping_overrides_new(&row, 1, not_taken, NULL);
    bool good = shaping_overrides_count(overrides) == 1;
    shaping_overrides_free(overrides);
    return good;
}

static void apply(struct subscriber_url *url, const struct change_message *message)
{
    struct subscriber *subscriber = url->subscriber;
    const struct automation_effect *effect = &message->effect;
    bool over = effect->expires_ns <= subscriber->shard->wall_ns;
    url->counts.changes++;
    subscriber->touched = true;
    subscriber->taking(subscriber, message->snapshot ? 0 : effect->event_ns);
    if (message->what == CHANGE_CANCELLED) {
        merge_release(&subscriber->merge, url->source, effect);
    } else if (!over && (!is_option(effect) ||
                         !merge_hold(&subscriber->merge, url->source, effect))) {
        url->counts.refused++;
    }
}

/* False: the connection has ended. */
static bool take_snapshot(struct subscriber_url *url, const struct change_message *message)
{
    struct merge *merge = &url->subscriber->merge;
    if (!url->in_snapshot) {
        url->in_snapshot = true;
        merge_begin(merge, url->source);
    }
    if (message->what == CHANGE_COMPLETE) {
        url->subscriber->touched = true;
        url->subscriber->taking(url->subscriber, 0);
        merge_complete(merge, url->source);
        url->counts.snapshots++;
        url->in_snapshot = false;
        url->number = message->number;
        url->epoch = message->epoch;
    } else {
        apply(url, message);
    }
    return true;
}

static bool take_change(struct subscriber_url *url, const struct change_message *message)
{
    if (url->in_snapshot || message->number != url->number + 1 ||
        !id_equal(&message->epoch, &url->epoch)) {
        url->counts.gaps++;
        fail_anew(url, "a gap");
        return false;
    }
    url->number = message->number;
    apply(url, message);
    return true;
}

static bool take_message(struct subscriber_url *url)
{
    struct change_message message;
    const char *fault = change_read(&url->subscriber->text, websocket_message(&url->websocket),
                                    url->subscriber->shard->wall_ns, &message);
    if (fault != NULL) {
        fail_anew(url, fault);
        return false;
    }
    bool good = message.snapshot ? take_snapshot(url, &message) : take_change(url, &message);
    if (good && !url->in_snapshot) {
        is_well(url);
    }
    return good;
}

/* --- frames ----------------------------------------------------------------------------------- */

/* While one is on its way the next ping waits for the one behind it. */
static void pong(struct subscriber_url *url)
{
    if (stream_sending(&url->caller.stream)) {
        return;
    }
    buf_init(&url->output, url->output_bytes, sizeof(url->output_bytes));
    CHECK(websocket_put_pong(&url->websocket, &url->output, websocket_control(&url->websocket)));
    const struct iovec iovec = {.iov_base = url->output.data, .iov_len = url->output.size};
    stream_send(&url->caller.stream, &iovec, 1);
}

/* One step of what stands in `input`. False: the connection has ended, or all is taken. */
static bool take_frame(struct subscriber_url *url, struct slice *input)
{
    switch (websocket_feed(&url->websocket, input)) {
    case WEBSOCKET_MORE:
        return false;
    case WEBSOCKET_TEXT:
        return take_message(url);
    case WEBSOCKET_PING:
        is_well(url);
        pong(url);
        return true;
    case WEBSOCKET_PONG:
        return true;
    case WEBSOCKET_CLOSE:
        fail(url, "closed by the daemon");
        return false;
    case WEBSOCKET_BAD:
        fail_anew(url, "no WebSocket");
        return false;
    }
    CHECK(false);
}

static void hear(struct subscriber_url *url)
{
    struct stream *stream = &url->caller.stream;
    while (url->open && stream_held_bytes(stream) > 0) {
        struct slice input = stream_input(stream);
        size_t held = input.size;
        while (take_frame(url, &input)) {
        }
        if (url->open) {
            stream_consume(stream, held - input.size);
        }
    }
    if (url->open && stream->end != STREAM_OPEN) {
        fail(url, "cut off");
    }
    if (url->subscriber->touched) {
        url->subscriber->touched = false;
        url->subscriber->taken(url->subscriber);
    }
}

/* --- the connection --------------------------------------------------------------------------- */

static bool is_answer(const struct subscriber_url *url)
{
    uint8_t accept[WEBSOCKET_ACCEPT_BYTES];
    websocket_accept(slice_make(url->key, sizeof(url->key)), accept);
    return slice_equal(buf_slice(&url->caller.response.accept),
                       slice_make(accept, sizeof(accept)));
}

static void begin(struct subscriber_url *url)
{
    struct subscriber *subscriber = url->subscriber;
    if (!is_answer(url)) {
        fail(url, "it answers another handshake");
        return;
    }
    if (!websocket_init(&url->websocket, WEBSOCKET_CLIENT, url->message, sizeof(url->message),
                        prng_next(&subscriber->shard->prng))) {
        fail(url, "no memory");
        return;
    }
    url->open = true;
    url->in_snapshot = false;
    shard_timer_set(subscriber->shard, &url->timer, SUBSCRIBER_SILENCE_NS);
    hear(url);
}

static void done(struct http_caller *caller, enum http_call_end how)
{
    struct subscriber_url *url = CONTAINER_OF(caller, struct subscriber_url, caller);
    char error[32];
    if (how == HTTP_CALL_UPGRADED) {
        begin(url);
    } else if (how == HTTP_CALL_ANSWERED) {
        snprintf(error, sizeof(error), "status %u", caller->response.status);
        fail(url, error);
    } else {
        fail(url, http_call_end_name(how));
    }
}

static void input(struct http_caller *caller)
{
    struct subscriber_url *url = CONTAINER_OF(caller, struct subscriber_url, caller);
    shard_timer_set(url->subscriber->shard, &url->timer, SUBSCRIBER_SILENCE_NS);
    hear(url);
}

static void sent(struct http_caller *caller, enum stream_end how)
{
    (void)caller;
    (void)how; /* a send that fails ends the input, too */
}

static const struct http_caller_user caller_user = {.done = done, .input = input, .sent = sent};

static void connect(struct subscriber_url *url)
{
    uint8_t random[16];
    struct buf buf;
    const struct conf_tsa *conf = url->subscriber->conf;
    ring_entropy(url->subscriber->shard->ring, random, sizeof(random));
    buf_init(&buf, url->key, sizeof(url->key));
    base64_put(&buf, slice_make(random, sizeof(random)));
    buf_init(&buf, url->head, sizeof(url->head));
    buf_put(&buf, SLICE("GET /subscribe_event_v2"));
    if (url->number > 0) {
        buf_put(&buf, SLICE("?after="));
        buf_put_u64(&buf, url->number);
        buf_put(&buf, SLICE("&epoch="));
        id_put(&buf, &url->epoch);
    }
    buf_put(&buf, SLICE(" HTTP/1.1\r\nHost: "));
    buf_put(&buf, url->url->where);
    buf_put(&buf, SLICE("\r\nUser-Agent: ringpostd/" RINGPOST_VERSION
                        "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "));
    buf_put(&buf, slice_make(url->key, sizeof(url->key)));
    if (conf->token.size > 0) {
        buf_put(&buf, SLICE("\r\nAuthorization: Bearer "));
        buf_put(&buf, conf->token);
    }
    buf_put(&buf, SLICE("\r\n\r\n"));
    CHECK(!buf.overflow);
    http_caller_ask(&url->caller, buf_slice(&buf), SLICE_NONE, SUBSCRIBER_TIMEOUT_NS);
}

static void fire(struct timer *timer)
{
    struct subscriber_url *url = CONTAINER_OF(timer, struct subscriber_url, timer);
    if (url->open) {
        fail(url, "silent");
    } else {
        connect(url);
    }
}

/* --- from outside ----------------------------------------------------------------------------- */

void subscriber_init(struct subscriber *subscriber, struct boot_pages *pages)
{
    size_t count = subscriber->conf->subscribe_count;
    if (count == 0) {
        return;
    }
    change_text_init(&subscriber->text, subscriber->heap);
    merge_init(&subscriber->merge, subscriber->heap, subscriber->automation, (unsigned)count);
    subscriber->urls = boot_pages_take(pages, count * sizeof(struct subscriber_url));
    subscriber->count = (unsigned)count;
    for (unsigned i = 0; i < count; i++) {
        struct subscriber_url *url = &subscriber->urls[i];
        url->subscriber = subscriber;
        url->url = &subscriber->conf->subscribe[i];
        url->source = i;
        url->caller.shard = subscriber->shard;
        url->caller.resolver = subscriber->resolver;
        url->caller.url = url->url;
        url->caller.user = &caller_user;
        http_caller_init(&url->caller);
        timer_init(&url->timer, fire);
    }
}

void subscriber_start(struct subscriber *subscriber)
{
    if (subscriber->count > 0) {
        merge_restored(&subscriber->merge);
    }
    for (unsigned i = 0; i < subscriber->count; i++) {
        if (!subscriber->urls[i].stopped) {
            connect(&subscriber->urls[i]);
        }
    }
}

void subscriber_stop(struct subscriber *subscriber)
{
    for (unsigned i = 0; i < subscriber->count; i++) {
        struct subscriber_url *url = &subscriber->urls[i];
        if (!url->stopped) {
            url->stopped = true;
            shard_timer_clear(subscriber->shard, &url->timer);
            end(url);
        }
    }
}

bool subscriber_idle(const struct subscriber *subscriber)
{
    bool idle = true;
    for (unsigned i = 0; i < subscriber->count; i++) {
        idle = idle && http_caller_closed(&subscriber->urls[i].caller);
    }
    return idle;
}

void subscriber_fini(struct subscriber *subscriber)
{
    for (unsigned i = 0; i < subscriber->count; i++) {
        websocket_fini(&subscriber->urls[i].websocket);
    }
    if (subscriber->count > 0) {
        change_text_fini(&subscriber->text);
    }
}
