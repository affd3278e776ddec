#include "bench/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

#define COMMAND_BYTES_MAX 300u /* of one: an address with the longest domain */
#define RECONNECT_NS      (50 * NS_PER_MS)
#define RETRY_NS          (20 * NS_PER_MS)
#define OPENS_MAX         128u /* in a turn: rings have an end */
#define PACE_NS_MIN       (200 * NS_PER_US)
#define PACE_NS_MAX       (10 * NS_PER_MS)

static const uint8_t content_end[] = ".\r\n";

static void connection_drive(struct source_connection *connection);

bool source_mode_parse(const char *text, enum bench_mode *mode_out, struct buf *reason_out)
{
    if (!bench_mode_parse(slice_from_string(text), mode_out) || *mode_out == MODE_ALL) {
        buf_printf(reason_out, "--mode %s: " SOURCE_MODES, text);
        return false;
    }
    return true;
}

/* Of recipient `index`, from 1 on. */
static void put_address(struct buf *buf, unsigned index, struct slice domain)
{
    buf_put_byte(buf, 'r');
    buf_put_u64(buf, index);
    buf_put_byte(buf, '@');
    buf_put(buf, domain);
}

/* --- trouble ---------------------------------------------------------------------------------- */

static void note_trouble(struct source *source, const char *what, struct slice text)
{
    struct source_result *result = source->result;
    if (result->trouble[0] != 0) {
        return;
    }
    struct buf buf;
    buf_init(&buf, result->trouble, sizeof(result->trouble) - 1);
    buf_printf(&buf, "%s", what);
    for (size_t i = 0; i < text.size && buf_room(&buf) > 0; i++) {
        bool plain = text.data[i] >= ' ' && text.data[i] < 0x7f;
        buf_put_byte(&buf, plain ? text.data[i] : '?');
    }
}

static void note_reply(struct source_connection *connection)
{
    char what[32];
    struct buf buf;
    buf_init(&buf, what, sizeof(what) - 1);
    buf_printf(&buf, "reply %u ", connection->replies.reply.code);
    what[buf.size] = 0;
    note_trouble(connection->source, what, reply_text(&connection->replies.reply));
}

static void connection_close(struct source_connection *connection)
{
    shard_timer_clear(connection->source->shard, &connection->timer);
    if (connection->state == SOURCE_READY) {
        list_remove(&connection->link);
        connection->source->ready_count--;
    }
    connection->source->result->idle -= connection->state == SOURCE_IDLE;
    connection->state = SOURCE_AWAY;
    stream_close(&connection->stream);
}

/* The message whose content was sent got `reply`, or null: none will come. */
static void note_outcome(const struct source_connection *connection, const struct reply *reply)
{
    const struct source *source = connection->source;
    FILE *ledger = source->options.ledger;
    if (ledger == NULL || !connection->content_sent) {
        return;
    }
    ledger_put_entry(ledger, &(struct ledger_entry){
                                 .number = connection->number,
                                 .hash = connection->hash,
                                 .begun_ns = connection->sent_ns,
                                 .ended_ns = reply != NULL ? source->shard->now_ns : 0});
    unsigned count = 0;
    for (unsigned i = 0; i < source->options.rcpts; i++) {
        char address[COMMAND_BYTES_MAX];
        struct buf buf;
        buf_init(&buf, address, sizeof(address));
        if (connection->rcpt_domains[i].size > 0) {
            put_address(&buf, i + 1, connection->rcpt_domains[i]);
            ledger_put_recipient(ledger, count++, buf_slice(&buf));
        }
    }
    fputs(count == 0 ? "-" : "", ledger);
    if (reply != NULL) {
        ledger_put_reply(ledger, reply->code, reply_text(reply));
    } else {
        fputs(" -", ledger);
    }
    ledger_put_end(ledger);
}

/* The message at hand is answered, given up or in doubt: never sent again. */
static void message_over(struct source_connection *connection)
{
    connection->begun = false;
    connection->numbered = false;
    connection->content_sent = false;
}

