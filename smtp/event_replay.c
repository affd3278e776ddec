/*
 * One record at a time is `item`: borrowed from the scan until it is dealt with. A MESSAGE is dealt
 * with at once; so is an OUTCOME when no other one waits and its message is at hand. Else the
 * OUTCOME is copied into a slot, and slots leave in their order.
 */
#include "smtp/event_replay.h"

#include <string.h>

#include "core/check.h"

#define ITEMS_MAX 256 /* a turn */
#define AGAIN_NS  (10 * NS_PER_MS)

static_assert(EVENT_REPLAY_LOADS <= 32, "the spool has 32 reads at a time");

static void replay_run(struct deferred *deferred);
static void slot_loaded(struct spool_load *load);

static void scan_more(struct scan *scan)
{
    event_replay_go(CONTAINER_OF(scan, struct event_replay, scan));
}

static void replay_again(struct timer *timer)
{
    event_replay_go(CONTAINER_OF(timer, struct event_replay, again));
}

int event_replay_init(struct event_replay *replay, struct shard *shard, struct messages *messages,
                      const struct event_maker *maker, struct boot_pages *pages)
{
    *replay = (struct event_replay){.shard = shard, .messages = messages, .maker = maker};
    deferred_init(&replay->deferred, replay_run);
    timer_init(&replay->again, replay_again);
    event_recent_init(&replay->recent, boot_pages_take(pages, event_recent_memory()));
    replay->slots = boot_pages_take(pages, EVENT_REPLAY_LOADS * sizeof(*replay->slots));
    uint8_t *payloads = boot_pages_take(pages, EVENT_REPLAY_LOADS * OUTCOME_BYTES_MAX);
    for (unsigned i = 0; i < EVENT_REPLAY_LOADS; i++) {
        replay->slots[i].replay = replay;
        replay->slots[i].payload = payloads + (size_t)i * OUTCOME_BYTES_MAX;
        chain_init(&replay->slots[i].load.body);
    }
    return scan_init(&replay->scan, shard, scan_more);
}

void event_replay_fini(struct event_replay *replay)
{
    deferred_cancel(&replay->deferred);
    shard_timer_clear(replay->shard, &replay->again);
    scan_fini(&replay->scan);
}

void event_replay_attach(struct event_replay *replay, struct spool *spool, uint64_t uuid)
{
    replay->spool = spool;
    replay->begin = spool_position(spool).sequence;
    scan_attach(&replay->scan, spool_segments(spool), uuid);
}

void event_replay_attach_adopted(struct event_replay *replay, struct spool *spool, uint64_t uuid,
                                 const struct spool_tail *tail)
{
    replay->spool = spool;
    replay->begin = UINT64_MAX; /* nothing is written there */
    scan_attach_adopted(&replay->scan, spool_segments(spool), uuid, tail->lane, tail->shift);
}

void event_replay_start(struct event_replay *replay, struct spool_position from,
                        struct spool_position to, uint64_t stored)
{
    CHECK(!replay->active && replay->slot_count == 0);
    replay->active = true;
    replay->scanned = false;
    replay->item_any = false;
    replay->group = from;
    replay->to = to;
    replay->stored = stored;
    scan_start(&replay->scan, from, to, stored > 0 ? stored + 1 : 0);
    event_replay_go(replay);
}

void event_replay_go(struct event_replay *replay)
{
    if (replay->active) {
        shard_defer(replay->shard, &replay->deferred);
    }
}

struct spool_position event_replay_position(const struct event_replay *replay)
{
    return replay->slot_count > 0 ? replay->slots[replay->slot_first].group : replay->group;
}

bool event_replay_idle(const struct event_replay *replay)
{
    bool idle = scan_idle(&replay->scan);
    for (unsigned i = 0; i < EVENT_REPLAY_LOADS; i++) {
        idle = idle && !replay->slots[i].load.in_flight;
    }
    return idle;
}

