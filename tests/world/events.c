/*
 * The event log beside the ledger. All records are read first, then looked at in three orders: as
 * they stand in each file, by event id, and by recipient.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/event.h"
#include "core/json_read.h"
#include "tests/world/world.h"

#define NUMBER_NONE   UINT32_MAX
#define CODE_CLASS    100
#define EVENT_ID_TEXT "%016" PRIx64 "%03x%013" PRIx64

/* What a record says. */
struct told {
    uint64_t sequence;
    unsigned lane;
    unsigned file;
    unsigned place; /* among all that was read */
    enum event_type type;
    uint32_t message; /* NUMBER_NONE: it could not be read back */
    unsigned recipient;
    uint64_t attempts;
    uint64_t size;
    uint64_t created_s;
    uint64_t code;
    struct id id;
    size_t at; /* its text */
    size_t bytes;
};

struct judge {
    struct world *world;
    struct json_reader *json;
    struct told *told;
    size_t count;
    size_t capacity;
    uint8_t *text; /* all that was read */
    size_t text_bytes;
    size_t text_capacity;
    uint64_t holes; /* that records of unknown messages may have left */
};

/* --- complaints ------------------------------------------------------------------------------- */

static struct slice text_of(const struct judge *judge, const struct told *told)
{
    return slice_make(judge->text + told->at, told->bytes);
}

static void breach(const struct judge *judge, const struct told *told, const char *format, ...)
    PRINTF(3, 4);

static void breach(const struct judge *judge, const struct told *told, const char *format, ...)
{
    char what[128];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    if (getenv("VERBOSE") != NULL && !sim_failed(judge->world->sim)) {
        struct slice text = text_of(judge, told);
        fprintf(stderr, "%.*s\n", (int)text.size, (const char *)text.data);
    }
    sim_fail(judge->world->sim,
             "event log, file %u: lane %u, sequence %" PRIu64 ", %s of message %d, recipient %u: "
             "%s",
             told->file, told->lane, told->sequence, event_type_name(told->type),
             (int)told->message, told->recipient, what);
}

/* Something is missing: a record whose message the disk did not give back may have been it. */
static bool hole(struct judge *judge)
{
    if (judge->holes == 0) {
        return false;
    }
    judge->holes--;
    return true;
}

/* --- one record ------------------------------------------------------------------------------- */

static struct slice string_at(const struct judge *judge, const char *path)
{
    struct slice text = SLICE_NONE;
    return json_read_string(judge->json, path, &text) ? text : SLICE_NONE;
}

static bool text_is(const struct judge *judge, const char *path, const char *expected)
{
    return slice_equal(string_at(judge, path), slice_from_string(expected));
}

static bool event_id_get(struct judge *judge, struct told *told)
{
    char text[ID_TEXT_BYTES + 1] = {0};
    char again[ID_TEXT_BYTES + 1];
    uint64_t uuid = 0;
    struct slice id = string_at(judge, "/event_id");
    if (id.size != ID_TEXT_BYTES) {
        return false;
    }
    memcpy(text, id.data, id.size);
    if (sscanf(text, "%16" SCNx64 "%3x%13" SCNx64, &uuid, &told->lane, &told->sequence) != 3) {
        return false;
    }
    (void)snprintf(again, sizeof(again), EVENT_ID_TEXT, uuid, told->lane, told->sequence);
    return strcmp(text, again) == 0 && uuid == judge->world->spool_uuid &&
           told->lane < WORLD_LANES_MAX;
}

/* That of the domain, or of a campaign in it that an operator may have set. */
static bool queue_fits(const struct judge *judge, const char *domain)
{
    char labelled[24];
    (void)snprintf(labelled, sizeof(labelled), ":@%s", domain);
    return text_is(judge, "/queue", domain) ||
           (judge->world->rebinds &&
            slice_ends_with(string_at(judge, "/queue"), slice_from_string(labelled)));
}

