/*
 * The life of a transfer: take → message → send or end by cause → OUTCOME → events → gone.
 *
 * A row leaves its ready queue when the OUTCOME has been put, and stays as it was, held, until that
 * is durable: what the rows say is never ahead of the log, so that a checkpoint of them never knows
 * of an outcome that a crash then takes away, and no message is written again while an outcome for
 * its old place is on the way. An OUTCOME that could not be stored is put again until it is.
 */
#include "smtp/transfer.h"

#include <string.h>

#include "core/check.h"
#include "smtp/admin_local.h"
#include "smtp/advice_tap.h"
#include "smtp/envelope.h"
#include "smtp/queue_of.h"
#include "smtp/queue_gate.h"
#include "smtp/transfer_advise.h"
#include "smtp/transfer_notify.h"
#include "smtp/transfer_time.h"

#define MESSAGE_RETRY_NS (100 * NS_PER_MS)
/* Of an OUTCOME before its recipients, with the names of hosts, site, pool and source. */
#define OUTCOME_HEAD_BYTES (640 + 2 * CONF_SOURCE_BYTES_MAX)

static void transfer_record(struct transfer *transfer);

static struct row *row_of(const struct transfer *transfer, unsigned i)
{
    return row_at(&transfer->delivery->queues->rows, transfer->rows[i]);
}

/* All its rows are of one. */
static struct sched_queue *queue_of_rows(const struct transfer *transfer)
{
    return queues_at(transfer->delivery->queues, row_of(transfer, 0)->queue);
}

/* --- beginning and end ------------------------------------------------------------------------ */

/* Without rows. Null: no memory. */
static struct transfer *transfer_new(struct delivery *delivery)
{
    struct transfer *transfer = pool_take(&delivery->transfers);
    if (transfer == NULL) {
        return NULL;
    }
    /* Field by field: the arrays at its end are large and need no clearing. */
    transfer->delivery = delivery;
    transfer->egress = NULL;
    transfer->conn = NULL;
    transfer->connected = false;
    list_init(&transfer->link);
    list_init(&transfer->turn);
    transfer->cause = TRANSFER_SEND;
    transfer->loading = false;
    transfer->ahead = false;
    transfer->ahead_bytes = 0;
    transfer->admitted = true;
    transfer->gate = 0;
    transfer->charged = false;
    transfer->notifies = false;
    transfer->passed_on = false;
    transfer->header_read = false;
    transfer->notified = 0;
    transfer->pinned_bytes = 0;
    transfer->first_count = 0;
    transfer->message = NULL;
    transfer->load.in_flight = false;
    transfer->part = (struct spool_load){0};
    chain_init(&transfer->part.body);
    transfer->payload_block = NULL;
    transfer->payload = SLICE_NONE;
    return transfer;
}

struct transfer *transfer_take(struct egress *egress, uint32_t hot_max, uint32_t most)
{
    struct delivery *delivery = egress->delivery;
    struct transfer *transfer = egress_fresh(egress) > 0 ? transfer_new(delivery) : NULL;
    if (transfer == NULL) {
        return NULL;
    }
    transfer->egress = egress;
    unsigned limit = MIN_OF(MIN_OF(egress->path->max_recipients_per_batch, BATCH_ROWS_MAX), most);
    transfer->count =
        ready_queue_take(delivery->queues, &egress->pool->ready, &egress->window, hot_max, limit,
                         transfer->rows);
    if (transfer->count == 0) {
        pool_give(&delivery->transfers, transfer);
        return NULL;
    }
    egress_pool_taken(egress, transfer->count);
    transfer->gate = queue_gate_number(queue_of_rows(transfer));
    return transfer;
}

struct transfer *transfer_take_doomed(struct delivery *delivery, struct sched_queue *queue,
                                      const struct admin_entry *entry)
{
    struct transfer *transfer = transfer_new(delivery);
    if (transfer == NULL) {
        return NULL;
    }
    struct buf *texts = &transfer->transaction.texts;
    buf_init(texts, transfer->texts, sizeof(transfer->texts));
    buf_put(texts, SLICE("Ringpost internal: Administrator bounced with reason: "));
    buf_put(texts, entry->reason);
    transfer->cause = TRANSFER_ADMIN;
    transfer->slot = entry->slot;
    transfer->admitted = false;
    transfer->count =
        queues_take_doomed(delivery->queues, queue, BATCH_ROWS_MAX, transfer->rows);
    return transfer;
}

