#include "smtp/event_make.h"

#include "core/check.h"
#include "core/classifier.h"
#include "shard/spool/outcome.h"
#include "smtp/envelope.h"
#include "smtp/event_details.h"
#include "smtp/metadata.h"
#include "smtp/queue_of.h"
#include "smtp/reference.h"
#include "smtp/report_event.h"

/* What records are made of. */
struct making {
    struct event event;
    struct metadata metadata;
    struct envelope_cursor cursor;
    struct event_details details;
};

/* The fields that every record of a message shares. False: the message makes no sense. */
static bool begin(const struct event_maker *maker, const struct event_facts *facts,
                  struct making *making)
{
    struct event *event_out = &making->event;
    struct metadata *metadata_out = &making->metadata;
    *event_out = (struct event){
        .node = maker->node,
        .spool = maker->spool,
        .lane = maker->lane,
    };
    *metadata_out = (struct metadata){0};
    making->cursor = (struct envelope_cursor){0};
    if (facts == NULL || !metadata_parse(facts->metadata, metadata_out) ||
        !envelope_open(facts->envelope, &event_out->sender, &making->cursor)) {
        event_out->sender = SLICE_NONE;
        return false;
    }
    event_out->urgent = metadata_out->urgent;
    event_out->protocol = metadata_out->protocol;
    event_out->origin = metadata_out->origin;
    event_out->id = facts->id;
    event_out->size = facts->size;
    event_out->created_ns = facts->created_ns;
    if (maker->conf != NULL) {
        event_details_fill(&making->details, &maker->conf->log, metadata_out, event_out);
    }
    return true;
}

bool event_is_muted(const struct event_maker *maker, enum event_type type)
{
    return maker->conf != NULL && (maker->conf->log.muted >> type & 1) != 0;
}

void event_classify(const struct event_maker *maker, struct event *event)
{
    const struct conf *conf = maker->conf;
    if (!event_is_muted(maker, event->type)) {
        classifier_judge(conf == NULL ? NULL : conf->classifier, maker->scratch, event);
    }
}

static bool put(const struct event_maker *maker, const struct event *event)
{
    if (event_is_muted(maker, event->type)) {
        return true;
    }
    if (maker->keep > 0 && !event_feed_room(maker->feed, maker->keep + 1)) {
        event_feed_wait(maker->feed);
        return false;
    }
    return event_feed_put(maker->feed, event);
}

static bool put_recipient(const struct event_maker *maker, struct event *event,
                          const struct metadata *metadata,
                          const struct envelope_recipient *recipient)
{
    struct queue_name_memory memory;
    const struct conf_queue_key key = {
        .campaign = metadata->campaign,
        .tenant = metadata->tenant,
        .domain = address_domain(recipient->address),
    };
    event->id = id_with_index(event->id, recipient->index);
    event->recipient = recipient->address;
    event->queue = queue_name(maker->conf, &key, &memory);
    return put(maker, event);
}

bool event_make_receptions(const struct event_maker *maker, const struct event_facts *facts,
                           uint64_t sequence, uint32_t *next)
{
    struct making making;
    struct event *event = &making.event;
    const struct metadata *metadata = &making.metadata;
    struct envelope_recipient recipient;
    if (!begin(maker, facts, &making)) {
        return true;
    }
    event->type = EVENT_RECEPTION;
    event->wall_ns = facts->created_ns;
    event->session = metadata->session;
    event->peer = metadata->peer;
    event->source = metadata->local;
    event->peer_name = metadata->hello;
    event->code = 250;
    event->content = SLICE("OK");
    for (uint32_t i = 0; envelope_next(&making.cursor, &recipient) == 1; i++) {
        event->sequence = sequence + i;
        if (i < *next) {
            continue;
        }
        if (!put_recipient(maker, event, metadata, &recipient)) {
            return false;
        }
        *next = i + 1;
    }
    return true;
}

/* "Rebound from QUEUE to QUEUE: REASON" */
static void put_rebound(const struct event_maker *maker, const struct metadata *metadata,
                        struct slice domain, struct buf *buf)
{
    const struct metadata_rebind *rebind = &metadata->rebind;
    struct queue_name_memory memory;
    const struct conf_queue_key from = {
        .campaign = rebind->campaign, .tenant = rebind->tenant, .domain = domain};
    const struct conf_queue_key to = {
        .campaign = metadata->campaign, .tenant = metadata->tenant, .domain = domain};
    buf_put(buf, SLICE("Rebound from "));
    buf_put(buf, queue_name(maker->conf, &from, &memory));
    buf_put(buf, SLICE(" to "));
    buf_put(buf, queue_name(maker->conf, &to, &memory));
    buf_put(buf, SLICE(": "));
    buf_put(buf, rebind->reason);
}