/* Whom it is about, by its addresses. False: nobody there ever was. */
static bool recipient_get(struct judge *judge, struct told *told)
{
    const struct world *world = judge->world;
    char text[128] = {0};
    char queue[16];
    unsigned number = 0;
    unsigned domain = 0;
    struct slice address = string_at(judge, "/recipient");
    memcpy(text, address.data, MIN_OF(address.size, sizeof(text) - 1));
    if (sscanf(text, "r%u.%u@d%u.test", &told->recipient, &number, &domain) != 3 ||
        number >= world->message_count ||
        told->recipient >= world->messages[number].recipient_count ||
        world->messages[number].recipients[told->recipient].domain != domain) {
        return false;
    }
    told->message = number;
    (void)snprintf(text, sizeof(text), "r%u.%u@d%u.test", told->recipient, number, domain);
    (void)snprintf(queue, sizeof(queue), "d%u.test", domain);
    if (!text_is(judge, "/recipient", text) || !queue_fits(judge, queue)) {
        return false;
    }
    (void)snprintf(text, sizeof(text), "m%u@client.test", number);
    return text_is(judge, "/sender", text);
}

static bool size_fits(const struct world_message *message, uint64_t size)
{
    return message->content_bytes > 0 ? size == message->content_bytes
                                      : size > message->body_bytes;
}

static bool code_fits(const struct told *told)
{
    switch (told->type) {
    case EVENT_RECEPTION:
    case EVENT_DELIVERY:
    case EVENT_ADMIN_REBIND:
        return told->code / CODE_CLASS == 2;
    case EVENT_BOUNCE:
    case EVENT_EXPIRATION:
    case EVENT_ADMIN_BOUNCE:
        return told->code / CODE_CLASS == 5;
    case EVENT_TRANSIENT_FAILURE:
    case EVENT_REJECTION:
    case EVENT_OOB:
    case EVENT_FEEDBACK:
    case EVENT_TYPES:
        return true;
    }
    return false;
}

/* Without id and recipient: what a device that refuses to read leaves of an outcome. */
static bool is_unknown(const struct judge *judge)
{
    return text_is(judge, "/id", "") && text_is(judge, "/recipient", "") &&
           text_is(judge, "/sender", "");
}

static void facts_judge(struct judge *judge, struct told *told)
{
    struct world *world = judge->world;
    if (is_unknown(judge)) {
        told->message = NUMBER_NONE;
        if (told->type == EVENT_RECEPTION ||
            sim_fault_count(world->sim, SIM_FAULT_read_error) == 0) {
            breach(judge, told, "without id and recipient");
        }
        return;
    }
    if (!recipient_get(judge, told)) {
        breach(judge, told, "of nobody that there was");
    } else if (!id_parse(string_at(judge, "/id"), &told->id)) {
        breach(judge, told, "without id");
    } else if (!json_read_u64(judge->json, "/size", &told->size) ||
               !json_read_u64(judge->json, "/created", &told->created_s) ||
               !json_read_u64(judge->json, "/num_attempts", &told->attempts) ||
               !json_read_u64(judge->json, "/response/code", &told->code)) {
        breach(judge, told, "without a number that it must have");
    } else if (!size_fits(&world->messages[told->message], told->size)) {
        breach(judge, told, "%" PRIu64 " bytes, the sink had %" PRIu64, told->size,
               world->messages[told->message].content_bytes);
    } else if (!code_fits(told)) {
        breach(judge, told, "with the reply %" PRIu64, told->code);
    }
}

/* Room for one more record and its text. */
static void judge_grow(struct judge *judge, size_t bytes)
{
    if (judge->count == judge->capacity) {
        judge->capacity = 2 * judge->capacity + 1024;
        judge->told = realloc(judge->told, judge->capacity * sizeof(*judge->told));
        CHECK(judge->told != NULL);
    }
    if (judge->text_capacity - judge->text_bytes < bytes) {
        judge->text_capacity = 2 * judge->text_capacity + bytes;
        judge->text = realloc(judge->text, judge->text_capacity);
        CHECK(judge->text != NULL);
    }
}

/* Of mail that came and was logged: whoever sends that judges it. */
static bool is_report(enum event_type type)
{
    return type == EVENT_OOB || type == EVENT_FEEDBACK;
}

/* Of a notification: tests/world/notices.c judges those. */
static bool is_notice(const struct judge *judge)
{
    return judge->world->notifies && text_is(judge, "/sender", "") &&
           slice_ends_with(string_at(judge, "/recipient"), SLICE("@client.test"));
}

