#include "smtp/intake.h"

#include <string.h>

#include "core/check.h"
#include "core/little.h"
#include "smtp/envelope.h"
#include "smtp/queue_of.h"
#include "smtp/received.h"
#include "smtp/schedule.h"

/* Metadata, trace field and cuts of one message, beside the envelope in its head block. */
#define HEAD_EXTRA_BYTES (3072 + SCHEDULE_BYTES_MAX)

/* What the message says of itself. Borrowed from the transaction and the configuration. */
struct labels {
    struct slice tenant;
    struct slice campaign;
    enum conf_class class; /* unset: as its queues are */
    bool scheduled;
    struct schedule schedule;
};

static const char no_memory[] = "452 4.3.1 Insufficient memory";

void intake_init(struct intake *intake, struct boot_pages *pages, uint32_t tickets_max)
{
    void *memory = boot_pages_take(pages, pool_memory(sizeof(struct intake_ticket), tickets_max));
    pool_init(&intake->tickets, memory, sizeof(struct intake_ticket), tickets_max);
}

uint32_t intake_open(const struct intake *intake)
{
    return intake->tickets.used;
}

/* --- labels --------------------------------------------------------------------------------- */

static bool class_of(struct slice text, enum conf_class *class_out)
{
    if (slice_equal_nocase(text, SLICE("urgent"))) {
        *class_out = CONF_CLASS_URGENT;
    } else if (slice_equal_nocase(text, SLICE("bulk"))) {
        *class_out = CONF_CLASS_BULK;
    } else {
        return text.size == 0;
    }
    return true;
}

/* What the message says of its time. A refusal, or null. */
static const char *find_schedule(const struct intake *intake, const struct header_scan *header,
                                 struct labels *labels)
{
    if (header->values[CONF_LABEL_SCHEDULE].too_long) {
        return "550 5.6.0 Schedule: it is too long";
    }
    labels->scheduled = header->values[CONF_LABEL_SCHEDULE].found;
    return labels->scheduled
               ? schedule_read(header_scan_value(header, CONF_LABEL_SCHEDULE), intake->conf,
                               queues_now_ns(intake->queues), &labels->schedule)
               : NULL;
}

/* What stands in the header fields. A refusal, or null. */
static const char *find_labels(const struct intake *intake, const struct transaction *transaction,
                               struct labels *labels)
{
    const struct header_scan *header = &transaction->content.header;
    labels->tenant = header_scan_value(header, CONF_LABEL_TENANT);
    labels->campaign = header_scan_value(header, CONF_LABEL_CAMPAIGN);
    labels->class = CONF_CLASS_UNSET;
    if (header->too_many_cuts) {
        return "550 5.6.0 Too many header fields that are to be removed";
    }
    if (labels->tenant.size == 0) {
        labels->tenant = intake->conf->queues.default_tenant;
    }
    if (header->values[CONF_LABEL_TENANT].too_long ||
        (labels->tenant.size > 0 && !conf_tenant_is_defined(intake->conf, labels->tenant))) {
        return "550 5.7.1 This tenant is not defined";
    }
    if (header->values[CONF_LABEL_CAMPAIGN].too_long ||
        (labels->campaign.size > 0 && !conf_campaign_is_valid(labels->campaign))) {
        return "550 5.6.0 This is no name of a campaign";
    }
    if (header->values[CONF_LABEL_CLASS].too_long ||
        !class_of(header_scan_value(header, CONF_LABEL_CLASS), &labels->class)) {
        return "550 5.6.0 The class is urgent or bulk";
    }
    return find_schedule(intake, header, labels);
}

/* --- rows ----------------------------------------------------------------------------------- */

static void drop_rows(struct intake_ticket *ticket)
{
    struct queues *queues = ticket->intake->queues;
    while (ticket->rows.first != ROW_NONE) {
        uint32_t handle = ticket->rows.first;
        row_list_remove(&queues->rows, &ticket->rows, handle);
        queues_row_done(queues, handle);
    }
}

/* Where RCPT could not tell, for want of the tenant, whether there is a route: without a domain
 * ("postmaster") DNS knows none. */