static void transfer_free(struct transfer *transfer)
{
    struct delivery *delivery = transfer->delivery;
    if (transfer->cause == TRANSFER_ADMIN) {
        admin_local_freed(delivery);
    }
    spool_load_drop(delivery->spool, &transfer->part);
    if (transfer->payload_block != NULL) {
        block_give(delivery->messages->blocks, transfer->payload_block);
    }
    if (transfer->message != NULL) {
        message_unref(delivery->messages, transfer->message);
    }
    pool_give(&delivery->transfers, transfer);
}

void transfer_charge(struct transfer *transfer)
{
    rates_use(&transfer->egress->limits.messages, transfer->count);
    transfer->charged = true;
}

/* So many of its rows are not sent: no rate counts them. */
static void transfer_refund(const struct transfer *transfer, unsigned count)
{
    if (transfer->admitted) {
        queue_gate_refund(queue_of_rows(transfer), transfer->gate, count);
    }
    if (transfer->charged) {
        rates_refund(&transfer->egress->limits.messages, count);
    }
}

/* None of them is. */
static void transfer_uncharge(struct transfer *transfer)
{
    transfer_refund(transfer, transfer->count);
    transfer->admitted = false;
    transfer->charged = false;
}

/* So much of the blocks is its site's now. */
static void transfer_pin(struct transfer *transfer, uint64_t bytes)
{
    uint64_t before = transfer->pinned_bytes;
    transfer->pinned_bytes = bytes;
    transfer->egress->pinned_bytes += bytes - before;
    transfer->delivery->pinned_bytes += bytes - before;
}

/* No peer has it any more. Its egress is there as long as its rows are hot. */
static void transfer_unpin(struct transfer *transfer)
{
    if (transfer->pinned_bytes > 0) {
        transfer_pin(transfer, 0);
        if (transfer->egress->share_full) {
            egress_kick(transfer->egress);
        }
    }
}

/* This row goes back, to stand first: its source may take it again. */
static void row_again(const struct transfer *transfer, unsigned i)
{
    if (transfer->egress != NULL) {
        egress_pool_returned(transfer->egress, 1);
    }
    queues_row_due(transfer->delivery->queues, transfer->rows[i], true);
}

/* All rows go back as they were: nothing was attempted. */
static void transfer_undo(struct transfer *transfer, uint64_t after_ns)
{
    struct queues *queues = transfer->delivery->queues;
    transfer_unpin(transfer);
    transfer_uncharge(transfer);
    uint64_t due_s = (queues_now_ns(queues) + after_ns + NS_PER_S - 1) / NS_PER_S;
    for (unsigned i = transfer->count; i-- > 0;) {
        if (after_ns == 0) {
            row_again(transfer, i);
        } else {
            row_of(transfer, i)->due_s = (uint32_t)due_s;
            queues_row_wait(queues, transfer->rows[i]);
        }
    }
    transfer->count = 0;
    struct egress *egress = transfer->egress;
    struct egress_conn *conn = transfer->conn;
    transfer_free(transfer);
    if (conn != NULL) {
        egress_conn_assign(conn, NULL);
        egress_conn_idle(conn);
    }
    if (egress != NULL) {
        egress_kick(egress);
    }
}

void transfer_give_back(struct transfer *transfer)
{
    CHECK(!transfer->ahead && transfer->conn == NULL);
    if (!transfer->loading) {
        transfer_undo(transfer, 0);
    }
}

/* The rows from `count` on go back, to stand first and in their order. */
static void transfer_trim(struct transfer *transfer, unsigned count)
{
    for (unsigned i = transfer->count; i-- > count;) {
        row_again(transfer, i);
    }
    transfer->count = count;
}

bool transfer_admit(struct transfer *transfer, uint32_t most)
{
    struct delivery *delivery = transfer->delivery;
    struct sched_queue *queue = queue_of_rows(transfer);
    enum hold_reason reason;
    if (transfer->admitted) {
        return true;
    }
    unsigned count = MIN_OF(transfer->count, most);
    if (queue->gate != NULL) {
        count = queue_gate_admit(delivery, queue, count, &reason);
    }
    if (count == 0) {
        transfer_give_back(transfer);
        return false;
    }
    transfer_trim(transfer, count);
    transfer->admitted = true;
    transfer->gate = queue_gate_number(queue);
    return true;
}

