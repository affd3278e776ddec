#include "tests/kit/spool_ledger.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/little.h"

#define QUEUE_NUMBER 7u
#define QUEUE_NAME   "ledger"
#define STATE_ROWS   64 /* looked at in a turn */

void ledger_complain(struct ledger *ledger, const char *format, ...)
{
    if (ledger->complaint[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(ledger->complaint, sizeof(ledger->complaint), format, arguments);
        va_end(arguments);
    }
}

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){0};
    ledger->messages = calloc(LEDGER_MESSAGES_MAX, sizeof(*ledger->messages));
    CHECK(ledger->messages != NULL);
    id_source_init(&ledger->ids, 1, 77);
}

void ledger_fini(struct ledger *ledger)
{
    free(ledger->messages);
}

static uint8_t body_byte(uint32_t number, uint64_t at)
{
    return (uint8_t)(number * 2654435761u + (uint32_t)at * 40503u + (uint32_t)(at >> 8));
}

/* --- replay ----------------------------------------------------------------------------------- */

static struct ledger_message *ledger_at(struct ledger *ledger, struct spool_location location)
{
    for (uint32_t i = 0; i < ledger->count; i++) {
        struct ledger_message *message = &ledger->messages[i];
        if (message->found && message->location.segment == location.segment &&
            message->location.offset_64 == location.offset_64) {
            return message;
        }
    }
    return NULL;
}

static bool replay_message(void *context, const struct spool_found *found)
{
    struct ledger *ledger = context;
    uint32_t number = found->envelope.size == 16 ? little_u32(found->envelope.data) : UINT32_MAX;
    if (number >= ledger->count) {
        ledger_complain(ledger, "replay: a message nobody put");
        return false;
    }
    struct ledger_message *message = &ledger->messages[number];
    bool same = memcmp(&message->location, &found->location, sizeof(found->location)) == 0;
    if (message->found && !same) {
        ledger_complain(ledger, "replay: message %u stands twice in the log", number);
    }
    if (message->found) {
        return true; /* in the checkpoint, too */
    }
    if (memcmp(found->id.bytes, message->id.bytes, 16) != 0 ||
        found->body_bytes != message->body_bytes ||
        memcmp(found->envelope.data, message->envelope, 16) != 0) {
        ledger_complain(ledger, "replay: message %u is not what was put", number);
    }
    message->found = true;
    message->dead = false;
    message->location = found->location;
    return true;
}

static void replay_queue(void *context, uint32_t number, struct slice name)
{
    if (number != QUEUE_NUMBER || !slice_equal(name, SLICE(QUEUE_NAME))) {
        ledger_complain(context, "replay: queue %u has another name", number);
    }
}

static void replay_checkpoint(void *context, uint64_t rows)
{
    ((struct ledger *)context)->rows_said = rows;
}

static void replay_row(void *context, const struct checkpoint_row *row)
{
    struct ledger *ledger = context;
    ledger->rows_said--;
    if (row->created_s >= ledger->count || row->queue != QUEUE_NUMBER) {
        ledger_complain(ledger, "replay: a row that was never put");
        return;
    }
    struct ledger_message *message = &ledger->messages[row->created_s];
    message->found = true;
    message->dead = false;
    message->location = row->location;
}

static void replay_reset(void *context, uint32_t segment)
{
    (void)segment;
    struct ledger *ledger = context;
    ledger->rows_said = 0;
    for (uint32_t i = 0; i < ledger->count; i++) {
        ledger->messages[i].found = false;
    }
}

static void replay_outcome(void *context, struct spool_location place, struct slice payload)
{
    struct ledger *ledger = context;
    struct outcome outcome;
    struct outcome_cursor cursor;
    struct outcome_recipient recipient;
    if (!outcome_open(payload, &outcome, &cursor) || outcome_next(&cursor, &recipient) != 1) {
        ledger_complain(ledger, "replay: an outcome that cannot be read");
        return;
    }
    struct ledger_message *message = ledger_at(ledger, place);
    if (message != NULL) {
        message->dead = true;
        if (!message->outcome_put) {
            ledger_complain(ledger, "replay: outcome of message %u, never put", message->number);
        }
    }
}

static void replay_void(void *context, struct spool_location location)
{
    struct ledger_message *message = ledger_at(context, location);
    if (message != NULL) {
        message->found = false;
    }
}

/* What the replay says of one message, against what is known. */
static void judge(struct ledger *ledger, struct ledger_message *message)
{
    bool live = message->found && !message->dead;
    switch ((enum ledger_state)message->state) {
    case LEDGER_STORED:
        if (!live && !message->outcome_put) {
            ledger_complain(ledger, "message %u was stored and is lost", message->number);
        }
        if (live && message->outcome_stored) {
            ledger_complain(ledger, "message %u was delivered and is live", message->number);
        }
        break;
    case LEDGER_LEFT:
        if (live) {
            ledger_complain(ledger, "message %u is back from the dead", message->number);
        }
        break;
    case LEDGER_PUT:
    case LEDGER_REFUSED:
        break;
    case LEDGER_NONE:
        CHECK(false);
        break;
    }
    /* What was not answered, or an outcome not known to be stored, is from now on what it is. */
    if (live) {
        message->state = LEDGER_STORED;
        message->outcome_put = false;
    } else if (message->state != LEDGER_STORED) {
        message->state = LEDGER_LEFT;
    } else {
        message->outcome_stored = true;
    }
}