static bool has_route(const struct queue_options *options, struct slice domain)
{
    return options->mx_count > 0 || options->routing_domain != NULL || domain.size > 0;
}

/* A message is of the class it names, else urgent when it goes to any queue that is: all of it. */
static void class_rows(struct intake_ticket *ticket, enum conf_class class)
{
    const struct queues *queues = ticket->intake->queues;
    uint32_t handle = ticket->rows.first;
    while (class == CONF_CLASS_UNSET && handle != ROW_NONE) {
        const struct row *row = row_at(&queues->rows, handle);
        if (queue_options_of(queues, row->queue)->class == CONF_CLASS_URGENT) {
            class = CONF_CLASS_URGENT;
        }
        handle = row->queue_next;
    }
    ticket->urgent = class == CONF_CLASS_URGENT;
    for (handle = ticket->rows.first; handle != ROW_NONE && ticket->urgent;) {
        struct row *row = row_at(&queues->rows, handle);
        row->urgent = true;
        handle = row->queue_next;
    }
}

/* One row for each recipient, in no list of a queue yet. A refusal, and no rows; or null. */
static const char *make_rows(struct intake_ticket *ticket, const struct labels *labels,
                             struct slice envelope)
{
    const struct conf *conf = ticket->intake->conf;
    struct conf_queue_key key = {.campaign = labels->campaign, .tenant = labels->tenant};
    struct queues *queues = ticket->intake->queues;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    row_list_init(&ticket->rows);
    CHECK(envelope_open(envelope, &sender, &cursor));
    while (envelope_next(&cursor, &recipient) == 1) {
        key.domain = address_domain(recipient.address);
        uint32_t queue = queue_of(queues, conf, &key);
        uint32_t handle = queue == QUEUE_NONE ? ROW_NONE : queues_row_new(queues, queue);
        if (handle == ROW_NONE) {
            drop_rows(ticket);
            return no_memory;
        }
        row_at(&queues->rows, handle)->recipient = recipient.index;
        row_list_push_back(&queues->rows, &ticket->rows, handle);
        if (conf->queues.tenants_route &&
            !has_route(queue_options_of(queues, queue), key.domain)) {
            drop_rows(ticket);
            return "451 4.4.4 No route to the domain of a recipient is configured";
        }
    }
    class_rows(ticket, labels->class);
    return NULL;
}

/* After the commit: the rows get their place in the log and become due, now or when their schedule
 * says, or are held for their owner, in envelope order. */
static void rows_live(struct intake_ticket *ticket)
{
    struct queues *queues = ticket->intake->queues;
    const struct message *message = ticket->message;
    uint64_t size_64 = (message->body_bytes + 63) / 64;
    while (ticket->rows.first != ROW_NONE) {
        uint32_t handle = ticket->rows.first;
        row_list_remove(&queues->rows, &ticket->rows, handle);
        struct row *row = row_at(&queues->rows, handle);
        row->segment = message->location.segment;
        row->offset_64 = message->location.offset_64;
        row->created_s = (uint32_t)(message->created_ns / NS_PER_S);
        row->size_64 = (uint32_t)MIN_OF(size_64, UINT32_MAX);
        row->scheduled = ticket->scheduled;
        row->due_s = ticket->due_s;
        if (ticket->owner.held == NULL) {
            queues_row_wait(queues, handle);
        } else {
            queues_row_hold(queues, handle);
            row_list_push_back(&queues->rows, ticket->owner.held, handle);
        }
    }
}

void intake_release(struct intake *intake, struct row_list *held)
{
    struct queues *queues = intake->queues;
    while (held->first != ROW_NONE) {
        uint32_t handle = held->first;
        row_list_remove(&queues->rows, held, handle);
        queues_row_wait(queues, handle);
    }
}

/* --- the message ---------------------------------------------------------------------------- */