/* --- the message ------------------------------------------------------------------------------ */

/* The addresses of the rows; rows and envelope ascend. */
static bool fill_recipients(struct transfer *transfer, struct slice *sender_out,
                            struct envelope_dsn *dsn_out)
{
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    unsigned found = 0;
    unsigned notify = 0;
    for (unsigned i = 0; i < transfer->count; i++) {
        transfer->recipients[i].index = row_of(transfer, i)->recipient;
    }
    if (!envelope_open(transfer->message->envelope, sender_out, &cursor)) {
        return false;
    }
    *dsn_out = cursor.dsn;
    while (found < transfer->count && envelope_next(&cursor, &recipient) == 1) {
        if (transfer->recipients[found].index == recipient.index) {
            transfer->recipients[found].address = recipient.address;
            transfer->recipients[found++].dsn = recipient.dsn;
            notify |= recipient.dsn.word;
        }
    }
    transfer->notifies = found == transfer->count && sender_out->size > 0 &&
                         (notify & (ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_FAILURE)) != 0;
    return found == transfer->count;
}

/* Rows in ascending order of their recipients, as OUTCOME and events want them. */
static void sort_rows(struct transfer *transfer)
{
    for (unsigned i = 1; i < transfer->count; i++) {
        uint32_t handle = transfer->rows[i];
        uint16_t index = row_of(transfer, i)->recipient;
        unsigned at = i;
        while (at > 0 && row_of(transfer, at - 1)->recipient > index) {
            transfer->rows[at] = transfer->rows[at - 1];
            at--;
        }
        transfer->rows[at] = handle;
    }
}

static void set_result(struct client_recipient *recipient, uint16_t code, struct slice text)
{
    recipient->answer = CLIENT_ANSWER_NONE;
    recipient->accepted = false;
    recipient->uncertain = false;
    recipient->code = code;
    memset(recipient->enhanced, 0, sizeof(recipient->enhanced));
    recipient->text = text;
}

static void end_by_cause(struct transfer *transfer)
{
    transfer_uncharge(transfer);
    for (unsigned i = 0; i < transfer->count; i++) {
        struct client_recipient *recipient = &transfer->recipients[i];
        recipient->disposition = CLIENT_DEFERRED;
        switch (transfer->cause) {
        case TRANSFER_SEND:
            CHECK(false);
        case TRANSFER_EXPIRE:
            set_result(recipient, 551, SLICE("Ringpost internal: message expired"));
            recipient->enhanced[0] = 5;
            recipient->enhanced[1] = 4;
            recipient->enhanced[2] = 7;
            recipient->disposition = CLIENT_BOUNCED;
            break;
        case TRANSFER_NO_HOST:
            set_result(recipient, 400, buf_slice(&transfer->transaction.texts));
            break;
        case TRANSFER_NOWHERE:
            set_result(recipient, transfer->code, buf_slice(&transfer->transaction.texts));
            memcpy(recipient->enhanced, transfer->enhanced, sizeof(transfer->enhanced));
            if (transfer->code >= 500) {
                recipient->disposition = CLIENT_BOUNCED;
            }
            break;
        case TRANSFER_NO_TLS:
            set_result(recipient, 451, SLICE("Ringpost internal: this path requires TLS, which "
                                             "is not built yet"));
            recipient->enhanced[0] = 4;
            recipient->enhanced[1] = 7;
            recipient->enhanced[2] = 5;
            break;
        case TRANSFER_DAMAGED:
            set_result(recipient, 451, SLICE("Ringpost internal: message cannot be read back"));
            recipient->enhanced[0] = 4;
            recipient->enhanced[1] = 3;
            break;
        case TRANSFER_ADMIN:
            set_result(recipient, 551, buf_slice(&transfer->transaction.texts));
            recipient->enhanced[0] = 5;
            recipient->enhanced[1] = 7;
            recipient->enhanced[2] = 1;
            recipient->disposition = CLIENT_BOUNCED;
            break;
        case TRANSFER_VOID:
            set_result(recipient, 551,
                       SLICE("Ringpost internal: the request that injected it had no answer"));
            recipient->enhanced[0] = 5;
            recipient->enhanced[1] = 7;
            recipient->enhanced[2] = 1;
            recipient->disposition = CLIENT_BOUNCED;
            break;
        }
    }
    transfer_record(transfer);
}