/* The connection is of no more use; what it was sending is in doubt, or another's to send. */
static void connection_lost(struct source_connection *connection, const char *why)
{
    struct source *source = connection->source;
    if (connection->state != SOURCE_QUIT) {
        note_trouble(source, why, SLICE_NONE);
    }
    if (connection->content_sent) {
        source->result->lost++;
        note_outcome(connection, NULL);
        message_over(connection);
    } else if (connection->begun && !connection->numbered) {
        source->begun--;
        connection->begun = false;
    }
    connection_close(connection);
}

/* --- sending ---------------------------------------------------------------------------------- */

static void send_commands(struct source_connection *connection)
{
    CHECK(!connection->commands.overflow);
    struct iovec iovec = {.iov_base = connection->commands.data,
                          .iov_len = connection->commands.size};
    stream_send(&connection->stream, &iovec, 1);
}

static void send_text(struct source_connection *connection, struct slice text)
{
    buf_reset(&connection->commands);
    buf_put(&connection->commands, text);
    send_commands(connection);
}

static void put_rcpt(struct source_connection *connection, unsigned index)
{
    struct source *source = connection->source;
    struct buf *buf = &connection->commands;
    struct slice domain = domains_pick(source->options.domains, &source->shard->prng);
    connection->rcpt_domains[index - 1] = domain;
    buf_put(buf, SLICE("RCPT TO:<"));
    put_address(buf, index, domain);
    buf_put(buf, SLICE(">\r\n"));
}

static void put_command(struct source_connection *connection, unsigned step)
{
    if (step == 0) {
        struct source *source = connection->source;
        buf_put(&connection->commands, SLICE("MAIL FROM:<"));
        tally_put_sender(&connection->commands, source->options.first_sender + source->envelopes++);
        source->result->envelopes = source->envelopes;
        buf_put(&connection->commands, SLICE(">\r\n"));
    } else if (step <= connection->source->options.rcpts) {
        put_rcpt(connection, step);
    } else {
        buf_put(&connection->commands, SLICE("DATA\r\n"));
    }
}

/* Takes a number, unless the connection still has one from an attempt before. */
static void message_number(struct source_connection *connection)
{
    struct source *source = connection->source;
    if (connection->numbered) {
        return;
    }
    uint64_t index = source->numbered++;
    connection->number = source->options.first + index;
    connection->numbered = true;
    connection->timed_ns = source->shard->now_ns;
    if (source->options.rate > 0) {
        connection->timed_ns = source->due_start_ns + index * NS_PER_S / source->options.rate;
    }
    if (index < source->options.due_count) {
        source->options.due_ns[index] = connection->timed_ns;
    }
}

static struct iovec iovec_of(struct slice bytes)
{
    return (struct iovec){(void *)(uintptr_t)bytes.data, bytes.size};
}

/* What is in the command buffer, then content. */
static void send_content(struct source_connection *connection, bool dot)
{
    struct source *source = connection->source;
    struct slice header;
    struct slice lines;
    message_number(connection);
    connection->hash =
        body_make(&source->maker, connection->number, connection->header, &header, &lines);
    struct iovec iovecs[5];
    unsigned count = 0;
    if (connection->commands.size > 0) {
        iovecs[count++] = iovec_of(buf_slice(&connection->commands));
    }
    if (source->options.fields.size > 0) {
        iovecs[count++] = iovec_of(source->options.fields);
    }
    iovecs[count++] = iovec_of(header);
    iovecs[count++] = iovec_of(lines);
    if (dot) {
        iovecs[count++] = iovec_of(slice_make(content_end, 3));
    }
    connection->content_sent = true;
    connection->sent_ns = source->shard->now_ns;
    if (source->options.rate == 0) {
        connection->timed_ns = source->shard->now_ns;
    }
    stream_send(&connection->stream, iovecs, count);
}

