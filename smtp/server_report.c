#include "smtp/server_report.h"

#include "core/check.h"
#include "smtp/envelope.h"
#include "smtp/metadata.h"
#include "smtp/mime_field.h"
#include "smtp/reference.h"
#include "smtp/relay.h"
#include "smtp/report_advise.h"
#include "smtp/report_log.h"
#include "smtp/route.h"

#define METADATA_BYTES_MAX (4 * KIB + REFERENCE_KEPT_BYTES_MAX)
#define ENVELOPE_BYTES                                                                             \
    ((REPORT_RECIPIENTS_MAX + 1) * (ADDRESS_BYTES_MAX + ENVELOPE_RECIPIENT_OVERHEAD))

static const char no_memory[] = "452 4.3.1 Insufficient memory";

/* The configuration that the transaction began with. */
static const struct conf *conf_of(const struct server_conn *conn)
{
    return conn->lease == NULL ? conn->server->conf : conn->lease->conf;
}

/* What mail to this recipient may be. */
static struct relay_fate fate_of(const struct server_conn *conn, struct slice sender,
                                 struct slice domain)
{
    const struct relay_question question = {
        .conf = conf_of(conn),
        .listen = &conn->listener->conf->listen,
        .peer = &conn->peer,
        .sender = address_domain(sender),
        .recipient = domain,
    };
    return relay_fate(&question, conn->options.trusted);
}

/* --- RCPT ------------------------------------------------------------------------------------- */

struct verdict server_report_recipient(const struct server_conn *conn,
                                       const struct address *recipient)
{
    struct relay_fate fate = {.relays = conn->options.trusted};
    struct envelope_cursor cursor;
    struct slice sender;
    if (!fate.relays && envelope_open(transaction_envelope(&conn->session.transaction), &sender,
                                      &cursor)) {
        fate = fate_of(conn, sender, recipient->domain);
    }
    if (!fate.relays && fate.oob == CONF_REPORT_IGNORE && fate.arf == CONF_REPORT_IGNORE) {
        return (struct verdict){550, "5.7.1 Relaying denied"};
    }
    if (!fate.relays && fate.oob != CONF_REPORT_RELAY && fate.arf != CONF_REPORT_RELAY) {
        return VERDICT_ACCEPT; /* nothing of it goes anywhere */
    }
    return route_verdict(conn->server->conf, recipient->domain);
}

/* --- whom it concerns ------------------------------------------------------------------------- */

/* One look at all recipients. */
struct looking {
    struct server_conn *conn;
    enum report_kind kind;
    struct reference reference; /* in what it returns */
    uint32_t relayed;
    uint32_t dropped;
    uint32_t logged;
    bool refused;
};

/* What becomes of the mail for one of them. */
struct ruling {
    bool logs;
    bool relays;
    bool refuses;
};

static struct ruling rule(const struct looking *looking, struct slice sender, struct slice address)
{
    struct relay_fate fate = fate_of(looking->conn, sender, address_domain(address));
    enum conf_report wish = CONF_REPORT_IGNORE;
    switch (looking->kind) {
    case REPORT_NONE:
        break;
    case REPORT_DELIVERY:
        wish = fate.oob;
        break;
    case REPORT_FEEDBACK:
        wish = fate.arf;
        break;
    }
    if (wish == CONF_REPORT_IGNORE) {
        return (struct ruling){.relays = fate.relays, .refuses = !fate.relays};
    }
    return (struct ruling){.logs = true, .relays = wish == CONF_REPORT_RELAY};
}

/* Of all recipients. */
static void count(struct looking *looking)
{
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    CHECK(envelope_open(transaction_envelope(&looking->conn->session.transaction), &sender,
                        &cursor));
    while (envelope_next(&cursor, &recipient) == 1) {
        struct ruling ruling = rule(looking, sender, recipient.address);
        looking->relayed += ruling.relays;
        looking->dropped += !ruling.relays;
        looking->logged += ruling.logs;
        looking->refused = looking->refused || ruling.refuses;
    }
}