/* Was it stored for a request that a crash ended? Who sent that asks again, or has given up. */
static bool is_void(const struct transfer *transfer)
{
    const struct inject_voids *voids = transfer->delivery->voids;
    struct metadata metadata;
    return voids != NULL && voids->count > 0 &&
           metadata_parse(transfer->message->metadata, &metadata) && metadata.has_request &&
           inject_voids_have(voids, &metadata.request);
}

/* Has an operator stopped it since it was taken, or does its queue go elsewhere now? */
static bool is_stopped(const struct transfer *transfer)
{
    return !egress_serves(transfer->egress, queue_of_rows(transfer));
}

/* By its own schedule: is it over, or is it too early? Then it waits, nothing was attempted, and
 * the transfer is gone: true. */
static bool waits_for_schedule(struct transfer *transfer)
{
    struct delivery *delivery = transfer->delivery;
    uint32_t until_s;
    if (transfer_is_expired(transfer)) {
        transfer->cause = TRANSFER_EXPIRE;
        return false;
    }
    if (!transfer_waits(transfer, &until_s)) {
        return false;
    }
    counters_add(&delivery->shard->counters, COUNTER_schedule_waits, transfer->count);
    transfer_undo(transfer, until_s * NS_PER_S - queues_now_ns(delivery->queues));
    return true;
}

/* May it be sent to its site, or has that been found to lead nowhere? */
static bool is_attempt(enum transfer_cause cause)
{
    return cause == TRANSFER_SEND || cause == TRANSFER_NO_HOST || cause == TRANSFER_NOWHERE ||
           cause == TRANSFER_NO_TLS;
}

static void transfer_go(struct transfer *transfer)
{
    struct slice sender;
    struct envelope_dsn dsn = {0};
    bool whole = fill_recipients(transfer, &sender, &dsn);
    if (!whole && transfer->cause == TRANSFER_SEND) {
        transfer->cause = TRANSFER_DAMAGED;
    } else if (transfer->cause != TRANSFER_ADMIN && transfer->cause != TRANSFER_EXPIRE &&
               is_void(transfer)) {
        transfer->cause = TRANSFER_VOID;
        transfer->notifies = false; /* nobody was told that it was taken */
        counters_add(&transfer->delivery->shard->counters, COUNTER_inject_voided, transfer->count);
    }
    if (row_of(transfer, 0)->scheduled && is_attempt(transfer->cause) &&
        waits_for_schedule(transfer)) {
        return;
    }
    if (transfer->cause != TRANSFER_SEND) {
        struct egress_conn *conn = transfer->conn;
        transfer->conn = NULL;
        end_by_cause(transfer);
        if (conn != NULL) {
            egress_conn_assign(conn, NULL);
            egress_conn_idle(conn);
        }
        return;
    }
    struct client_transaction *transaction = &transfer->transaction;
    client_transaction_init(transaction, transfer->message, sender, transfer->recipients,
                            transfer->count);
    transaction->dsn = dsn;
    buf_init(&transaction->texts, transfer->texts, sizeof(transfer->texts));
    transfer_pin(transfer, message_block_bytes(transfer->message));
    transfer->begun_ns = transfer->delivery->shard->now_ns;
    if (transfer->conn == NULL || !client_conn_is_idle(&transfer->conn->conn) ||
        is_stopped(transfer)) {
        /* The connection went away, or is about to, since it was given the work. */
        transfer_undo(transfer, 0);
        return;
    }
    client_conn_send(&transfer->conn->conn, transaction);
}