static void send_bdat(struct source_connection *connection)
{
    const struct source_load *options = &connection->source->options;
    buf_reset(&connection->commands);
    for (unsigned step = 0; step <= options->rcpts; step++) {
        put_command(connection, step);
    }
    buf_put(&connection->commands, SLICE("BDAT "));
    buf_put_u64(&connection->commands, options->fields.size + options->size);
    buf_put(&connection->commands, SLICE(" LAST\r\n"));
    connection->state = SOURCE_COMMANDS;
    send_content(connection, false);
}

static void send_envelope(struct source_connection *connection)
{
    const struct source_load *options = &connection->source->options;
    unsigned last = options->mode == MODE_PLAIN ? 0 : options->rcpts + 1;
    buf_reset(&connection->commands);
    for (unsigned step = 0; step <= last; step++) {
        put_command(connection, step);
    }
    connection->state = SOURCE_COMMANDS;
    send_commands(connection);
}

static void connection_ready(struct source_connection *connection)
{
    struct source *source = connection->source;
    connection->state = SOURCE_READY;
    list_push_back(&source->ready, &connection->link);
    source->ready_count++;
    if (source->due_start_ns == 0 && source->ready_count >= source->ready_wanted) {
        source->due_start_ns = source->shard->now_ns + NS_PER_MS;
    }
}

static void message_begin(struct source_connection *connection)
{
    struct source *source = connection->source;
    connection->step = 0;
    connection->rcpts_taken = 0;
    connection->refusal = 0;
    if (source->result->first_ns == 0) {
        source->result->first_ns = source->shard->now_ns;
    }
    if (source->options.mode != MODE_BDAT) {
        send_envelope(connection);
    } else if (source->options.rate > 0 && !connection->numbered) {
        connection_ready(connection);
    } else {
        send_bdat(connection);
    }
}

/* The next message, QUIT, or nothing. */
static void connection_next(struct source_connection *connection)
{
    struct source *source = connection->source;
    if (source->begun < source->options.messages && !source->giving_up) {
        source->begun++;
        connection->begun = true;
        message_begin(connection);
        return;
    }
    if (source->options.idle) {
        connection->state = SOURCE_IDLE;
        source->result->idle++;
        return;
    }
    connection->state = SOURCE_QUIT;
    send_text(connection, SLICE("QUIT\r\n"));
}

/* A message is due, or all of them so far are under way: content goes out as connections allow. */
static void source_dispatch(struct source *source)
{
    uint64_t now_ns = source->shard->now_ns;
    while (source->ready_count > 0 && source->due_start_ns != 0 &&
           source->due_start_ns + source->numbered * NS_PER_S / source->options.rate <= now_ns) {
        struct list *node = list_pop_front(&source->ready);
        struct source_connection *connection = CONTAINER_OF(node, struct source_connection, link);
        source->ready_count--;
        if (source->options.mode == MODE_BDAT) {
            send_bdat(connection);
            continue;
        }
        connection->state = SOURCE_CONTENT;
        buf_reset(&connection->commands);
        send_content(connection, true);
    }
}

static void source_ticked(struct pacer *pacer)
{
    source_dispatch(CONTAINER_OF(pacer, struct source, pacer));
}

/* --- replies ---------------------------------------------------------------------------------- */

static void message_accepted(struct source_connection *connection)
{
    struct source *source = connection->source;
    struct source_result *result = source->result;
    uint64_t now_ns = source->shard->now_ns;
    result->accepted++;
    result->last_ns = now_ns;
    uint64_t begin_ns = MIN_OF(connection->timed_ns, now_ns);
    histogram_record(&result->latency, now_ns - begin_ns);
    message_over(connection);
    connection_next(connection);
}

/* 4xx: again after a while; 5xx: failed. Either way the transaction is cleared first. */
static void message_refused(struct source_connection *connection)
{
    struct source *source = connection->source;
    connection->content_sent = false; /* refused is not in doubt */
    if (connection->refusal >= 500 || source->giving_up) {
        source->result->failed++;
        message_over(connection);
        connection->state = SOURCE_RESET;
        send_text(connection, SLICE("RSET\r\n"));
        return;
    }
    source->result->tempfails++;
    connection->state = SOURCE_PAUSE;
    shard_timer_set(source->shard, &connection->timer, RETRY_NS);
}