static void line_take(void *context, unsigned file, struct slice line)
{
    struct judge *judge = context;
    judge_grow(judge, line.size);
    struct told *told = &judge->told[judge->count];
    *told = (struct told){.file = file,
                          .place = (unsigned)judge->count,
                          .message = NUMBER_NONE,
                          .at = judge->text_bytes,
                          .bytes = line.size};
    if (line.size > 0) {
        memcpy(judge->text + judge->text_bytes, line.data, line.size);
    }
    if (!json_read(judge->json, line) ||
        !event_type_parse(string_at(judge, "/type"), &told->type)) {
        breach(judge, told, "no record");
        return;
    }
    if (told->type == EVENT_REJECTION || is_report(told->type) || is_notice(judge)) {
        return;
    }
    judge->count++;
    judge->text_bytes += line.size;
    if (!event_id_get(judge, told)) {
        breach(judge, told, "with a wrong event_id");
    } else {
        facts_judge(judge, told);
    }
}

/* --- as they stand in the files --------------------------------------------------------------- */

/* Sequences that ascend, each plus one. */
struct ascent {
    uint64_t high;
    uint64_t low;
};

/* Into the higher one of two that takes it. False: it is below both. */
static bool ascend(struct ascent *ascent, uint64_t sequence)
{
    uint64_t next = sequence + 1;
    if (next > ascent->high) {
        ascent->high = next;
        return true;
    }
    bool fits = next > ascent->low;
    ascent->low = next;
    return fits;
}

/*
 * A lane tells what is stored now and, beside it, what is read again: each of the two in the order
 * of the log, but that Receptions do not wait for outcomes whose messages are being loaded. So in
 * one file its Receptions are two ascending rows shuffled into one, and so is the rest.
 */
static void order_judge(struct judge *judge)
{
    struct ascent ascents[WORLD_LANES_MAX][2] = {0};
    for (size_t i = 0; i < judge->count; i++) {
        const struct told *told = &judge->told[i];
        if (i > 0 && told->file != judge->told[i - 1].file) {
            memset(ascents, 0, sizeof(ascents));
        }
        if (!ascend(&ascents[told->lane][told->type == EVENT_RECEPTION], told->sequence)) {
            breach(judge, told, "out of order");
            return;
        }
    }
}

/* --- by event id ------------------------------------------------------------------------------ */

static int compare_events(const void *a, const void *b)
{
    const struct told *one = a;
    const struct told *other = b;
    if (one->lane != other->lane) {
        return one->lane < other->lane ? -1 : 1;
    }
    if (one->sequence != other->sequence) {
        return one->sequence < other->sequence ? -1 : 1;
    }
    return one->place < other->place ? -1 : 1;
}

/*
 * Each event once; a copy stands in the file of another life. Where one could not be read back the
 * other one counts.
 */
static void repeats_judge(struct judge *judge)
{
    size_t kept = 0;
    unsigned file = 0;
    qsort(judge->told, judge->count, sizeof(*judge->told), compare_events);
    for (size_t i = 0; i < judge->count; i++) {
        const struct told *told = &judge->told[i];
        struct told *last = kept > 0 ? &judge->told[kept - 1] : NULL;
        if (last == NULL || last->lane != told->lane || last->sequence != told->sequence) {
            file = told->file;
            judge->told[kept++] = *told;
            continue;
        }
        judge->world->tally.events_repeated++;
        if (last->message == NUMBER_NONE) {
            *last = *told;
        } else if (told->message != NUMBER_NONE &&
                   !slice_equal(text_of(judge, last), text_of(judge, told))) {
            breach(judge, told, "not the same as in file %u", last->file);
        } else if (told->file == file) {
            breach(judge, told, "twice in one file");
        }
        file = told->file;
    }
    judge->count = kept;
}

/* --- by request ------------------------------------------------------------------------------- */

/*
 * What a crash has left of a request with a key, and nobody was told of, is ended before it is
 * sent; it is told, and counts for nothing.
 */
static void voids_judge(struct judge *judge)
{
    size_t i = 0;
    while (i < judge->count) {
        const struct told end = judge->told[i++];
        size_t kept = 0;
        if (end.type != EVENT_ADMIN_BOUNCE || end.message == NUMBER_NONE ||
            !judge->world->messages[end.message].keyed) {
            continue;
        }
        for (size_t k = 0; k < judge->count; k++) {
            const struct told *told = &judge->told[k];
            if (memcmp(&told->id, &end.id, sizeof(end.id)) != 0) {
                judge->told[kept++] = *told;
            } else if (told->type != EVENT_RECEPTION && told->type != EVENT_ADMIN_BOUNCE) {
                breach(judge, told, "of a request without an answer");
            }
        }
        judge->count = kept;
        judge->world->tally.voided++;
        i = 0;
    }
}