/* What was only read ahead just stands first again; the memory is for those who need it now. */
static void load_failed(struct transfer *transfer, enum spool_load_status status)
{
    struct delivery *delivery = transfer->delivery;
    bool ahead = transfer->ahead;
    if (status == SPOOL_LOAD_DAMAGED && transfer->cause == TRANSFER_ADMIN) {
        /* It ends all the same; what its records say of it is what a replay will say. */
        transfer->message->location = transfer->load.location;
        transfer_go(transfer);
        return;
    }
    egress_ahead_remove(transfer);
    if (status != SPOOL_LOAD_NO_MEMORY) {
        /* Named in the log by the spool; it stays there, and is tried again later (F-05). */
        transfer_undo(transfer, transfer_options(transfer, 0)->retry_interval_ns);
        return;
    }
    delivery_drop_ahead(delivery);
    if (!ahead) {
        messages_shed(delivery->messages, 50);
    }
    transfer_undo(transfer, ahead ? 0 : MESSAGE_RETRY_NS);
}

static void load_done(struct spool_load *load)
{
    struct transfer *transfer = CONTAINER_OF(load, struct transfer, load);
    transfer->loading = false;
    if (load->status != SPOOL_LOADED) {
        spool_load_drop(transfer->delivery->spool, load);
        load_failed(transfer, load->status);
        return;
    }
    message_from_load(transfer->message, load);
    if (!transfer->ahead) {
        transfer_go(transfer);
    }
}

/* Finds the message, or begins to read it. False: no memory. */
static bool transfer_read(struct transfer *transfer)
{
    struct delivery *delivery = transfer->delivery;
    struct spool_location location = row_location(row_of(transfer, 0));
    sort_rows(transfer);
    transfer->message = messages_find(delivery->messages, location);
    if (transfer->message != NULL) {
        return true;
    }
    transfer->message = message_new(delivery->messages);
    if (transfer->message == NULL) {
        return false;
    }
    transfer->loading = true;
    transfer->load = (struct spool_load){
        .done = load_done, .head_only = transfer->cause == TRANSFER_ADMIN};
    chain_init(&transfer->load.body);
    spool_load(delivery->spool, &transfer->load, location);
    return true;
}

bool transfer_read_ahead(struct transfer *transfer)
{
    transfer_uncharge(transfer);
    if (!transfer_read(transfer)) {
        load_failed(transfer, SPOOL_LOAD_NO_MEMORY);
        return false;
    }
    return true;
}

void transfer_start(struct transfer *transfer)
{
    if (transfer->cause != TRANSFER_SEND) {
        transfer_uncharge(transfer);
    }
    if (transfer->message == NULL && !transfer_read(transfer)) {
        transfer_undo(transfer, MESSAGE_RETRY_NS);
        return;
    }
    if (!transfer->loading) {
        transfer_go(transfer);
    } else if (transfer->cause == TRANSFER_SEND) {
        transfer_pin(transfer, message_block_bytes_for(row_of(transfer, 0)->size_64 * 64ull));
    }
}

/* --- parts of large bodies -------------------------------------------------------------------- */

static void part_done(struct spool_load *load)
{
    struct transfer *transfer = CONTAINER_OF(load, struct transfer, part);
    if (transfer->conn == NULL) {
        /* The connection has gone; its results wait for this load to come home. */
        transfer_record(transfer);
        return;
    }
    client_conn_part(&transfer->conn->conn, load->status == SPOOL_LOADED ? &load->body : NULL);
}

void transfer_need_part(struct transfer *transfer, uint32_t part)
{
    struct delivery *delivery = transfer->delivery;
    spool_load_drop(delivery->spool, &transfer->part);
    transfer->part = (struct spool_load){.done = part_done};
    chain_init(&transfer->part.body);
    spool_load_part(delivery->spool, &transfer->part, &transfer->message->parts[part]);
}

/* --- the outcome ------------------------------------------------------------------------------ */

enum disposition transfer_disposition(const struct transfer *transfer, unsigned i)
{
    if (transfer->cause == TRANSFER_EXPIRE) {
        return DISPOSITION_EXPIRED;
    }
    if (transfer->cause == TRANSFER_ADMIN || transfer->cause == TRANSFER_VOID) {
        return DISPOSITION_ADMIN_BOUNCED;
    }
    switch ((enum client_disposition)transfer->recipients[i].disposition) {
    case CLIENT_DELIVERED:
        return DISPOSITION_DELIVERED;
    case CLIENT_BOUNCED:
        return DISPOSITION_BOUNCED;
    case CLIENT_DEFERRED:
        return DISPOSITION_DEFERRED;
    case CLIENT_PENDING:
    case CLIENT_RETRY_NOW:
        break;
    }
    CHECK(false);
}