/* Does the domain of any recipient log anything? */
static bool is_concerned(const struct server_conn *conn)
{
    const struct conf *conf = conf_of(conn);
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    bool concerned = false;
    if (!conf->relay.logs_reports ||
        !envelope_open(transaction_envelope(&conn->session.transaction), &sender, &cursor)) {
        return false;
    }
    while (!concerned && envelope_next(&cursor, &recipient) == 1) {
        const struct relay_options *options =
            conf_relay(conf, &conn->listener->conf->listen, address_domain(recipient.address));
        concerned = options != NULL && (options->log_oob != CONF_REPORT_IGNORE ||
                                        options->log_arf != CONF_REPORT_IGNORE);
    }
    return concerned;
}

/* --- its text --------------------------------------------------------------------------------- */

/* True, and null, when it can be no report. False: no memory. */
static bool text_take(struct server_conn *conn, struct block **text_out)
{
    const struct chain *body = &conn->session.transaction.content.body;
    *text_out = NULL;
    if (list_empty(&body->blocks)) {
        return true;
    }
    const struct block *first = CONTAINER_OF(body->blocks.next, struct block, link);
    if (!report_log_may_be(slice_make(first->data, first->size))) {
        return true;
    }
    size_t size = (size_t)MIN_OF(body->size, (uint64_t)REPORT_BYTES_MAX);
    struct block *text = block_take(conn->server->blocks, size);
    if (text == NULL) {
        return false;
    }
    chain_copy_out(body, 0, size, text->data);
    text->size = (uint32_t)size;
    *text_out = text;
    return true;
}

bool server_report_keep(struct server_conn *conn)
{
    const struct content *content = &conn->session.transaction.content;
    bool first = content->size == content->body.size; /* later ones do not begin the message */
    return !first || !is_concerned(conn) || text_take(conn, &conn->report_text);
}

void server_report_forget(struct server_conn *conn)
{
    if (conn->report_text != NULL) {
        block_give(conn->server->blocks, conn->report_text);
        conn->report_text = NULL;
    }
}

/* --- what is logged --------------------------------------------------------------------------- */

/* Those who log it, numbered behind those who get it; as many as may be. */
static uint32_t put_envelope(const struct looking *looking, struct buf *buf)
{
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    uint32_t relayed = 0;
    uint32_t others = looking->relayed;
    uint32_t logged = 0;
    CHECK(envelope_open(transaction_envelope(&looking->conn->session.transaction), &sender,
                        &cursor));
    envelope_put_sender(buf, sender, NULL);
    while (envelope_next(&cursor, &recipient) == 1 && logged < REPORT_RECIPIENTS_MAX) {
        struct ruling ruling = rule(looking, sender, recipient.address);
        uint32_t index = ruling.relays ? relayed++ : others++;
        if (ruling.logs) {
            envelope_put_recipient(buf, (uint16_t)index, recipient.address, NULL);
            logged++;
        }
    }
    CHECK(!buf->overflow);
    return logged;
}

/* The trace stands once: of a complaint in its object. */
static struct slice keep_reference(struct buf *buf, const struct looking *looking)
{
    struct reference kept = looking->reference;
    if (looking->kind == REPORT_FEEDBACK) {
        kept.trace = SLICE_NONE;
    }
    if (kept.state != REFERENCE_NONE) {
        reference_keep(buf, &kept);
    }
    CHECK(!buf->overflow);
    return buf_slice(buf);
}

static void put_metadata(const struct looking *looking, struct buf *buf)
{
    const struct server_conn *conn = looking->conn;
    uint8_t reference_bytes[REFERENCE_KEPT_BYTES_MAX];
    struct buf reference;
    buf_init(&reference, reference_bytes, sizeof(reference_bytes));
    const struct metadata metadata = {
        .protocol = SLICE("ESMTP"),
        .peer = conn->peer,
        .local = conn->local,
        .origin = conn->origin,
        .hello = server_session_hello(&conn->session),
        .session = conn->session_id,
        .headers = header_pick_list(&conn->session.transaction.content.pick),
        .reference = keep_reference(&reference, looking),
    };
    metadata_put(buf, &metadata);
    CHECK(!buf->overflow);
}