static void note_refusal(struct source_connection *connection)
{
    note_reply(connection);
    if (connection->refusal == 0) {
        connection->refusal = connection->replies.reply.code;
    }
}

static void reply_final(struct source_connection *connection)
{
    note_outcome(connection, &connection->replies.reply);
    if (connection->replies.reply.code / 100 == 2 && connection->rcpts_taken > 0) {
        message_accepted(connection);
        return;
    }
    note_refusal(connection);
    message_refused(connection);
}

/* 354 or not. */
static void reply_data(struct source_connection *connection)
{
    struct source *source = connection->source;
    if (connection->replies.reply.code != 354) {
        note_refusal(connection);
        message_refused(connection);
        return;
    }
    if (connection->rcpts_taken == 0) {
        connection->state = SOURCE_CONTENT;
        send_text(connection, slice_make(content_end, 3)); /* RFC 2920 3.1 */
    } else if (source->options.rate > 0 && !connection->numbered) {
        connection_ready(connection);
        source_dispatch(source);
    } else {
        connection->state = SOURCE_CONTENT;
        buf_reset(&connection->commands);
        send_content(connection, true);
    }
}

static void reply_command(struct source_connection *connection)
{
    const struct source_load *options = &connection->source->options;
    unsigned step = connection->step++;
    bool good = connection->replies.reply.code / 100 == 2;
    if (step == options->rcpts + 1) {
        if (options->mode == MODE_BDAT) {
            reply_final(connection);
        } else {
            reply_data(connection);
        }
        return;
    }
    if (!good) {
        note_refusal(connection);
        if (step > 0) {
            connection->source->result->rcpts_refused++;
            connection->rcpt_domains[step - 1] = SLICE_NONE;
        }
    } else {
        connection->rcpts_taken += step > 0;
    }
    if (options->mode != MODE_PLAIN) {
        return;
    }
    bool hopeless = step == options->rcpts && connection->rcpts_taken == 0;
    if ((step == 0 && !good) || hopeless) {
        message_refused(connection);
        return;
    }
    buf_reset(&connection->commands);
    put_command(connection, connection->step);
    send_commands(connection);
}

static void reply_hello(struct source_connection *connection)
{
    if (connection->replies.reply.code / 100 != 2) {
        note_reply(connection);
        connection_lost(connection, "");
    } else if (connection->state == SOURCE_GREETING) {
        connection->state = SOURCE_HELLO;
        send_text(connection, SLICE("EHLO source.test\r\n"));
    } else if (connection->begun) {
        message_begin(connection); /* refused on a connection that then broke */
    } else {
        connection_next(connection);
    }
}

static void reply_reset(struct source_connection *connection)
{
    if (connection->begun) {
        message_begin(connection);
    } else {
        connection_next(connection);
    }
}

static void connection_reply(struct source_connection *connection)
{
    connection->source->alive_ns = connection->source->shard->now_ns;
    if (connection->replies.reply.code == 421 && connection->state != SOURCE_QUIT) {
        note_reply(connection);
        connection->source->result->tempfails++;
        note_outcome(connection, &connection->replies.reply);
        connection->content_sent = false; /* 421 is a refusal */
        connection_lost(connection, "");
        return;
    }
    switch ((enum source_state)connection->state) {
    case SOURCE_GREETING:
    case SOURCE_HELLO:
        reply_hello(connection);
        return;
    case SOURCE_COMMANDS:
        reply_command(connection);
        return;
    case SOURCE_CONTENT:
        reply_final(connection);
        return;
    case SOURCE_RESET:
        reply_reset(connection);
        return;
    case SOURCE_QUIT:
        connection_close(connection);
        return;
    case SOURCE_AWAY:
    case SOURCE_CONNECTING:
    case SOURCE_READY:
    case SOURCE_PAUSE:
    case SOURCE_IDLE:
    case SOURCE_DONE:
        break;
    }
    connection_lost(connection, "a reply that nothing was asked for");
}

