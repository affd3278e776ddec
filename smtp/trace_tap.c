#include "smtp/trace_tap.h"

#include <string.h>

#include "core/check.h"
#include "core/json_member.h"
#include "smtp/command.h"
#include "smtp/delivery.h"
#include "smtp/server_trace.h"
#include "smtp/trace.h"
#include "smtp/egress_trace.h"

/* Connections looked at in one turn when a tracer starts or stops. */
#define LOOKS_MAX 1024u

void trace_tap_init(struct trace_tap *tap, struct shard *shard, struct server *server,
                    struct delivery *delivery)
{
    *tap = (struct trace_tap){.shard = shard, .server = server, .delivery = delivery};
}

/* --- batches ---------------------------------------------------------------------------------- */

static void batch_home(struct shard *shard, struct mail *mail)
{
    struct trace_batch *batch = CONTAINER_OF(mail, struct trace_batch, mail);
    (void)shard;
    batch->part->full(batch);
}

static void batch_send(struct trace_part *part)
{
    struct trace_batch *batch = part->open;
    part->open = NULL;
    part->away++;
    batch->mail.arrive = batch_home;
    shard_send(part->tap->shard, part->registrar, &batch->mail);
}

/* One that has room for more; null: all are away. */
static struct trace_batch *batch_open(struct trace_part *part)
{
    if (part->open == NULL && part->free_count > 0) {
        part->open = part->free[--part->free_count];
        part->open->size = 0;
    }
    return part->open;
}

/* What was put behind the place for its size is an event. False: it did not fit. */
static bool batch_close(struct trace_batch *batch, const struct buf *buf)
{
    uint32_t size = (uint32_t)buf->size;
    if (buf->overflow) {
        return false;
    }
    memcpy(batch->bytes + batch->size, &size, sizeof(size));
    batch->size += (uint32_t)sizeof(size) + size;
    return true;
}

/* Room for an event in this batch. */
static struct buf batch_room(struct trace_batch *batch)
{
    struct buf buf;
    size_t at = MIN_OF(batch->size + sizeof(uint32_t), (size_t)TRACE_BATCH_BYTES);
    buf_init(&buf, batch->bytes + at, TRACE_BATCH_BYTES - at);
    return buf;
}

/* --- events ----------------------------------------------------------------------------------- */

static void put_meta(struct json *json, const struct trace_event *event)
{
    const struct trace_session *session = event->session;
    json_object(json);
    json_member_id(json, "session_id", event->id);
    if (event->side == TRACE_SERVER) {
        json_member_endpoint(json, "received_from", &session->peer);
        json_member_endpoint(json, "received_via", &session->local);
    } else {
        json_member_text(json, "ready_queue", session->ready_queue);
        json_member_text(json, "egress_source", session->egress_source);
        json_member_text(json, "mx_host", session->mx_host);
        json_member_endpoint(json, "mx_addr", &session->peer);
        json_member_endpoint(json, "source_addr", &session->local);
    }
    if (event->transaction != NULL && event->transaction->queue.size > 0) {
        json_member_text(json, "queue", event->transaction->queue);
    }
    json_object_end(json);
}

static void put_said(struct json *json, const char *name, struct slice text)
{
    json_object(json);
    json_key(json, name);
    json_string(json, text);
    json_object_end(json);
}

static void put_content(struct json *json, const char *name, const struct trace_event *event)
{
    json_object(json);
    json_key(json, name);
    json_object(json);
    json_key(json, "snippet");
    json_string(json, event->text);
    json_member_u64(json, "len", event->bytes);
    json_object_end(json);
    json_object_end(json);
}

static void put_diagnostic(struct json *json, struct slice text)
{
    json_object(json);
    json_key(json, "Diagnostic");
    json_object(json);
    json_member_word(json, "level", "INFO");
    json_key(json, "message");
    json_string(json, text);
    json_object_end(json);
    json_object_end(json);
}

static void put_payload(struct json *json, const struct trace_event *event, struct slice text)
{
    switch (event->kind) {
    case TRACE_CONNECTED:
        json_string(json, SLICE("Connected"));
        return;
    case TRACE_CLOSED:
        json_string(json, SLICE("Closed"));
        return;
    case TRACE_READ:
        put_said(json, "Read", text);
        return;
    case TRACE_WRITE:
        put_said(json, "Write", text);
        return;
    case TRACE_READ_CONTENT:
        put_content(json, "AbbreviatedRead", event);
        return;
    case TRACE_WRITE_CONTENT:
        put_content(json, "AbbreviatedWrite", event);
        return;
    case TRACE_DIAGNOSTIC:
        put_diagnostic(json, text);
        return;
    }
    CHECK(false);
}

