#include "smtp/notify.h"

#include "core/check.h"
#include "smtp/limits.h"
#include "smtp/route.h"

/* One a second, NOTIFY_BURST at once. */
static const struct rate sender_rate = {
    .count = 60, .period_ns = 60 * NS_PER_S, .burst = NOTIFY_BURST, .interval_ns = NS_PER_S};

static_assert(REPORT_RETURN_BYTES_MAX + REPORT_BYTES_FOR(NOTIFY_RECIPIENTS_MAX) <=
                  BLOCK_DATA_BYTES_MAX,
              "a report and what it returns stand in one block");

void notifier_init(struct notifier *notifier, struct boot_pages *pages)
{
    notifier->hash = boot_pages_take(pages, sizeof(*notifier->hash));
}

/* Is there one left for this sender? Then it is taken. */
static bool rate_allows(struct notifier *notifier, struct slice sender)
{
    uint64_t hash = XXH3_64bits(sender.data, sender.size);
    uint64_t *arrival_ns = &notifier->arrivals_ns[hash % NOTIFY_SENDERS];
    uint64_t now_ns = notifier->shard->now_ns;
    struct gcra_grant grant = gcra_reserve(&sender_rate, *arrival_ns, now_ns, now_ns, 1);
    if (grant.count > 0) {
        *arrival_ns = grant.arrival_ns;
    }
    return grant.count > 0;
}

/* Before any work. */
static bool may_begin(struct notifier *notifier, const struct address *sender)
{
    const struct intake *intake = notifier->intake;
    return route_verdict(intake->conf, sender->domain).code == 0 &&
           queues_room(intake->queues, 1) &&
           spool_admission(intake->spool, BLOCK_DATA_BYTES_MAX) == SPOOL_STORED &&
           rate_allows(notifier, sender->whole);
}

static bool has_failed(const struct notice *notice)
{
    bool failed = false;
    for (unsigned i = 0; i < notice->count; i++) {
        failed = failed || notice->recipients[i].action == DSN_FAILED;
    }
    return failed;
}

/* The text of a report in a block of its own: the beginning of the message, then, as `text_out`,
 * what is made. Null: no memory. */
static struct block *make(struct notifier *notifier, const struct notice *notice,
                          struct slice sender, const struct envelope_dsn *dsn,
                          struct report_needs *needs_out, struct slice *text_out)
{
    const struct intake *intake = notifier->intake;
    const struct message *message = notice->message;
    uint64_t wall_ns = notifier->shard->wall_ns;
    size_t kept = MIN_OF(notice->body->size, (uint64_t)REPORT_RETURN_BYTES_MAX);
    uint8_t id_text[ID_TEXT_BYTES];
    struct buf id;
    struct buf out;
    struct id number = id_next(intake->ids, wall_ns);
    buf_init(&id, id_text, sizeof(id_text));
    id_put(&id, &number);
    struct report_facts facts = {
        .hostname = intake->conf->node.hostname,
        .id = buf_slice(&id),
        .wall_ns = wall_ns,
        .arrival_ns = message->created_ns,
        .sender = sender,
        .envelope_id = dsn->text,
        .full = dsn->word == ENVELOPE_RETURN_FULL && has_failed(notice), /* RFC 3461 4.3 */
        .smtputf8 = (message->flags & SPOOL_MESSAGE_SMTPUTF8) != 0,
        .message = {.size = kept},
        .message_bytes = message->body_bytes,
        .recipients = notice->recipients,
        .recipient_count = notice->count,
    };
    size_t most = kept + report_make_bytes_max(&facts);
    struct block *block = block_take(block_pool_receiving(intake->messages->blocks), most);
    if (block == NULL) {
        return NULL;
    }
    chain_copy_out(notice->body, 0, kept, block->data);
    facts.message = slice_make(block->data, kept);
    buf_init(&out, block->data + kept, block->capacity - kept);
    report_make_put(&facts, &out, needs_out);
    CHECK(!out.overflow);
    *text_out = buf_slice(&out);
    return block;
}

/* Through the pass of all content, and into the intake. */
static bool hand_in(struct notifier *notifier, struct transaction *transaction, struct slice text,
                    intake_done *done, void *context)
{
    struct intake *intake = notifier->intake;
    const struct reception reception = {.hostname = intake->conf->node.hostname, .report = true};
    const struct intake_owner owner = {.done = done, .context = context};
    struct chain parts;
    struct slice refusal;
    chain_init(&parts);
    transaction_begin_content(transaction, BLOCK_DATA_BYTES_MAX, intake->conf->queues.labels);
    content_pick(&transaction->content, &intake->conf->log.headers);
    content_bdat(&transaction->content, text);
    content_bdat_end(&transaction->content);
    return content_refusal(&transaction->content, RECEIVED_FIELDS_MAX) == NULL &&
           intake_put(intake, transaction, &parts, &reception, &owner, &refusal) != NULL;
}

/* Null sender (RFC 3461 6.1, RFC 5321 4.5.5): nobody is told what becomes of it. */
static bool put(struct notifier *notifier, const struct notice *notice, intake_done *done,
                void *context)
{
    const struct address nobody = {0};
    struct envelope_cursor cursor;
    struct report_needs needs;
    struct address sender;
    struct slice text;
    CHECK(notice->count > 0 && notice->count <= NOTIFY_RECIPIENTS_MAX);
    if (!envelope_open(notice->message->envelope, &text, &cursor) ||
        !address_parse_bare(text, false, &sender) || !may_begin(notifier, &sender)) {
        return false;
    }
    struct block *block = make(notifier, notice, sender.whole, &cursor.dsn, &needs, &text);
    if (block == NULL) {
        return false;
    }
    struct block_pool *blocks = block_pool_receiving(notifier->intake->messages->blocks);
    const struct mail_params params = {
        .body = needs.eightbit ? MAIL_BODY_8BITMIME : MAIL_BODY_7BIT, .smtputf8 = needs.smtputf8};
    struct transaction transaction;
    transaction_init(&transaction, blocks, notifier->hash);
    bool stores = transaction_begin(&transaction, &nobody, &params) &&
                  transaction_add_recipient(&transaction, &sender, NULL) == RECIPIENT_ADDED &&
                  hand_in(notifier, &transaction, text, done, context);
    transaction_reset(&transaction);
    block_give(blocks, block);
    return stores;
}

bool notifier_put(struct notifier *notifier, const struct notice *notice, intake_done *done,
                  void *context)
{
    bool stores = put(notifier, notice, done, context);
    if (!stores) {
        counters_add(&notifier->shard->counters, COUNTER_reports_dropped, 1);
    }
    return stores;
}