uint64_t event_replay_memory(const struct event_replay *replay)
{
    return replay->active ? replay->scan.memory_bytes + event_recent_memory() : 0;
}

/* --- facts ------------------------------------------------------------------------------------ */

static struct event_facts facts_of_message(const struct message *message)
{
    return (struct event_facts){
        .id = message->id,
        .created_ns = message->created_ns,
        .size = message_sent_bytes(message->prepend, message->body_bytes, message->cuts),
        .envelope = message->envelope,
        .metadata = message->metadata,
    };
}

static struct event_facts facts_of_load(const struct spool_load *load)
{
    return (struct event_facts){
        .id = load->id,
        .created_ns = load->created_ns,
        .size = message_sent_bytes(load->prepend, load->body_bytes, load->cuts),
        .envelope = load->envelope,
        .metadata = load->metadata,
    };
}

static struct event_facts facts_of_record(const struct record_message *message)
{
    return (struct event_facts){
        .id = message->id,
        .created_ns = message->created_ns,
        .size = message_sent_bytes(message->sections[SECTION_PREPEND], message->body_bytes,
                                   message->sections[SECTION_CUTS]),
        .envelope = message->sections[SECTION_ENVELOPE],
        .metadata = message->sections[SECTION_METADATA],
    };
}

/* At hand without a load? From the table it is copied, for it may leave that. */
static bool facts_find(struct event_replay *replay, struct spool_location location,
                       struct event_facts *facts_out)
{
    if (event_recent_find(&replay->recent, location, facts_out)) {
        return true;
    }
    struct message *message = messages_find(replay->messages, location);
    if (message == NULL) {
        return false;
    }
    struct event_facts facts = facts_of_message(message);
    event_recent_put(&replay->recent, location, &facts);
    message_unref(replay->messages, message);
    return event_recent_find(&replay->recent, location, facts_out);
}

/* --- slots ------------------------------------------------------------------------------------ */

static void slot_load(struct event_slot *slot)
{
    slot->state = SLOT_LOADING;
    slot->load.done = slot_loaded;
    slot->load.head_only = true;
    spool_load(slot->replay->spool, &slot->load, slot->message);
}

static void slot_loaded(struct spool_load *load)
{
    struct event_slot *slot = CONTAINER_OF(load, struct event_slot, load);
    struct event_replay *replay = slot->replay;
    if (!replay->active) {
        spool_load_drop(replay->spool, load);
        return;
    }
    switch (load->status) {
    case SPOOL_LOADED: {
        struct event_facts facts = facts_of_load(load);
        slot->state = SLOT_LOADED;
        event_recent_put(&replay->recent, slot->message, &facts);
        break;
    }
    case SPOOL_LOAD_NO_MEMORY:
        slot->state = SLOT_WANTED;
        spool_load_drop(replay->spool, load);
        shard_timer_set(replay->shard, &replay->again, AGAIN_NS);
        return;
    case SPOOL_LOAD_DAMAGED:
    case SPOOL_LOAD_ERROR:
        /* Named in the log by the spool. */
        slot->state = SLOT_LOST;
        spool_load_drop(replay->spool, load);
        counters_add(&replay->shard->counters, COUNTER_events_unknown, 1);
        break;
    }
    event_replay_go(replay);
}

/* False: none is free. */
static bool slot_take(struct event_replay *replay, struct slice payload)
{
    struct event_facts facts;
    if (replay->slot_count == EVENT_REPLAY_LOADS) {
        return false;
    }
    unsigned at = (replay->slot_first + replay->slot_count) % EVENT_REPLAY_LOADS;
    struct event_slot *slot = &replay->slots[at];
    CHECK(payload.size <= OUTCOME_BYTES_MAX && !slot->load.in_flight);
    memcpy(slot->payload, payload.data, payload.size);
    slot->bytes = (uint32_t)payload.size;
    slot->group = replay->group;
    slot->message = replay->item.is.outcome.message;
    slot->next = replay->next;
    slot->state = SLOT_WANTED;
    replay->slot_count++;
    if (!facts_find(replay, slot->message, &facts)) {
        slot_load(slot);
    }
    return true;
}