static void put_event(struct buf *buf, const struct trace_part *part,
                      const struct trace_event *event, struct slice text)
{
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    json_key(&json, "conn_meta");
    put_meta(&json, event);
    json_key(&json, "payload");
    put_payload(&json, event, text);
    json_member_time(&json, "when", part->tap->shard->wall_ns);
    json_object_end(&json);
}

/* {"lost":N}, before anything that comes after. */
static void tell_lost(struct trace_part *part, struct trace_batch *batch)
{
    struct buf buf = batch_room(batch);
    struct json json;
    if (part->lost == 0) {
        return;
    }
    json_init(&json, &buf);
    json_object(&json);
    json_member_u64(&json, "lost", part->lost);
    json_object_end(&json);
    if (batch_close(batch, &buf)) {
        part->lost = 0;
    }
}

static bool part_try(struct trace_part *part, const struct trace_event *event, struct slice text)
{
    struct trace_batch *batch = batch_open(part);
    if (batch == NULL) {
        return false;
    }
    tell_lost(part, batch);
    struct buf buf = batch_room(batch);
    put_event(&buf, part, event, text);
    return batch_close(batch, &buf);
}

/* One event, in a fresh batch where the open one has no room left. */
static void part_put(struct trace_part *part, const struct trace_event *event, struct slice text)
{
    if (part_try(part, event, text)) {
        return;
    }
    if (part->open != NULL && part->open->size > 0) {
        batch_send(part);
        if (part_try(part, event, text)) {
            return;
        }
    }
    part->lost++;
}

static struct slice first_line(struct slice text)
{
    size_t end = slice_find(text, '\n');
    return slice_first(text, MIN_OF(end + 1, text.size));
}

static void part_hear(struct trace_part *part, const struct trace_event *event)
{
    struct slice text = part->tracer->filter.terse ? first_line(event->text) : event->text;
    do {
        struct slice piece = slice_first(text, MIN_OF(text.size, (size_t)TRACE_TEXT_MAX));
        part_put(part, event, piece);
        text = slice_skip(text, piece.size);
    } while (text.size > 0);
    if (part->away == 0 && part->open != NULL) {
        shard_defer(part->tap->shard, &part->step); /* at the end of this turn */
    }
}

void trace_tap_put(struct trace_tap *tap, uint8_t tracers, const struct trace_event *event)
{
    static const struct trace_transaction none;
    unsigned here = tracers & (event->side == TRACE_SERVER ? tap->servers : tap->clients);
    const struct trace_transaction *transaction =
        event->transaction != NULL ? event->transaction : &none;
    for (; here != 0; here &= here - 1) {
        struct trace_part *part = tap->parts[__builtin_ctz(here)];
        const struct trace_filter *filter = &part->tracer->filter;
        if (trace_filter_fits_session(filter, event->session) &&
            trace_filter_fits_transaction(filter, transaction) &&
            (!filter->only_one || tracer_claims(part->tracer, event->id))) {
            part_hear(part, event);
        }
    }
}

uint8_t trace_tap_wants(const struct trace_tap *tap, enum trace_side side, const struct id *id,
                        const struct trace_session *session)
{
    unsigned here = side == TRACE_SERVER ? tap->servers : tap->clients;
    uint8_t wants = 0;
    for (; here != 0; here &= here - 1) {
        unsigned slot = (unsigned)__builtin_ctz(here);
        const struct tracer *tracer = tap->parts[slot]->tracer;
        bool fits = side == TRACE_CLIENT || trace_filter_fits_session(&tracer->filter, session);
        if (fits && (!tracer->filter.only_new || id_ms(id) >= tracer->since_ms)) {
            wants |= (uint8_t)(1u << slot);
        }
    }
    return wants;
}

/* --- secrets ---------------------------------------------------------------------------------- */