/* --- by recipient ----------------------------------------------------------------------------- */

static int compare_recipients(const void *a, const void *b)
{
    const struct told *one = a;
    const struct told *other = b;
    if (one->message != other->message) {
        return one->message < other->message ? -1 : 1;
    }
    if (one->recipient != other->recipient) {
        return one->recipient < other->recipient ? -1 : 1;
    }
    /* A message whose lane was adopted went on in another one, after what was told before. */
    return one->lane == other->lane ? compare_events(a, b) : one->place < other->place ? -1 : 1;
}

/* All records of a message agree on it. */
static void kin_judge(const struct judge *judge, const struct told *first, const struct told *told)
{
    bool same = first->recipient == told->recipient;
    struct id id = id_with_index(first->id, id_index(&told->id));
    bool kin = memcmp(&id, &told->id, sizeof(id)) == 0;
    if (!kin || same != (id_index(&first->id) == id_index(&told->id))) {
        breach(judge, told, "with another id than before");
    } else if (first->size != told->size || first->created_s != told->created_s) {
        breach(judge, told, "with another size or time of reception");
    } else if (first->lane != told->lane &&
               judge->world->shards_least == judge->world->shards_most) {
        breach(judge, told, "told by another lane than before");
    }
}

/* The id that the client was given, counted on. */
static void id_judge(const struct judge *judge, const struct told *told)
{
    const struct world_message *message = &judge->world->messages[told->message];
    unsigned index = id_index(&message->id);
    for (unsigned i = 0; i < told->recipient; i++) {
        index += message->recipients[i].accepted == WORD_YES;
    }
    struct id id = id_with_index(message->id, (uint16_t)index);
    if (message->fate == FATE_TAKEN && memcmp(&id, &told->id, sizeof(id)) != 0) {
        breach(judge, told, "with another id than the client was told");
    }
}

/* May there be such a record at all? */
static void right_judge(const struct judge *judge, const struct told *told)
{
    const struct world *world = judge->world;
    const struct world_message *message = &world->messages[told->message];
    const struct world_recipient *recipient = &message->recipients[told->recipient];
    bool late = told->type == EVENT_RECEPTION && message->late; /* the void stands behind it */
    bool may = message->fate == FATE_SENT || message->fate == FATE_TAKEN ||
               (message->fate == FATE_REFUSED &&
                (message->may_come || world->refused_may_come || late));
    if (!may || recipient->accepted == WORD_NO) {
        breach(judge, told, "it was not taken: fate %d", message->fate);
    } else if ((told->type == EVENT_DELIVERY && recipient->delivered == 0) ||
               (told->type == EVENT_BOUNCE && recipient->bounced == 0) ||
               (told->type == EVENT_EXPIRATION && !recipient->expired) ||
               (told->type == EVENT_ADMIN_REBIND && !world->rebinds) ||
               (told->type == EVENT_ADMIN_BOUNCE && !world_may_end(world, recipient))) {
        breach(judge, told, "that never happened");
    }
}

static bool is_end(enum event_type type)
{
    return type == EVENT_DELIVERY || type == EVENT_BOUNCE || type == EVENT_EXPIRATION ||
           type == EVENT_ADMIN_BOUNCE;
}

/*
 * What is told of one recipient, in the order of the log: a Reception, then one record for each
 * attempt, counted without a gap, the last of which ends it; or it expired between two attempts.
 */
static void chain_judge(struct judge *judge, const struct told *told, size_t count)
{
    uint64_t attempts = 0;
    if (told[0].type != EVENT_RECEPTION) {
        breach(judge, &told[0], "without a Reception before it");
    }
    for (size_t i = 1; i < count; i++) {
        if (told[i].type == EVENT_RECEPTION) {
            breach(judge, &told[i], "received once more");
        } else if (is_end(told[i - 1].type)) {
            breach(judge, &told[i], "after its end, sequence %" PRIu64, told[i - 1].sequence);
        }
        if (told[i].type == EVENT_ADMIN_REBIND) {
            judge->world->tally.events_rebound++;
            continue; /* between two attempts */
        }
        attempts += told[i].type != EVENT_EXPIRATION && told[i].type != EVENT_ADMIN_BOUNCE;
        for (; attempts < told[i].attempts && hole(judge); attempts++) {
        }
        if (told[i].attempts != attempts) {
            breach(judge, &told[i], "attempt %" PRIu64 ", %" PRIu64 " are told", told[i].attempts,
                   attempts);
        }
    }
}