/* The oldest outcome's events. False: it waits for its message or for room. */
static bool slot_put(struct event_replay *replay)
{
    struct event_slot *slot = &replay->slots[replay->slot_first];
    struct slice payload = slice_make(slot->payload, slot->bytes);
    struct event_facts facts;
    const struct event_facts *known = &facts;
    switch ((enum event_slot_state)slot->state) {
    case SLOT_LOADING:
        return false;
    case SLOT_WANTED:
        if (!facts_find(replay, slot->message, &facts)) {
            if (!timer_is_set(&replay->again)) {
                slot_load(slot);
            }
            return false;
        }
        break;
    case SLOT_LOADED:
        facts = facts_of_load(&slot->load);
        break;
    case SLOT_LOST:
        known = NULL;
        break;
    }
    uint32_t before = slot->next;
    bool whole = event_make_outcomes(replay->maker, known, payload, &slot->next);
    counters_add(&replay->shard->counters, COUNTER_events_replayed, slot->next - before);
    if (!whole) {
        replay->waiting = true;
        return false;
    }
    if (slot->state == SLOT_LOADED) {
        spool_load_drop(replay->spool, &slot->load);
    }
    replay->slot_first = (replay->slot_first + 1) % EVENT_REPLAY_LOADS;
    replay->slot_count--;
    return true;
}

/* --- records ---------------------------------------------------------------------------------- */

static int place_compare(const struct event_place *a, const struct event_place *b)
{
    if (a->sequence != b->sequence) {
        return a->sequence < b->sequence ? -1 : 1;
    }
    if (a->record.offset_64 != b->record.offset_64) {
        return a->record.offset_64 < b->record.offset_64 ? -1 : 1;
    }
    return 0;
}

/* Has this record events that are not with the feed? Then `next` is the first of them. */
static bool item_wanted(struct event_replay *replay)
{
    const struct event_gap *gap = &replay->gap;
    const struct log_item *item = &replay->item;
    const struct event_place place = {.sequence = item->group->sequence,
                                      .record = item->location};
    replay->next = 0;
    if (place.sequence >= replay->to.sequence ||
        (place.sequence >= replay->begin && place.sequence > replay->stored)) {
        return false;
    }
    if (place.sequence < gap->from || gap->to.sequence == 0) {
        return true;
    }
    int order = place_compare(&place, &gap->to);
    replay->next = order == 0 ? gap->to.next : 0;
    return order >= 0;
}

static bool message_put(struct event_replay *replay)
{
    const struct record_message *message = &replay->item.is.message;
    struct event_facts facts = facts_of_record(message);
    uint32_t before = replay->next;
    bool rebound = (message->flags & SPOOL_MESSAGE_REBOUND) != 0;
    if (rebound && replay->slot_count > 0) {
        return false; /* outcomes of before wait for their messages */
    }
    bool whole = rebound ? event_make_rebinds(replay->maker, &facts, message->event_sequence,
                                              &replay->next)
                         : event_make_receptions(replay->maker, &facts, message->event_sequence,
                                                 &replay->next);
    counters_add(&replay->shard->counters, COUNTER_events_replayed, replay->next - before);
    replay->waiting = !whole;
    return whole;
}

static bool outcome_put_events(struct event_replay *replay)
{
    struct slice payload = record_payload(&replay->item.record);
    struct event_facts facts;
    if (replay->slot_count > 0 || !facts_find(replay, replay->item.is.outcome.message, &facts)) {
        return slot_take(replay, payload);
    }
    uint32_t before = replay->next;
    bool whole = event_make_outcomes(replay->maker, &facts, payload, &replay->next);
    counters_add(&replay->shard->counters, COUNTER_events_replayed, replay->next - before);
    replay->waiting = !whole;
    return whole;
}

