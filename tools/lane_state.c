#include "tools/lane_state.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "shard/spool/spool.h"
#include "smtp/envelope.h"

#define INDEX_MIN 1024

static bool location_equal(const void *context, uint64_t value, const void *key)
{
    const struct lane_state *state = context;
    return memcmp(&state->messages[value].location, key, sizeof(struct spool_location)) == 0;
}

static void *grown(void *memory, uint32_t *room, size_t element)
{
    *room = *room * 2 + INDEX_MIN;
    memory = realloc(memory, *room * element);
    CHECK(memory != NULL);
    return memory;
}

static void *index_memory(uint32_t slots)
{
    void *memory = malloc(htab_memory(slots));
    CHECK(memory != NULL);
    return memory;
}

void lane_state_init(struct lane_state *state)
{
    uint32_t slots = htab_slots_for(INDEX_MIN);
    *state = (struct lane_state){.message_free = STATE_NONE, .row_free = STATE_NONE};
    /* No peer chooses locations: any seed will do. */
    htab_init(&state->index, index_memory(slots), slots, 1, location_equal, state);
}

void lane_state_fini(struct lane_state *state)
{
    free(state->messages);
    free(state->rows);
    free(state->index.slots);
}

static uint64_t hash_of(const struct lane_state *state, struct spool_location location)
{
    return htab_hash(&state->index, slice_make(&location, sizeof(location)));
}

/* STATE_NONE: not known. */
static uint32_t message_find(const struct lane_state *state, struct spool_location location)
{
    uint64_t value;
    bool known = htab_find(&state->index, hash_of(state, location), &location, &value);
    return known ? (uint32_t)value : STATE_NONE;
}

static uint32_t message_make(struct lane_state *state, struct spool_location location)
{
    uint32_t place = state->message_free;
    if (place != STATE_NONE) {
        state->message_free = state->messages[place].next;
    } else {
        if (state->message_count == state->message_room) {
            state->messages = grown(state->messages, &state->message_room,
                                    sizeof(*state->messages));
        }
        place = state->message_count++;
    }
    state->messages[place] =
        (struct state_message){.location = location, .first = STATE_NONE, .next = STATE_NONE};
    uint64_t hash = hash_of(state, location);
    if (!htab_insert(&state->index, hash, place)) {
        uint32_t slots = state->index.slot_count * 2;
        free(htab_grow(&state->index, index_memory(slots), slots));
        CHECK(htab_insert(&state->index, hash, place));
    }
    state->live_messages++;
    return place;
}

static void message_forget(struct lane_state *state, uint32_t place)
{
    struct spool_location location = state->messages[place].location;
    uint64_t value;
    CHECK(htab_remove(&state->index, hash_of(state, location), &location, &value));
    state->messages[place].first = STATE_NONE;
    state->messages[place].next = state->message_free;
    state->message_free = place;
    state->live_messages--;
}

static struct state_row *row_find(const struct lane_state *state, uint32_t message,
                                  uint16_t recipient)
{
    uint32_t at = message == STATE_NONE ? STATE_NONE : state->messages[message].first;
    while (at != STATE_NONE && state->rows[at].recipient != recipient) {
        at = state->rows[at].next;
    }
    return at == STATE_NONE ? NULL : &state->rows[at];
}

/* Makes the message as well when it is not known. */
static struct state_row *row_make(struct lane_state *state, struct spool_location location,
                                  uint16_t recipient)
{
    uint32_t message = message_find(state, location);
    uint32_t at = state->row_free;
    if (message == STATE_NONE) {
        message = message_make(state, location);
    }
    if (at != STATE_NONE) {
        state->row_free = state->rows[at].next;
    } else {
        if (state->row_count == state->row_room) {
            state->rows = grown(state->rows, &state->row_room, sizeof(*state->rows));
        }
        at = state->row_count++;
    }
    state->rows[at] =
        (struct state_row){.next = state->messages[message].first, .recipient = recipient};
    state->messages[message].first = at;
    state->live_rows++;
    return &state->rows[at];
}

static void row_finish(struct lane_state *state, uint32_t message, uint16_t recipient)
{
    uint32_t *link = &state->messages[message].first;
    while (*link != STATE_NONE && state->rows[*link].recipient != recipient) {
        link = &state->rows[*link].next;
    }
    if (*link == STATE_NONE) {
        return;
    }
    uint32_t at = *link;
    *link = state->rows[at].next;
    state->rows[at].next = state->row_free;
    state->row_free = at;
    state->live_rows--;
    if (state->messages[message].first == STATE_NONE) {
        message_forget(state, message);
    }
}