/* Retry-now rows leave the transfer, to stand first and in their order; the others close up. */
static void return_untried(struct transfer *transfer)
{
    unsigned kept = 0;
    unsigned untried = 0;
    for (unsigned i = 0; i < transfer->count; i++) {
        const struct client_recipient *recipient = &transfer->recipients[i];
        untried += recipient->disposition == CLIENT_RETRY_NOW && !recipient->uncertain;
    }
    if (untried > 0) {
        transfer_refund(transfer, untried);
    }
    for (unsigned i = transfer->count; i-- > 0;) {
        if (transfer->recipients[i].disposition != CLIENT_RETRY_NOW) {
            continue;
        }
        if (transfer->recipients[i].uncertain) {
            counters_add(&transfer->delivery->shard->counters, COUNTER_uncertain, 1);
        }
        row_again(transfer, i);
    }
    for (unsigned i = 0; i < transfer->count; i++) {
        if (transfer->recipients[i].disposition != CLIENT_RETRY_NOW) {
            transfer->rows[kept] = transfer->rows[i];
            transfer->recipients[kept] = transfer->recipients[i];
            kept++;
        }
    }
    transfer->count = kept;
}

static void put_recipient(struct transfer *transfer, struct outcome_writer *writer, unsigned i)
{
    const struct client_recipient *recipient = &transfer->recipients[i];
    uint8_t command_memory[CLIENT_COMMAND_TEXT_MAX];
    struct buf command;
    const struct row *row = row_of(transfer, i);
    bool attempt = transfer->cause != TRANSFER_EXPIRE && transfer->cause != TRANSFER_ADMIN &&
                   transfer->cause != TRANSFER_VOID;
    buf_init(&command, command_memory, sizeof(command_memory));
    if (recipient->answer != CLIENT_ANSWER_NONE) {
        client_result_put_command(&command, &transfer->transaction, recipient);
    }
    enum disposition disposition = transfer_disposition(transfer, i);
    struct outcome_recipient result = {
        .index = recipient->index,
        .disposition = (uint8_t)disposition,
        .uncertain = recipient->uncertain,
        .attempts = (uint16_t)MIN_OF(row->attempts + attempt, UINT16_MAX),
        .code = recipient->code,
        .enhanced = {recipient->enhanced[0], recipient->enhanced[1], recipient->enhanced[2]},
        .command = buf_slice(&command),
        .response = slice_first(recipient->text,
                                MIN_OF(recipient->text.size, OUTCOME_RESPONSE_BYTES_MAX)),
    };
    if (disposition == DISPOSITION_DEFERRED) {
        result.due_s = transfer_due_s(transfer, i);
    }
    transfer->first_count += row->attempts == 0;
    outcome_put_recipient(writer, &result);
}

/* What its site has said last of mail that it did not take. */
static void note_refusal(const struct transfer *transfer)
{
    struct egress *egress = transfer->egress;
    struct buf buf;
    for (unsigned i = 0; i < transfer->count && egress != NULL; i++) {
        const struct client_recipient *recipient = &transfer->recipients[i];
        const uint8_t *enhanced = recipient->enhanced;
        if (recipient->disposition == CLIENT_DELIVERED || transfer->cause == TRANSFER_EXPIRE ||
            transfer->cause == TRANSFER_VOID) {
            continue;
        }
        buf_init(&buf, egress->refusal, sizeof(egress->refusal));
        buf_put_u64(&buf, recipient->code);
        if (enhanced[0] > 0) {
            buf_printf(&buf, " %u.%u.%u", enhanced[0], enhanced[1], enhanced[2]);
        }
        buf_put_byte(&buf, ' ');
        buf_put(&buf, slice_first(recipient->text, MIN_OF(recipient->text.size, buf_room(&buf))));
        egress->refusal_bytes = (uint16_t)buf.size;
        return;
    }
}