static bool reports_put(struct event_replay *replay)
{
    uint32_t before = replay->next;
    if (replay->slot_count > 0) {
        return false; /* outcomes of before wait for their messages */
    }
    bool whole = event_make_reports(replay->maker, record_payload(&replay->item.record),
                                    &replay->next);
    counters_add(&replay->shard->counters, COUNTER_events_replayed, replay->next - before);
    replay->waiting = !whole;
    return whole;
}

/* True: the record is dealt with. */
static bool item_put(struct event_replay *replay)
{
    if (replay->item.record.kind == RECORD_OUTCOME) {
        return outcome_put_events(replay);
    }
    if (replay->item.record.kind == RECORD_EVENT) {
        return reports_put(replay);
    }
    return !spool_message_is_told(replay->item.is.message.flags) || message_put(replay);
}

static void item_take(struct event_replay *replay)
{
    const struct log_item *item = &replay->item;
    if (item->record.kind == RECORD_MESSAGE) {
        struct event_facts facts = facts_of_record(&item->is.message);
        event_recent_put(&replay->recent, item->location, &facts);
    }
    bool source = item->record.kind == RECORD_MESSAGE || item->record.kind == RECORD_OUTCOME ||
                  item->record.kind == RECORD_EVENT;
    replay->item_any = source && item_wanted(replay);
}

/* The next item. False: nothing now, or ever. */
static bool replay_step(struct event_replay *replay)
{
    switch (scan_next(&replay->scan, &replay->item)) {
    case LOG_MORE:
        return false;
    case LOG_GROUP:
        if (replay->item.group->sequence < replay->to.sequence) {
            replay->group = (struct spool_position){
                .sequence = replay->item.group->sequence,
                .group = {.segment = replay->item.segment,
                          .offset_64 = (uint32_t)(replay->item.offset / RECORD_PLACE_BYTES)}};
        }
        return true;
    case LOG_RECORD:
        item_take(replay);
        return true;
    case LOG_TORN:
        return true;
    case LOG_DAMAGE:
        replay->damages++;
        return true;
    case LOG_NEWER: /* refused at the start; we write none */
    case LOG_END:
        replay->scanned = true;
        return false;
    }
    return false;
}

static void replay_end(struct event_replay *replay)
{
    replay->active = false;
    replay->group = replay->to;
    scan_cancel(&replay->scan);
    replay->ended(replay);
}

static void replay_run(struct deferred *deferred)
{
    struct event_replay *replay = CONTAINER_OF(deferred, struct event_replay, deferred);
    if (!replay->active) {
        return;
    }
    replay->waiting = false;
    for (unsigned i = 0; i < ITEMS_MAX; i++) {
        while (replay->slot_count > 0 && slot_put(replay)) {
        }
        if (replay->waiting || (replay->item_any && !item_put(replay))) {
            return; /* for room, or for a load */
        }
        replay->item_any = false;
        if (replay->scanned || !replay_step(replay)) {
            if (replay->scanned && replay->slot_count == 0) {
                replay_end(replay);
            }
            return;
        }
    }
    event_replay_go(replay);
}

void event_replay_cancel(struct event_replay *replay)
{
    if (!replay->active) {
        return;
    }
    replay->group = event_replay_position(replay);
    replay->active = false;
    replay->item_any = false;
    for (; replay->slot_count > 0; replay->slot_count--) {
        struct event_slot *slot = &replay->slots[replay->slot_first];
        if (slot->state == SLOT_LOADED) {
            spool_load_drop(replay->spool, &slot->load);
        }
        replay->slot_first = (replay->slot_first + 1) % EVENT_REPLAY_LOADS;
    }
    shard_timer_clear(replay->shard, &replay->again);
    scan_cancel(&replay->scan);
}