bool event_make_rebinds(const struct event_maker *maker, const struct event_facts *facts,
                        uint64_t sequence, uint32_t *next)
{
    uint8_t text[2 * QUEUE_NAME_BYTES_MAX + METADATA_REBIND_BYTES_MAX];
    struct making making;
    struct event *event = &making.event;
    struct envelope_recipient recipient;
    if (!begin(maker, facts, &making)) {
        return true;
    }
    event->type = EVENT_ADMIN_REBIND;
    event->wall_ns = making.metadata.rebind.wall_ns;
    event->code = 250;
    for (uint32_t i = 0; envelope_next(&making.cursor, &recipient) == 1; i++) {
        struct buf buf;
        event->sequence = sequence + i;
        if (i < *next) {
            continue;
        }
        buf_init(&buf, text, sizeof(text));
        put_rebound(maker, &making.metadata, address_domain(recipient.address), &buf);
        event->content = buf_slice(&buf);
        if (!put_recipient(maker, event, &making.metadata, &recipient)) {
            return false;
        }
        *next = i + 1;
    }
    return true;
}

static enum event_type type_of(const struct outcome_recipient *result)
{
    switch ((enum disposition)result->disposition) {
    case DISPOSITION_DELIVERED:
        return EVENT_DELIVERY;
    case DISPOSITION_DEFERRED:
        return EVENT_TRANSIENT_FAILURE;
    case DISPOSITION_BOUNCED:
        return EVENT_BOUNCE;
    case DISPOSITION_EXPIRED:
        return EVENT_EXPIRATION;
    case DISPOSITION_ADMIN_BOUNCED:
        return EVENT_ADMIN_BOUNCE;
    }
    CHECK(false);
}

/* The recipient with this index; both lists ascend, so the cursor only goes forward. */
static bool find_recipient(struct envelope_cursor *cursor, uint16_t index,
                           struct envelope_recipient *recipient_out)
{
    while (envelope_next(cursor, recipient_out) == 1) {
        if (recipient_out->index == index) {
            return true;
        }
    }
    return false;
}

static void fill_result(struct event *event, const struct outcome_recipient *result)
{
    event->type = type_of(result);
    event->uncertain = result->uncertain;
    event->code = result->code;
    event->attempts = result->attempts;
    event->command = result->command;
    event->content = result->response;
    for (size_t i = 0; i < COUNT_OF(event->enhanced); i++) {
        event->enhanced[i] = result->enhanced[i];
    }
}

static void fill_outcome(struct event *event, const struct outcome *outcome)
{
    event->wall_ns = outcome->wall_ns;
    event->delivery_ms = outcome->delivery_ms;
    event->session = outcome->session;
    event->peer = outcome->peer;
    event->source = outcome->source;
    event->peer_name = outcome->peer_name;
    event->site = outcome->site;
    event->pool = outcome->pool;
    event->source_name = outcome->source_name;
}

bool event_make_outcomes(const struct event_maker *maker, const struct event_facts *facts,
                         struct slice payload, uint32_t *next)
{
    struct making making;
    struct event *event = &making.event;
    struct outcome outcome;
    struct outcome_cursor results;
    struct outcome_recipient result;
    bool known = begin(maker, facts, &making);
    if (!outcome_open(payload, &outcome, &results)) {
        return true;
    }
    fill_outcome(event, &outcome);
    event->created_ns = known ? event->created_ns : outcome.wall_ns;
    for (uint32_t i = 0; outcome_next(&results, &result) == 1; i++) {
        struct envelope_recipient recipient;
        bool found = known && find_recipient(&making.cursor, result.index, &recipient);
        if (i < *next) {
            continue;
        }
        fill_result(event, &result);
        event_classify(maker, event);
        event->sequence = outcome.event_sequence + i;
        if (!(found ? put_recipient(maker, event, &making.metadata, &recipient)
                    : put(maker, event))) {
            return false;
        }
        *next = i + 1;
    }
    return true;
}