/* The payload, in its ticket; the number of its records. False: no memory. */
static bool put_payload(const struct looking *looking, const struct report *report,
                        struct report_ticket *ticket, uint32_t *count_out)
{
    struct server_conn *conn = looking->conn;
    uint8_t envelope_bytes[ENVELOPE_BYTES];
    uint8_t metadata_bytes[METADATA_BYTES_MAX];
    struct buf envelope;
    struct buf metadata;
    struct buf buf;
    buf_init(&envelope, envelope_bytes, sizeof(envelope_bytes));
    buf_init(&metadata, metadata_bytes, sizeof(metadata_bytes));
    uint32_t recipients = put_envelope(looking, &envelope);
    put_metadata(looking, &metadata);
    const struct report_event event = {
        .wall_ns = conn->server->shard->wall_ns,
        .kind = report->kind,
        .id = ticket->rest.id,
        .size = conn->session.transaction.content.size,
        .envelope = buf_slice(&envelope),
        .metadata = buf_slice(&metadata),
    };
    size_t need = REPORT_EVENT_HEAD_BYTES + envelope.size + metadata.size +
                  report_log_bytes_max(report);
    ticket->block = block_take(conn->server->blocks, need);
    if (ticket->block == NULL) {
        return false;
    }
    buf_init(&buf, ticket->block->data, ticket->block->capacity);
    CHECK(report_event_begin(&buf, &event));
    uint32_t entries = report_log_put(&buf, report, looking->reference.trace,
                                      REPORT_RECORDS_MAX / recipients);
    *count_out = entries * recipients;
    report_event_end(&buf, spool_event_sequence(conn->server->intake->spool, *count_out),
                     *count_out);
    ticket->payload = buf_slice(&buf);
    return true;
}

static void ticket_free(struct report_ticket *ticket)
{
    if (ticket->block != NULL) {
        block_give(ticket->server->blocks, ticket->block);
    }
    pool_give(&ticket->server->reports, ticket);
}

/* --- on its way ------------------------------------------------------------------------------- */

static bool keeps(void *context, struct slice sender, struct slice address)
{
    return rule(context, sender, address).relays;
}

static void stored(struct spool_write *write)
{
    struct report_ticket *ticket = CONTAINER_OF(write, struct report_ticket, write);
    struct server *server = ticket->server;
    if (write->status == SPOOL_STORED) {
        const struct event_source source = {.record = write->location,
                                            .payload = ticket->payload};
        event_tap_put(server->events, &source);
        if (server->delivery != NULL) {
            report_advise(server->delivery, ticket->payload);
        }
        counters_add(&server->shard->counters, COUNTER_reports_logged, 1);
    }
    if (ticket->conn != NULL) {
        ticket->conn->report = NULL;
        server_conn_reported(ticket->conn, &ticket->rest, write->status);
    }
    ticket_free(ticket);
}

void server_report_abandon(struct server_conn *conn)
{
    if (conn->report != NULL) {
        conn->report->conn = NULL;
        conn->report = NULL;
    }
}

/* It is a report that somebody logs. */
static enum server_report_step store(struct looking *looking, const struct report *report,
                                     struct report_rest *rest_out, struct slice *refusal_out)
{
    struct server_conn *conn = looking->conn;
    struct server *server = conn->server;
    struct report_ticket *ticket = pool_take(&server->reports);
    uint32_t records = 0;
    *refusal_out = slice_from_string(no_memory);
    if (ticket == NULL) {
        return SERVER_REPORT_REFUSED;
    }
    *ticket = (struct report_ticket){.server = server, .conn = conn, .rest = *rest_out};
    if (!put_payload(looking, report, ticket, &records)) {
        ticket_free(ticket);
        return SERVER_REPORT_REFUSED;
    }
    transaction_filter(&conn->session.transaction, keeps, looking);
    if (records == 0) {
        ticket_free(ticket); /* it tells of no failure: there is nothing to log */
        return SERVER_REPORT_MAIL;
    }
    conn->report = ticket;
    ticket->write = (struct spool_write){.done = stored};
    spool_put_event(server->intake->spool, &ticket->write, &ticket->payload);
    return SERVER_REPORT_STORING;
}