/* --- the state that a checkpoint copies ------------------------------------------------------- */

static void state_begin(void *context)
{
    struct ledger *ledger = context;
    ledger->state_at = 0;
    ledger->state_named = false;
}

static bool state_put(void *context, struct checkpoint_block *block)
{
    struct ledger *ledger = context;
    if (!ledger->state_named &&
        !checkpoint_put_queue(block, QUEUE_NUMBER, SLICE(QUEUE_NAME))) {
        return true;
    }
    ledger->state_named = true;
    for (unsigned n = 0; n < STATE_ROWS && ledger->state_at < ledger->count; n++) {
        const struct ledger_message *message = &ledger->messages[ledger->state_at];
        const struct checkpoint_row row = {.location = message->location,
                                           .queue = QUEUE_NUMBER,
                                           .created_s = message->number};
        bool live = message->state == LEDGER_STORED && !message->outcome_stored;
        if (live && !checkpoint_put_row(block, &row)) {
            return true;
        }
        ledger->state_at++;
    }
    return ledger->state_at < ledger->count;
}

static uint64_t state_bytes(void *context)
{
    struct ledger *ledger = context;
    return (uint64_t)ledger->count * CHECKPOINT_ENTRY_BYTES;
}

static void replay_finished(void *context, int error, struct slice reason)
{
    struct ledger *ledger = context;
    ledger->finished = true;
    ledger->error = error;
    snprintf(ledger->reason, sizeof(ledger->reason), "%.*s", (int)reason.size,
             (const char *)reason.data);
    if (error != 0) {
        return;
    }
    if (ledger->rows_said != 0) {
        ledger_complain(ledger, "replay: a checkpoint has other rows than it says");
    }
    ledger->rows_hash = 0;
    for (uint32_t i = 0; i < ledger->count; i++) {
        struct ledger_message *message = &ledger->messages[i];
        judge(ledger, message);
        if (message->found && !message->dead) {
            for (unsigned r = 0; r < message->recipients; r++) {
                CHECK(spool_row_live(ledger->spool, message->location, 0));
            }
            ledger->rows_hash = ledger->rows_hash * 31 + i * 7919 + message->location.segment * 31 +
                                message->location.offset_64;
        }
    }
    spool_begin(ledger->spool, &(struct spool_state){.context = ledger,
                                                     .begin = state_begin,
                                                     .put = state_put,
                                                     .bytes = state_bytes});
}

struct spool_replay ledger_begin(struct ledger *ledger, struct shard *shard,
                                 struct block_pool *pool)
{
    ledger->shard = shard;
    ledger->pool = pool;
    ledger->finished = false;
    ledger->rows_said = 0;
    ledger->error = 0;
    for (uint32_t i = 0; i < ledger->count; i++) {
        ledger->messages[i].found = false;
    }
    return (struct spool_replay){
        .context = ledger,
        .checkpoint = replay_checkpoint,
        .queue = replay_queue,
        .row = replay_row,
        .reset = replay_reset,
        .message = replay_message,
        .outcome = replay_outcome,
        .void_message = replay_void,
        .finished = replay_finished,
    };
}

void ledger_crash(struct ledger *ledger)
{
    ledger->in_flight = 0;
    ledger->failed = 0;
    ledger->last_done = 0;
    for (uint32_t i = 0; i < ledger->count; i++) {
        struct ledger_message *message = &ledger->messages[i];
        message->write.in_flight = false;
        message->outcome_write.in_flight = false;
    }
}

/* --- messages --------------------------------------------------------------------------------- */

/* A later group is durable: what had failed before it is voided for good. */
static void bury_failed(struct ledger *ledger)
{
    for (uint32_t i = 0; i < ledger->count && ledger->failed > 0; i++) {
        struct ledger_message *message = &ledger->messages[i];
        if (message->state == LEDGER_REFUSED && message->status == SPOOL_FAILED) {
            message->state = LEDGER_LEFT;
            ledger->failed--;
        }
    }
}

static void put_done(struct spool_write *write)
{
    struct ledger_message *message = CONTAINER_OF(write, struct ledger_message, write);
    struct ledger *ledger = message->ledger;
    ledger->in_flight--;
    message->status = write->status;
    chain_clear(&message->body, ledger->pool);
    if (write->status != SPOOL_STORED) {
        message->state = LEDGER_REFUSED;
        ledger->refused++;
        ledger->failed += write->status == SPOOL_FAILED;
        return;
    }
    bury_failed(ledger);
    if (message->number < ledger->last_done) {
        ledger_complain(ledger, "message %u was answered after %u", message->number,
                        ledger->last_done);
    }
    ledger->last_done = message->number;
    message->state = LEDGER_STORED;
    message->location = write->location;
    ledger->stored++;
}