/* The records of one report, in their order. */
struct telling {
    const struct event_maker *maker;
    struct event event;         /* of the mail, and its recipient in hand */
    struct report_event report;
    struct reference reference;
    bool counted;               /* a record before is one for the reference */
    uint32_t number;            /* of records so far */
    uint32_t *next;             /* of those that are put */
};

/* What the reference is worth for this record; true: the record is to be put. */
static bool begin_record(struct telling *telling, struct event *event, struct slice recipient,
                         uint8_t bytes[REFERENCE_RECORD_BYTES_MAX])
{
    struct buf buf;
    buf_init(&buf, bytes, REFERENCE_RECORD_BYTES_MAX);
    reference_put_record(&buf, &telling->reference, recipient, &telling->counted);
    CHECK(!buf.overflow);
    event->reference = buf_slice(&buf);
    event->sequence = telling->report.sequence + telling->number;
    telling->number++;
    return telling->number > *telling->next;
}

static bool end_record(struct telling *telling, const struct event *event)
{
    if (!put(telling->maker, event)) {
        return false;
    }
    *telling->next = telling->number;
    return true;
}

/* The mail as it came; its recipient is in the event. */
static bool put_feedback(struct telling *telling)
{
    uint8_t bytes[REFERENCE_RECORD_BYTES_MAX];
    struct event event = telling->event;
    event.type = EVENT_FEEDBACK;
    event.size = telling->report.size;
    event.code = 250;
    event.feedback = telling->report.said;
    if (!begin_record(telling, &event, SLICE_NONE, bytes)) {
        return true;
    }
    event_classify(telling->maker, &event);
    return end_record(telling, &event);
}

/* As in KumoMTA: from the recipient of the mail, who sent what failed, to whom that was for. */
static bool put_failure(struct telling *telling, struct slice reporter,
                        const struct report_entry *entry)
{
    uint8_t bytes[REFERENCE_RECORD_BYTES_MAX];
    struct event event = telling->event;
    event.type = EVENT_OOB;
    event.size = 0;
    event.sender = telling->event.recipient;
    event.recipient = entry->recipient;
    event.peer_name = reporter;
    event.code = entry->code;
    event.content = entry->content;
    for (size_t i = 0; i < COUNT_OF(event.enhanced); i++) {
        event.enhanced[i] = entry->enhanced[i];
    }
    if (!begin_record(telling, &event, entry->recipient, bytes)) {
        return true;
    }
    event_classify(telling->maker, &event);
    return end_record(telling, &event);
}

/* All records for one recipient of the mail. */
static bool put_report(struct telling *telling)
{
    struct slice said = telling->report.said;
    struct slice reporter;
    struct report_entry entry;
    bool fits = true;
    if (telling->report.kind == REPORT_FEEDBACK) {
        return put_feedback(telling);
    }
    if (!report_said_open(&said, &reporter)) {
        return true;
    }
    while (fits && report_said_next(&said, &entry) == 1) {
        fits = put_failure(telling, reporter, &entry);
    }
    return fits;
}

bool event_make_reports(const struct event_maker *maker, struct slice payload, uint32_t *next)
{
    struct making making;
    struct telling telling = {.maker = maker, .next = next};
    struct report_event *report = &telling.report;
    struct event *event = &telling.event;
    struct queue_name_memory memory;
    struct envelope_recipient recipient;
    if (!report_event_get(payload, report)) {
        return true;
    }
    const struct event_facts facts = {
        .id = report->id,
        .created_ns = report->wall_ns,
        .size = report->size,
        .envelope = report->envelope,
        .metadata = report->metadata,
    };
    if (!begin(maker, &facts, &making) ||
        (making.metadata.reference.size > 0 &&
         !reference_kept(making.metadata.reference, &telling.reference))) {
        return true;
    }
    *event = making.event;
    event->wall_ns = report->wall_ns;
    event->session = making.metadata.session;
    event->peer = making.metadata.peer;
    event->peer_name = making.metadata.hello;
    while (envelope_next(&making.cursor, &recipient) == 1) {
        const struct conf_queue_key key = {.domain = address_domain(recipient.address)};
        event->id = id_with_index(report->id, recipient.index);
        event->recipient = recipient.address;
        event->queue = queue_name(maker->conf, &key, &memory);
        if (!put_report(&telling)) {
            return false;
        }
    }
    return true;
}