/* In the header of what is returned; that of a message with a body is its beginning. */
static void find_reference(struct looking *looking, struct slice original, struct buf *scratch)
{
    const struct server *server = looking->conn->server;
    struct slice header;
    struct slice body;
    mime_split(original, &header, &body);
    reference_find(header, server->intake->key, server->shard->wall_ns, scratch,
                   &looking->reference);
}

/* For its mail, before anything is told: who is refused comes again, and would have it told again.
 * What becomes short in between does that still. */
static bool has_room(const struct looking *looking, struct slice *refusal_out)
{
    const struct intake *intake = looking->conn->server->intake;
    if (looking->relayed == 0) {
        return true;
    }
    enum spool_status status =
        spool_admission(intake->spool, looking->conn->session.transaction.content.size);
    *refusal_out = status == SPOOL_STORED ? slice_from_string(no_memory) : intake_refusal(status);
    return status == SPOOL_STORED && queues_room(intake->queues, looking->relayed);
}

static enum server_report_step look(struct server_conn *conn, const struct report *report,
                                    struct report_rest *rest_out, struct slice *refusal_out)
{
    struct server *server = conn->server;
    struct looking looking = {.conn = conn, .kind = report->kind};
    uint8_t scratch_bytes[REFERENCE_JSON_BYTES_MAX];
    struct buf scratch;
    count(&looking);
    if (looking.refused) {
        *refusal_out = SLICE("550 5.7.1 Only reports are taken for a recipient");
        return SERVER_REPORT_REFUSED;
    }
    if (looking.logged == 0) {
        return SERVER_REPORT_MAIL;
    }
    if (!has_room(&looking, refusal_out)) {
        return SERVER_REPORT_REFUSED;
    }
    buf_init(&scratch, scratch_bytes, sizeof(scratch_bytes));
    find_reference(&looking, report->original, &scratch);
    *rest_out = (struct report_rest){
        .has_id = true,
        .id = id_next(server->intake->ids, server->shard->wall_ns),
        .others = looking.dropped,
    };
    return store(&looking, report, rest_out, refusal_out);
}

enum server_report_step server_report_begin(struct server_conn *conn, struct report_rest *rest_out,
                                            struct slice *refusal_out)
{
    const struct content *content = &conn->session.transaction.content;
    struct block *text = conn->report_text;
    struct report report = {0};
    struct buf scratch = {0};
    *rest_out = (struct report_rest){0};
    *refusal_out = slice_from_string(no_memory);
    if (!is_concerned(conn)) {
        return SERVER_REPORT_MAIL;
    }
    bool spilled = content->size > content->body.size;
    if (text == NULL && !spilled && !text_take(conn, &text)) {
        return SERVER_REPORT_REFUSED;
    }
    conn->report_text = text;
    struct block *decoded = text == NULL ? NULL : block_take(conn->server->blocks, text->size);
    if (text != NULL && decoded == NULL) {
        return SERVER_REPORT_REFUSED;
    }
    if (text != NULL) {
        bool whole = content->size == text->size;
        buf_init(&scratch, decoded->data, decoded->capacity);
        if (!report_log_read(slice_make(text->data, text->size), whole, &scratch, &report)) {
            report.kind = REPORT_NONE;
        }
    }
    enum server_report_step step = look(conn, &report, rest_out, refusal_out);
    if (decoded != NULL) {
        block_give(conn->server->blocks, decoded);
    }
    server_report_forget(conn);
    return step;
}