/* The block in which envelope, metadata, trace field and part list stand together. */
static struct block *make_head(struct intake *intake, const struct transaction *transaction,
                               const struct chain *parts, const struct reception *reception)
{
    struct block *envelope = transaction->envelope;
    size_t kept = reception->extra.size + header_pick_list(&transaction->content.pick).size +
                  (reception->trace != NULL ? REFERENCE_FIELD_BYTES_MAX : 0);
    size_t need = envelope->size + HEAD_EXTRA_BYTES + kept + 8 + parts->size;
    if (need > BLOCK_BYTES_MAX - sizeof(struct block)) {
        return NULL;
    }
    struct block *head = block_take(block_pool_receiving(intake->messages->blocks), need);
    if (head != NULL) {
        memcpy(head->data, envelope->data, envelope->size);
        head->size = envelope->size;
    }
    return head;
}

static struct slice put_metadata(struct buf *buf, const struct reception *reception,
                                 const struct labels *labels, bool urgent, struct slice headers)
{
    size_t start = buf->size;
    uint8_t schedule_bytes[SCHEDULE_BYTES_MAX];
    struct buf schedule;
    buf_init(&schedule, schedule_bytes, sizeof(schedule_bytes));
    if (labels->scheduled) {
        schedule_put(&schedule, &labels->schedule);
    }
    struct metadata metadata = {
        .protocol = reception->report ? SLICE("DSN")
                    : reception->http ? SLICE("HTTP")
                                      : SLICE("ESMTP"),
        .peer = reception->peer,
        .local = reception->local,
        .origin = reception->origin,
        .hello = reception->hello,
        .session = reception->session,
        .urgent = urgent,
        .tenant = labels->tenant,
        .campaign = labels->campaign,
        .has_request = reception->request != NULL,
        .extra = reception->extra,
        .headers = headers,
        .schedule = buf_slice(&schedule),
    };
    if (reception->request != NULL) {
        metadata.request = *reception->request;
    }
    metadata_put(buf, &metadata);
    return slice_make(buf->data + start, buf->size - start);
}

static struct slice put_received(struct buf *buf, const struct message *message,
                                 const struct transaction *transaction,
                                 const struct reception *reception)
{
    size_t start = buf->size;
    struct slice sender;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient = {0};
    uint8_t id_text[ID_TEXT_BYTES];
    struct buf id;
    CHECK(envelope_open(message->envelope, &sender, &cursor));
    CHECK(envelope_next(&cursor, &recipient) == 1);
    buf_init(&id, id_text, sizeof(id_text));
    id_put(&id, &message->id);
    const struct received received = {
        .hello = reception->hello,
        .peer = &reception->peer,
        .hostname = reception->hostname,
        .local = &reception->local,
        .protocol = reception->http
                        ? SLICE("HTTP")
                        : received_protocol(reception->extended, transaction->smtputf8),
        .id = buf_slice(&id),
        .recipient = transaction->recipient_count == 1 ? recipient.address : SLICE_NONE,
        .wall_ns = message->created_ns,
    };
    received_put(buf, &received);
    return slice_make(buf->data + start, buf->size - start);
}

/* Fields that are sent before the body. */
static struct slice put_prepend(struct buf *buf, const struct message *message,
                                const struct transaction *transaction,
                                const struct reception *reception,
                                const struct reference_key *key)
{
    struct slice prepend = SLICE_NONE;
    struct metadata metadata;
    size_t start = buf->size;
    if (reception->received_header) {
        prepend = put_received(buf, message, transaction, reception);
    }
    if (reception->trace != NULL) {
        CHECK(metadata_parse(message->metadata, &metadata));
        const struct reference_facts facts = {
            .id = message->id, .envelope = message->envelope, .metadata = &metadata};
        reference_put(buf, reception->trace, key, &facts);
        prepend = slice_make(buf->data + start, buf->size - start);
    }
    return prepend;
}

static struct slice put_cuts(struct buf *buf, const struct header_scan *header)
{
    size_t start = buf->size;
    for (uint32_t i = 0; i < header->cut_count; i++) {
        uint8_t *at = buf_reserve(buf, 8);
        CHECK(at != NULL);
        little_put_u32(at, header->cuts[i].offset);
        little_put_u32(at + 4, header->cuts[i].bytes);
    }
    return slice_make(buf->data + start, buf->size - start);
}