/* --- the connection --------------------------------------------------------------------------- */

/* One whole reply; false when there is none yet, or the connection is lost. */
static bool take_reply(struct source_connection *connection)
{
    struct stream *stream = &connection->stream;
    for (struct slice input = stream_input(stream); input.size > 0;
         input = stream_input(stream)) {
        size_t before = input.size;
        enum reply_status status = reply_feed(&connection->replies, &input);
        stream_consume(stream, before - input.size);
        if (status == REPLY_WHOLE) {
            return true;
        }
        if (status == REPLY_FAULT) {
            connection_lost(connection, connection->replies.fault);
            return false;
        }
    }
    return false;
}

static void connection_drive(struct source_connection *connection)
{
    struct stream *stream = &connection->stream;
    while (connection->state != SOURCE_AWAY && !stream_sending(stream)) {
        if (!take_reply(connection)) {
            break;
        }
        connection_reply(connection);
    }
    if (connection->state != SOURCE_AWAY && stream->end != STREAM_OPEN &&
        stream_input(stream).size == 0) {
        connection_lost(connection, "the connection broke");
    }
}

static void connection_open(struct source_connection *connection)
{
    static const struct endpoint any = {0};
    struct source *source = connection->source;
    connection->state = SOURCE_CONNECTING;
    reply_parser_init(&connection->replies);
    stream_connect(&connection->stream, source->shard, connection->stream.user,
                   &source->options.connect, &any, &source->options.socket);
}

static void connection_timer(struct timer *timer)
{
    struct source_connection *connection = CONTAINER_OF(timer, struct source_connection, timer);
    if (connection->state == SOURCE_PAUSE) {
        connection->state = SOURCE_RESET;
        send_text(connection, SLICE("RSET\r\n"));
        return;
    }
    connection->source->result->reconnects++;
    connection_open(connection);
}

static void connection_connected(struct stream *stream, enum stream_end end)
{
    struct source_connection *connection = CONTAINER_OF(stream, struct source_connection, stream);
    if (end != STREAM_OPEN) {
        connection_lost(connection, "no connection");
        return;
    }
    connection->state = SOURCE_GREETING;
    connection_drive(connection);
}

static void connection_input(struct stream *stream)
{
    connection_drive(CONTAINER_OF(stream, struct source_connection, stream));
}

static void connection_sent(struct stream *stream, enum stream_end end)
{
    struct source_connection *connection = CONTAINER_OF(stream, struct source_connection, stream);
    if (end != STREAM_OPEN) {
        connection_lost(connection, "the connection broke");
        return;
    }
    connection_drive(connection);
}

static void connection_done(struct source_connection *connection)
{
    struct source *source = connection->source;
    if (connection->begun) {
        source->result->failed++;
        message_over(connection);
    }
    connection->state = SOURCE_DONE;
    source->done_count++;
    if (source->done_count == source->options.connections && source->pacing) {
        pacer_stop(&source->pacer);
    }
}

/* The stream is gone: is there more to do, and is the server still there? */
static void connection_released(struct stream *stream)
{
    struct source_connection *connection = CONTAINER_OF(stream, struct source_connection, stream);
    struct source *source = connection->source;
    bool more = connection->begun || source->begun < source->options.messages;
    bool patient = source->shard->now_ns - source->alive_ns < source->options.retry_ns;
    if (more && patient && !source->giving_up) {
        shard_timer_set(source->shard, &connection->timer, RECONNECT_NS);
        return;
    }
    source->giving_up = source->giving_up || more;
    connection_done(connection);
}

static const struct stream_user connection_user = {
    .connected = connection_connected,
    .input = connection_input,
    .sent = connection_sent,
    .released = connection_released,
};