static struct outcome outcome_of(const struct transfer *transfer)
{
    const struct delivery *delivery = transfer->delivery;
    const struct egress *egress = transfer->egress;
    const struct client_transaction *transaction = &transfer->transaction;
    struct outcome outcome = {
        .message = transfer->message->location,
        .event_sequence = spool_event_sequence(delivery->spool, transfer->count),
        .wall_ns = delivery->shard->wall_ns,
        .recipient_count = (uint16_t)transfer->count,
    };
    if (egress != NULL) {
        outcome.site = slice_make(egress->name, egress->name_bytes);
        outcome.pool = egress_pool_label(egress->pool);
        outcome.source_name = egress_source_name(egress);
    }
    if (transfer->connected) {
        outcome.peer = transfer->peer;
        outcome.source = transfer->source;
        outcome.session = transfer->session;
        outcome.peer_name = slice_make(transfer->peer_name, transfer->peer_name_bytes);
    }
    if (transfer->cause == TRANSFER_SEND && transaction->mail_sent_ns != 0) {
        uint64_t taken_ns = transaction->done_ns - transaction->mail_sent_ns;
        outcome.delivery_ms = (uint32_t)MIN_OF(taken_ns / NS_PER_MS, UINT32_MAX);
    }
    return outcome;
}

/* Room for the payload: the transfer's own memory, or a block when that may be too small. */
static bool payload_memory(struct transfer *transfer, struct buf *buf_out)
{
    size_t most = OUTCOME_HEAD_BYTES + transfer->count * (CLIENT_COMMAND_TEXT_MAX + 64u);
    for (unsigned i = 0; i < transfer->count; i++) {
        most += transfer->recipients[i].text.size;
    }
    if (most <= sizeof(transfer->payload_memory)) {
        buf_init(buf_out, transfer->payload_memory, sizeof(transfer->payload_memory));
        return true;
    }
    struct block_pool *blocks = transfer->delivery->messages->blocks;
    transfer->payload_block = block_take(blocks, MIN_OF(most, OUTCOME_BYTES_MAX));
    if (transfer->payload_block == NULL) {
        return false;
    }
    buf_init(buf_out, transfer->payload_block->data, transfer->payload_block->capacity);
    return true;
}

/* The attempt is over: what the next one needs of its ready queue is free. */
static void hold_rows(const struct transfer *transfer)
{
    if (transfer->cause == TRANSFER_ADMIN) {
        return; /* there was none, and they are */
    }
    for (unsigned i = 0; i < transfer->count; i++) {
        queues_row_hold(transfer->delivery->queues, transfer->rows[i]);
    }
}

/* The OUTCOME is stored: every row goes where it sends it, by the bytes that a replay would see. */
static void settle_rows(struct transfer *transfer)
{
    struct delivery *delivery = transfer->delivery;
    uint64_t row_bytes = row_of(transfer, 0)->size_64 * 64ull;
    unsigned final_count = 0;
    struct outcome outcome;
    struct outcome_cursor cursor;
    struct outcome_recipient result;
    CHECK(outcome_open(transfer->payload, &outcome, &cursor));
    for (unsigned i = 0; i < transfer->count; i++) {
        struct row *row = row_of(transfer, i);
        CHECK(outcome_next(&cursor, &result) == 1 && result.index == row->recipient);
        if (result.disposition != DISPOSITION_DEFERRED) {
            queues_row_done(delivery->queues, transfer->rows[i]);
            final_count++;
            continue;
        }
        row->attempts = result.attempts;
        row->due_s = result.due_s;
        queues_row_wait(delivery->queues, transfer->rows[i]);
    }
    message_attempted(delivery->messages, transfer->message, transfer->first_count);
    if (final_count > 0) {
        spool_row_dead(delivery->spool, outcome.message, final_count, row_bytes);
    }
}

static void count_outcomes(const struct transfer *transfer)
{
    static const enum counter counter_of[] = {
        [DISPOSITION_DELIVERED] = COUNTER_deliveries,
        [DISPOSITION_DEFERRED] = COUNTER_transient_failures,
        [DISPOSITION_BOUNCED] = COUNTER_bounces,
        [DISPOSITION_EXPIRED] = COUNTER_expirations,
        [DISPOSITION_ADMIN_BOUNCED] = COUNTER_admin_bounces,
    };
    struct counters *counters = &transfer->delivery->shard->counters;
    uint64_t now_ns = queues_now_ns(transfer->delivery->queues);
    uint64_t since_ns = transfer->message != NULL ? transfer->message->created_ns : now_ns;
    uint64_t age_ns = now_ns - MIN_OF(since_ns, now_ns);
    for (unsigned i = 0; i < transfer->count; i++) {
        enum disposition disposition = transfer_disposition(transfer, i);
        counters_add(counters, counter_of[disposition], 1);
        if (disposition == DISPOSITION_DELIVERED) {
            histogram_record(&transfer->delivery->age, age_ns);
        }
        if (transfer->recipients[i].uncertain) {
            counters_add(counters, COUNTER_uncertain, 1);
        }
    }
    counters_add(counters, COUNTER_outcomes, 1);
}