static const struct spool_part *put_parts(struct buf *buf, const struct chain *parts)
{
    if (parts->size == 0) {
        return NULL;
    }
    size_t misplaced = (uintptr_t)(buf->data + buf->size) % 8;
    if (misplaced != 0) {
        (void)buf_reserve(buf, 8 - misplaced);
    }
    uint8_t *at = buf_reserve(buf, parts->size);
    CHECK(at != NULL);
    chain_copy_out(parts, 0, parts->size, at);
    return (const struct spool_part *)(const void *)at;
}

/* Dots are listed when the list stands in one block; a message with more is scanned when sent. */
static void take_content(struct message *message, struct transaction *transaction)
{
    struct content *content = &transaction->content;
    message->body_bytes = content->size;
    message->body_hash = content_hash(content);
    chain_move(&message->body, &content->body);
    if (content->dots.size == 0) {
        return;
    }
    struct block *block = CONTAINER_OF(content->dots.blocks.next, struct block, link);
    if (block->size < content->dots.size) {
        message->flags |= SPOOL_MESSAGE_DOTS_UNLISTED;
        return;
    }
    chain_move(&message->dots_chain, &content->dots);
    message->dots = slice_make(block->data, block->size);
}

static void fill_message(struct intake_ticket *ticket, struct transaction *transaction,
                         const struct chain *parts, const struct reception *reception,
                         const struct labels *labels)
{
    struct message *message = ticket->message;
    struct block *head = message->head;
    struct buf buf;
    ticket->counter = reception->report ? COUNTER_reports_stored
                      : reception->http ? COUNTER_recipients_http
                                        : COUNTER_recipients_smtp;
    message->id = reception->id != NULL
                      ? *reception->id
                      : id_next(ticket->intake->ids, ticket->intake->shard->wall_ns);
    ticket->others = reception->others;
    message->created_ns = queues_now_ns(ticket->intake->queues);
    ticket->scheduled = labels->scheduled;
    if (labels->scheduled) {
        ticket->due_s = schedule_first_due_s(&labels->schedule, ticket->intake->conf,
                                             (uint32_t)(message->created_ns / NS_PER_S),
                                             queues_wall_ahead_s(ticket->intake->queues));
    }
    if (transaction->body_type == MAIL_BODY_8BITMIME) {
        message->flags |= SPOOL_MESSAGE_8BIT;
    }
    if (transaction->smtputf8) {
        message->flags |= SPOOL_MESSAGE_SMTPUTF8;
    }
    message->envelope = slice_make(head->data, head->size);
    buf_init(&buf, head->data, head->capacity);
    buf.size = head->size;
    message->metadata = put_metadata(&buf, reception, labels, ticket->urgent,
                                     header_pick_list(&transaction->content.pick));
    message->prepend = put_prepend(&buf, message, transaction, reception, ticket->intake->key);
    message->cuts = put_cuts(&buf, &transaction->content.header);
    message->parts = put_parts(&buf, parts);
    message->part_count = (uint32_t)(parts->size / sizeof(struct spool_part));
    if (message->part_count > 0) {
        message->flags |= SPOOL_MESSAGE_PARTS;
    }
    CHECK(!buf.overflow);
    head->size = (uint32_t)buf.size;
    take_content(message, transaction);
}

static void fill_record(struct intake_ticket *ticket, uint32_t recipient_count)
{
    const struct message *message = ticket->message;
    ticket->record = (struct spool_message){
        .id = message->id,
        .created_ns = message->created_ns,
        .flags = message->flags,
        .recipient_count = (uint16_t)recipient_count,
        .envelope = message->envelope,
        .metadata = message->metadata,
        .prepend = message->prepend,
        .cuts = message->cuts,
        .body = message->part_count == 0 ? &message->body : NULL,
        .dots = &message->dots_chain,
        .parts = message->parts,
        .part_count = message->part_count,
        .body_bytes = message->body_bytes,
        .body_hash = message->body_hash,
    };
}

/* --- the end -------------------------------------------------------------------------------- */

static void ticket_free(struct intake_ticket *ticket)
{
    struct intake *intake = ticket->intake;
    message_unref(intake->messages, ticket->message);
    pool_give(&intake->tickets, ticket);
}