/* Did this recipient have to get to its end? */
static bool is_owed(const struct world_message *message, unsigned index)
{
    const struct world_recipient *recipient = &message->recipients[index];
    return recipient->attempts > 0 ||
           (message->fate == FATE_TAKEN && recipient->accepted == WORD_YES);
}

static void owed_judge(struct judge *judge, uint32_t number, unsigned index,
                       const struct told *last)
{
    struct world *world = judge->world;
    const struct world_message *message = &world->messages[number];
    const struct world_recipient *recipient = &message->recipients[index];
    bool ended = last != NULL && is_end(last->type);
    if (is_owed(message, index) && !ended && (last == NULL || !hole(judge))) {
        sim_fail(world->sim,
                 "event log: message %u, fate %d: recipient %u was tried %u times, delivered %u "
                 "times, and has no %s",
                 number, message->fate, index, recipient->attempts, recipient->delivered,
                 last == NULL ? "record" : "end");
    } else if (ended && last->attempts < recipient->attempts_stored) {
        breach(judge, last, "%u attempts were stored", recipient->attempts_stored);
    }
}

/* A message is stored or not, and ends or not, for all of its recipients. */
struct whole {
    unsigned received;
    unsigned ended;
    unsigned owed;
};

static void whole_judge(struct judge *judge, uint32_t number, const struct whole *whole)
{
    if (whole->received > 0 && (whole->received < whole->owed ||
                                (whole->ended > 0 && whole->ended < whole->received &&
                                 !hole(judge)))) {
        sim_fail(judge->world->sim,
                 "event log: message %u is received for %u recipients of %u, and has the end of %u",
                 number, whole->received, whole->owed, whole->ended);
    }
}

/* The records of one message; their number. */
static size_t message_judge(struct judge *judge, uint32_t number, const struct told *told,
                            size_t count)
{
    const struct world_message *message = &judge->world->messages[number];
    struct whole whole = {0};
    size_t at = 0;
    for (unsigned r = 0; r < message->recipient_count; r++) {
        size_t from = at;
        for (; at < count && told[at].message == number && told[at].recipient == r; at++) {
            right_judge(judge, &told[at]);
            if (!message->apart || r == 0) {
                id_judge(judge, &told[at]);
            }
            kin_judge(judge, message->apart ? &told[from] : &told[0], &told[at]);
        }
        if (at > from) {
            chain_judge(judge, told + from, at - from);
        }
        owed_judge(judge, number, r, at > from ? &told[at - 1] : NULL);
        whole.owed += message->recipients[r].accepted == WORD_YES;
        whole.received += at > from;
        whole.ended += at > from && is_end(told[at - 1].type);
    }
    whole_judge(judge, number, &whole);
    return at;
}

/* --- the verdict ------------------------------------------------------------------------------ */

static void recipients_judge(struct judge *judge)
{
    size_t at = 0;
    qsort(judge->told, judge->count, sizeof(*judge->told), compare_recipients);
    for (size_t i = judge->count; i > 0 && judge->told[i - 1].message == NUMBER_NONE; i--) {
        judge->holes++;
    }
    judge->world->tally.events_unknown += judge->holes;
    for (uint32_t i = 0; i < judge->world->message_count; i++) {
        at += message_judge(judge, i, judge->told + at, judge->count - at);
    }
}

/* Where the disk may forget, each record is judged alone: what it told of may be gone. */
static void alone_judge(struct judge *judge)
{
    for (size_t i = 0; i < judge->count; i++) {
        right_judge(judge, &judge->told[i]);
        id_judge(judge, &judge->told[i]);
    }
}

void world_events_judge(struct world *world)
{
    struct judge judge = {.world = world, .json = json_reader_open()};
    judge_grow(&judge, 0);
    world_log_read(world, line_take, &judge);
    if (!sim_failed(world->sim) && world->may_lose) {
        alone_judge(&judge);
    } else if (!sim_failed(world->sim)) {
        if (world->tally.commit_failures == 0) {
            order_judge(&judge);
        }
        repeats_judge(&judge);
        voids_judge(&judge);
        recipients_judge(&judge);
    }
    world->tally.events += judge.count;
    free(judge.text);
    free(judge.told);
    json_reader_close(judge.json);
}