static void outcome_stored(struct spool_write *write)
{
    struct transfer *transfer = CONTAINER_OF(write, struct transfer, write);
    struct delivery *delivery = transfer->delivery;
    if (write->status != SPOOL_STORED) {
        bool broken = spool_admission(delivery->spool, 0) == SPOOL_FAILED;
        if (delivery->cut || (delivery->stopping && broken)) {
            /* It has nowhere to go, and the stop does not wait for it: the rows stay as they were
             * before this attempt. */
            transfer_free(transfer);
            return;
        }
        list_push_back(&delivery->unrecorded, &transfer->link);
        return;
    }
    settle_rows(transfer);
    if (transfer->cause == TRANSFER_ADMIN) {
        admin_local_count(delivery, transfer->slot, transfer->count);
    }
    const struct event_source source = {
        .message = transfer->message,
        .record = write->location,
        .payload = transfer->payload,
    };
    event_tap_put(delivery->events, &source);
    transfer_free(transfer);
}

static void put_outcome(struct transfer *transfer)
{
    transfer->write = (struct spool_write){.done = outcome_stored};
    spool_put_outcome(transfer->delivery->spool, &transfer->write, &transfer->payload);
}

/* Writes the payload and puts it. Without memory for it the transfer waits, its rows hot. */
static void transfer_record(struct transfer *transfer)
{
    struct outcome_writer writer;
    struct buf buf;
    if (transfer->part.in_flight) {
        return; /* part_done comes back here */
    }
    transfer_unpin(transfer);
    return_untried(transfer);
    if (transfer->count == 0) {
        transfer_free(transfer);
        return;
    }
    if (transfer->notifies && transfer_notify(transfer)) {
        return; /* transfer_notified comes back here */
    }
    if (!payload_memory(transfer, &buf)) {
        list_push_back(&transfer->delivery->unrecorded, &transfer->link);
        return;
    }
    struct outcome outcome = outcome_of(transfer);
    outcome_put(&writer, &buf, &outcome);
    for (unsigned i = 0; i < transfer->count; i++) {
        put_recipient(transfer, &writer, i);
    }
    CHECK(!buf.overflow);
    transfer->payload = buf_slice(&buf);
    count_outcomes(transfer);
    note_refusal(transfer);
    if (transfer->delivery->advice != NULL && advice_tap_is_on(transfer->delivery->advice)) {
        transfer_advise(transfer);
    }
    hold_rows(transfer);
    put_outcome(transfer);
}

void transfer_notified(struct transfer *transfer)
{
    transfer_record(transfer);
}

void transfer_sent(struct transfer *transfer)
{
    const struct egress_conn *conn = transfer->conn;
    histogram_record(&transfer->delivery->latency,
                     transfer->delivery->shard->now_ns - transfer->begun_ns);
    /* Noted now: the outcome may have to wait, and the connection does not wait with it. */
    transfer->connected = true;
    transfer->peer = conn->conn.peer;
    transfer->source = conn->conn.source;
    transfer->session = conn->conn.id;
    transfer->passed_on = conn->conn.session.extensions.dsn;
    transfer->peer_name_bytes = conn->name_bytes;
    memcpy(transfer->peer_name, conn->name, conn->name_bytes);
    transfer->conn = NULL;
    transfer_record(transfer);
}

void transfer_record_again(struct delivery *delivery)
{
    struct list again;
    list_init(&again);
    list_append_all(&again, &delivery->unrecorded);
    for (struct list *link = list_pop_front(&again); link != NULL; link = list_pop_front(&again)) {
        struct transfer *transfer = CONTAINER_OF(link, struct transfer, link);
        if (transfer->payload.size > 0) {
            put_outcome(transfer);
        } else {
            transfer_record(transfer);
        }
    }
}