void trace_put_line(struct buf *buf, struct slice line, bool *secret)
{
    struct command command;
    size_t end = slice_find(line, '\r');
    end = MIN_OF(end, slice_find(line, '\n'));
    struct slice words = slice_first(line, end);
    (void)command_parse(words, &command);
    bool auth = words.size >= 5 && slice_equal_nocase(slice_first(words, 5), SLICE("AUTH "));
    bool follows = *secret && command.verb == VERB_UNKNOWN;
    *secret = auth || follows;
    if (auth) {
        struct slice rest = slice_skip(words, 5);
        size_t mechanism = slice_find(rest, ' ');
        buf_put(buf, slice_first(words, 5 + mechanism));
        buf_put(buf, mechanism < rest.size ? SLICE(" [secret]") : SLICE_NONE);
    } else {
        buf_put(buf, follows ? SLICE("[secret]") : words);
    }
    buf_put(buf, slice_skip(line, end));
}

/* --- parts ------------------------------------------------------------------------------------ */

static void part_arrive_home(struct shard *shard, struct mail *mail)
{
    struct trace_part *part = CONTAINER_OF(mail, struct trace_part, mail);
    (void)shard;
    part->home(part);
}

static void part_go_home(struct trace_part *part)
{
    part->mail.arrive = part_arrive_home;
    shard_send(part->tap->shard, part->registrar, &part->mail);
}

static uint8_t part_bit(const struct trace_part *part)
{
    return (uint8_t)(1u << part->tracer->slot);
}

static bool is_client(const struct trace_part *part)
{
    return part->tracer->filter.side == TRACE_CLIENT;
}

/* Some more of the connections that are open. True: that were all. */
static bool part_look(struct trace_part *part)
{
    struct trace_tap *tap = part->tap;
    uint8_t bit = part_bit(part);
    uint32_t end = part->next + LOOKS_MAX;
    return is_client(part) ? egress_trace_mark(tap->delivery, &part->next, end, bit)
                           : server_trace_mark(tap->server, &part->next, end, bit);
}

/* START: all that are open have been looked at. STOP: none has it any more, and all is here. */
static void part_step(struct deferred *deferred)
{
    struct trace_part *part = CONTAINER_OF(deferred, struct trace_part, step);
    struct trace_tap *tap = part->tap;
    if (part->next != UINT32_MAX) {
        if (!part_look(part)) {
            shard_defer(tap->shard, &part->step);
            return;
        }
        part->next = UINT32_MAX;
        if (!part->stops) {
            part_go_home(part);
        }
    }
    if (part->stops) {
        if (part->away == 0) {
            deferred_cancel(&part->step);
            part_go_home(part);
        }
    } else if (part->away == 0 && part->open != NULL && part->open->size > 0) {
        batch_send(part);
    }
}

static void start_arrive(struct shard *shard, struct mail *mail)
{
    struct trace_part *part = CONTAINER_OF(mail, struct trace_part, mail);
    struct trace_tap *tap = part->tap;
    uint8_t *side = is_client(part) ? &tap->clients : &tap->servers;
    part->next = 0;
    part->stops = false;
    deferred_init(&part->step, part_step);
    tap->parts[part->tracer->slot] = part;
    *side |= part_bit(part);
    shard_defer(shard, &part->step);
}

static void stop_arrive(struct shard *shard, struct mail *mail)
{
    struct trace_part *part = CONTAINER_OF(mail, struct trace_part, mail);
    struct trace_tap *tap = part->tap;
    uint8_t *side = is_client(part) ? &tap->clients : &tap->servers;
    part->next = 0;
    part->stops = true;
    *side &= (uint8_t)~part_bit(part);
    tap->parts[part->tracer->slot] = NULL;
    shard_defer(shard, &part->step);
}

void trace_part_send(struct trace_part *part, struct shard *shard, bool start)
{
    part->mail.arrive = start ? start_arrive : stop_arrive;
    shard_send(shard, part->tap->shard->index, &part->mail);
}

static void batch_arrive(struct shard *shard, struct mail *mail)
{
    struct trace_batch *batch = CONTAINER_OF(mail, struct trace_batch, mail);
    struct trace_part *part = batch->part;
    part->away--;
    part->free[part->free_count++] = batch;
    if (!part->stops && part->lost > 0) {
        tell_lost(part, batch_open(part));
    }
    shard_defer(shard, &part->step);
}

void trace_batch_return(struct trace_batch *batch, struct shard *shard)
{
    batch->mail.arrive = batch_arrive;
    shard_send(shard, batch->part->tap->shard->index, &batch->mail);
}