/* --- what is met ------------------------------------------------------------------------------ */

void lane_state_checkpoint(struct lane_state *state, const struct checkpoint_row *row)
{
    struct state_row *found =
        row_find(state, message_find(state, row->location), row->recipient);
    if (found == NULL) {
        found = row_make(state, row->location, row->recipient);
    }
    found->attempts = row->attempts;
    found->due_s = row->due_s;
}

/* A recipient of a message that was written again stands where the later one is. */
static void row_moved(struct lane_state *state, const struct log_item *item, uint16_t recipient)
{
    struct spool_location from = item->is.message.moved_from;
    uint32_t old = message_find(state, from);
    const struct state_row *known = row_find(state, old, recipient);
    uint16_t attempts = known == NULL ? 0 : known->attempts;
    uint32_t due_s = known == NULL ? 0 : known->due_s;
    if (known != NULL) {
        row_finish(state, old, recipient);
    }
    struct state_row *row = row_make(state, item->location, recipient);
    row->attempts = attempts;
    row->due_s = due_s;
}

static void state_message_found(struct lane_state *state, const struct log_item *item)
{
    const struct record_message *message = &item->is.message;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    struct slice envelope = message->sections[SECTION_ENVELOPE];
    if (!envelope_sound(envelope) || !envelope_open(envelope, &sender, &cursor)) {
        return;
    }
    while (envelope_next(&cursor, &recipient) == 1) {
        uint32_t known = message_find(state, item->location);
        if (row_find(state, known, recipient.index) != NULL) {
            continue;
        }
        if ((message->flags & SPOOL_MESSAGE_MOVED) != 0) {
            row_moved(state, item, recipient.index);
        } else {
            (void)row_make(state, item->location, recipient.index);
        }
    }
}

static void state_outcome_found(struct lane_state *state, const struct log_item *item)
{
    struct outcome outcome;
    struct outcome_cursor cursor;
    struct outcome_recipient result;
    if (!outcome_open(record_payload(&item->record), &outcome, &cursor)) {
        return;
    }
    while (outcome_next(&cursor, &result) == 1) {
        uint32_t message = message_find(state, outcome.message);
        struct state_row *row = row_find(state, message, result.index);
        if (row == NULL) {
            continue;
        }
        if (result.disposition != DISPOSITION_DEFERRED) {
            row_finish(state, message, result.index);
            continue;
        }
        row->attempts = result.attempts;
        row->due_s = result.due_s;
    }
}

void lane_state_record(struct lane_state *state, const struct log_item *item)
{
    uint32_t message;
    switch ((enum record_kind)item->record.kind) {
    case RECORD_MESSAGE:
        state_message_found(state, item);
        break;
    case RECORD_OUTCOME:
        state_outcome_found(state, item);
        break;
    case RECORD_VOID:
        while ((message = message_find(state, item->is.voids)) != STATE_NONE) {
            row_finish(state, message, state->rows[state->messages[message].first].recipient);
        }
        break;
    case RECORD_BODY:
    case RECORD_EVENT:
    case RECORD_CURSOR:
    case RECORD_ADOPT:
    case RECORD_NOTHING:
        break;
    }
}

static int compare_messages(const void *a, const void *b, void *context)
{
    const struct lane_state *state = context;
    struct spool_location left = state->messages[*(const uint32_t *)a].location;
    struct spool_location right = state->messages[*(const uint32_t *)b].location;
    if (left.segment != right.segment) {
        return left.segment < right.segment ? -1 : 1;
    }
    return left.offset_64 < right.offset_64 ? -1 : left.offset_64 > right.offset_64;
}

uint32_t *lane_state_order(const struct lane_state *state)
{
    uint32_t *order = malloc((state->live_messages + 1) * sizeof(*order));
    uint32_t count = 0;
    CHECK(order != NULL);
    for (uint32_t i = 0; i < state->message_count; i++) {
        if (state->messages[i].first != STATE_NONE) {
            order[count++] = i;
        }
    }
    CHECK(count == state->live_messages);
    qsort_r(order, count, sizeof(*order), compare_messages, (void *)(uintptr_t)state);
    return order;
}