static bool chain_fill(struct ledger *ledger, struct ledger_message *message)
{
    uint8_t bytes[512];
    for (uint32_t at = 0; at < message->body_bytes; at += (uint32_t)sizeof(bytes)) {
        size_t size = MIN_OF(sizeof(bytes), (size_t)(message->body_bytes - at));
        for (size_t i = 0; i < size; i++) {
            bytes[i] = body_byte(message->number, at + i);
        }
        if (!chain_append(&message->body, ledger->pool, slice_make(bytes, size))) {
            return false;
        }
    }
    return true;
}

static XXH128_hash_t chain_hash(const struct chain *chain)
{
    XXH3_state_t state;
    CHECK(XXH3_128bits_reset(&state) == XXH_OK);
    for (struct list *node = chain->blocks.next; node != &chain->blocks; node = node->next) {
        const struct block *block = CONTAINER_OF(node, struct block, link);
        CHECK(XXH3_128bits_update(&state, block->data, block->size) == XXH_OK);
    }
    return XXH3_128bits_digest(&state);
}

uint32_t ledger_put(struct ledger *ledger, uint32_t body_bytes, uint16_t recipients)
{
    CHECK(ledger->count < LEDGER_MESSAGES_MAX);
    uint32_t number = ledger->count++;
    struct ledger_message *message = &ledger->messages[number];
    message->ledger = ledger;
    message->number = number;
    message->body_bytes = body_bytes;
    message->recipients = recipients;
    message->state = LEDGER_PUT;
    message->id = id_next(&ledger->ids, ledger->shard->wall_ns);
    chain_init(&message->body);
    CHECK(chain_fill(ledger, message));
    little_put_u32(message->envelope, number);
    little_put_u32(message->envelope + 4, body_bytes);
    message->message = (struct spool_message){
        .id = message->id,
        .created_ns = ledger->shard->wall_ns,
        .recipient_count = recipients,
        .envelope = slice_make(message->envelope, 16),
        .metadata = SLICE("meta"),
        .prepend = SLICE("Received: by test\r\n"),
        .body = &message->body,
        .body_bytes = body_bytes,
        .body_hash = chain_hash(&message->body),
    };
    message->write.done = put_done;
    ledger->in_flight++;
    spool_put_message(ledger->spool, &message->write, &message->message);
    ring_wake(ledger->shard->ring);
    return number;
}

static void outcome_done(struct spool_write *write)
{
    struct ledger_message *message = CONTAINER_OF(write, struct ledger_message, outcome_write);
    struct ledger *ledger = message->ledger;
    ledger->in_flight--;
    if (write->status == SPOOL_STORED) {
        message->outcome_stored = true;
        ledger->outcomes++;
        spool_row_dead(ledger->spool, message->location, message->recipients, 0);
        spool_cursor_set(ledger->spool, spool_answering(ledger->spool));
    }
}

bool ledger_live(const struct ledger *ledger, uint32_t number)
{
    const struct ledger_message *message = &ledger->messages[number];
    return message->state == LEDGER_STORED && !message->outcome_put && !message->outcome_stored;
}

void ledger_deliver(struct ledger *ledger, uint32_t number)
{
    struct ledger_message *message = &ledger->messages[number];
    CHECK(ledger_live(ledger, number));
    struct outcome outcome = {
        .message = message->location,
        .event_sequence = spool_event_sequence(ledger->spool, 1),
        .recipient_count = 1,
    };
    struct buf buf;
    struct outcome_writer writer;
    buf_init(&buf, message->outcome, sizeof(message->outcome));
    outcome_put(&writer, &buf, &outcome);
    struct outcome_recipient recipient = {.disposition = DISPOSITION_DELIVERED, .code = 250};
    outcome_put_recipient(&writer, &recipient);
    CHECK(!buf.overflow);
    message->outcome_slice = buf_slice(&buf);
    message->outcome_put = true;
    message->outcome_write.done = outcome_done;
    ledger->in_flight++;
    spool_put_outcome(ledger->spool, &message->outcome_write, &message->outcome_slice);
    ring_wake(ledger->shard->ring);
}

bool ledger_equal(const struct ledger *ledger, uint32_t number, const struct spool_load *load)
{
    const struct ledger_message *message = &ledger->messages[number];
    if (load->body.size != message->body_bytes ||
        !slice_equal(load->envelope, slice_make(message->envelope, 16)) ||
        !slice_equal(load->metadata, SLICE("meta")) ||
        !slice_equal(load->prepend, SLICE("Received: by test\r\n")) ||
        memcmp(load->id.bytes, message->id.bytes, 16) != 0) {
        return false;
    }
    uint64_t at = 0;
    for (struct list *node = load->body.blocks.next; node != &load->body.blocks;
         node = node->next) {
        const struct block *block = CONTAINER_OF(node, struct block, link);
        for (uint32_t i = 0; i < block->size; i++) {
            if (block->data[i] != body_byte(number, at++)) {
                return false;
            }
        }
    }
    return true;
}