struct slice intake_refusal(enum spool_status status)
{
    switch (status) {
    case SPOOL_STORED:
        break;
    case SPOOL_FAILED:
        return SLICE("451 4.3.0 Message could not be stored");
    case SPOOL_FULL:
        return SLICE("452 4.3.1 Insufficient system storage");
    case SPOOL_LATE:
        return SLICE("451 4.3.0 Storing took too long");
    }
    CHECK(false);
}

static void answer(struct intake_ticket *ticket, struct slice reply)
{
    if (ticket->owner.done != NULL) {
        ticket->owner.done(ticket->owner.context, reply);
        ticket->owner.done = NULL;
    }
}

void intake_put_reply(struct buf *buf, struct id id, uint32_t count)
{
    struct id first = id_with_index(id, 0);
    buf_put(buf, SLICE("250 2.0.0 OK ids="));
    id_put(buf, &first);
    buf_put(buf, SLICE(" count="));
    buf_put_u64(buf, count);
}

static void answer_stored(struct intake_ticket *ticket)
{
    uint8_t text[INTAKE_REPLY_BYTES];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    intake_put_reply(&buf, ticket->message->id, ticket->record.recipient_count + ticket->others);
    answer(ticket, buf_slice(&buf));
}

static void stored(struct spool_write *write)
{
    struct intake_ticket *ticket = CONTAINER_OF(write, struct intake_ticket, write);
    struct intake *intake = ticket->intake;
    struct message *message = ticket->message;
    for (uint32_t i = 0; i < message->part_count; i++) {
        spool_part_drop(intake->spool, &message->parts[i]);
    }
    if (write->status != SPOOL_STORED) {
        drop_rows(ticket);
        answer(ticket, intake_refusal(write->status));
        ticket_free(ticket);
        return;
    }
    struct counters *counters = &intake->shard->counters;
    counters_add(counters, COUNTER_messages_received, 1);
    counters_add(counters, COUNTER_recipients_received, ticket->record.recipient_count);
    counters_add(counters, ticket->counter, ticket->record.recipient_count);
    counters_add(counters, COUNTER_bytes_received, message->body_bytes);
    message->location = write->location;
    if (ticket->due_s <= queues_now_ns(intake->queues) / NS_PER_S) {
        messages_keep(intake->messages, message, ticket->record.recipient_count);
    }
    rows_live(ticket);
    answer_stored(ticket);
    const struct event_source source = {
        .message = message,
        .record = write->location,
        .sequence = write->event_sequence,
    };
    event_tap_put(intake->events, &source);
    ticket_free(ticket);
}

struct intake_ticket *intake_put(struct intake *intake, struct transaction *transaction,
                                 const struct chain *parts, const struct reception *reception,
                                 const struct intake_owner *owner, struct slice *refusal_out)
{
    struct labels labels;
    const char *refusal = find_labels(intake, transaction, &labels);
    struct intake_ticket *ticket = refusal == NULL ? pool_take(&intake->tickets) : NULL;
    *refusal_out = slice_from_string(refusal != NULL ? refusal : no_memory);
    if (ticket == NULL) {
        return NULL;
    }
    *ticket = (struct intake_ticket){.intake = intake, .owner = *owner};
    ticket->message = message_new(intake->messages);
    if (ticket->message == NULL) {
        pool_give(&intake->tickets, ticket);
        return NULL;
    }
    struct block *envelope = transaction->envelope;
    ticket->message->head = make_head(intake, transaction, parts, reception);
    refusal = ticket->message->head == NULL
                  ? no_memory
                  : make_rows(ticket, &labels, slice_make(envelope->data, envelope->size));
    if (refusal != NULL) {
        *refusal_out = slice_from_string(refusal);
        ticket_free(ticket);
        return NULL;
    }
    fill_message(ticket, transaction, parts, reception, &labels);
    fill_record(ticket, transaction->recipient_count);
    ticket->write = (struct spool_write){.done = stored};
    spool_put_message(intake->spool, &ticket->write, &ticket->record);
    return ticket;
}

void intake_abandon(struct intake_ticket *ticket)
{
    ticket->owner = (struct intake_owner){0};
}