/* --- life ------------------------------------------------------------------------------------- */

static void source_open(struct deferred *deferred)
{
    struct source *source = CONTAINER_OF(deferred, struct source, opener);
    unsigned end = MIN_OF(source->opened + OPENS_MAX, source->options.connections);
    while (source->opened < end) {
        connection_open(&source->connections[source->opened++]);
    }
    if (source->opened < source->options.connections) {
        shard_defer(source->shard, deferred);
    }
}

static bool source_make(struct source *source)
{
    size_t command_bytes = (source->options.rcpts + 3) * (size_t)COMMAND_BYTES_MAX;
    unsigned count = source->options.connections;
    source->connections = calloc(count, sizeof(struct source_connection));
    source->command_bytes = malloc(count * command_bytes);
    source->rcpt_domains = calloc((size_t)count * source->options.rcpts, sizeof(struct slice));
    if (source->connections == NULL || source->command_bytes == NULL ||
        source->rcpt_domains == NULL ||
        !body_maker_init(&source->maker, source->options.size)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct source_connection *connection = &source->connections[i];
        connection->source = source;
        connection->stream.user = &connection_user;
        list_init(&connection->link);
        timer_init(&connection->timer, connection_timer);
        buf_init(&connection->commands, source->command_bytes + i * command_bytes, command_bytes);
        connection->rcpt_domains = source->rcpt_domains + (size_t)i * source->options.rcpts;
    }
    return true;
}

int source_start(struct source *source, struct shard *shard,
                 const struct source_load *options, struct source_result *result)
{
    CHECK(options->connections > 0 && options->connections <= SOURCE_CONNECTIONS_MAX);
    CHECK(options->rcpts > 0 && options->rcpts <= SOURCE_RCPTS_MAX);
    CHECK(options->mode != MODE_ALL);
    *source = (struct source){
        .shard = shard, .options = *options, .result = result, .alive_ns = shard->now_ns};
    source->ready_wanted =
        (unsigned)MIN_OF((uint64_t)options->connections, options->messages);
    deferred_init(&source->opener, source_open);
    list_init(&source->ready);
    histogram_init(&result->latency);
    if (!source_make(source)) {
        source_fini(source);
        return -ENOMEM;
    }
    if (options->rate > 0) {
        uint64_t interval_ns = NS_PER_S / options->rate;
        interval_ns = MIN_OF(MAX_OF(interval_ns, PACE_NS_MIN), PACE_NS_MAX);
        int error = pacer_start(&source->pacer, shard, interval_ns, source_ticked);
        if (error != 0) {
            source_fini(source);
            return error;
        }
        source->pacing = true;
    }
    source_open(&source->opener);
    return 0;
}

bool source_stalled(const struct source *source, uint64_t silent_ns)
{
    return source->shard->now_ns - source->alive_ns > silent_ns;
}

void source_stop(struct source *source)
{
    if (source->stopping) {
        return;
    }
    source->stopping = true;
    source->giving_up = true;
    deferred_cancel(&source->opener);
    for (unsigned i = 0; i < source->options.connections; i++) {
        struct source_connection *connection = &source->connections[i];
        if (i >= source->opened) {
            connection_done(connection);
        } else if (timer_is_set(&connection->timer) && connection->state == SOURCE_AWAY) {
            shard_timer_clear(source->shard, &connection->timer);
            connection_done(connection);
        } else if (connection->state != SOURCE_AWAY && connection->state != SOURCE_DONE) {
            connection_lost(connection, "stopped");
        }
    }
}

bool source_done(const struct source *source)
{
    return source->done_count == source->options.connections &&
           (!source->pacing || source->pacer.stopped);
}

void source_fini(struct source *source)
{
    free(source->connections);
    free(source->command_bytes);
    free(source->rcpt_domains);
    body_maker_fini(&source->maker);
    source->connections = NULL;
    source->command_bytes = NULL;
    source->rcpt_domains = NULL;
}
