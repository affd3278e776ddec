#include "smtp/event_tap.h"

#include "core/check.h"
#include "smtp/event_details.h"
#include "smtp/queue_of.h"
#include "smtp/reply.h"

#define TICK_NS          NS_PER_S
#define SPACE_TICKS      60 /* how often the size of the file system is asked */
#define HAND_OVER_BYTES  (4 * MIB)
#define WELL_EIGHTHS     7  /* of max_backlog: below it mail is taken again */
#define TELL_TICKS       60 /* without any progress: the event log cannot be written */

static void tap_tick(struct timer *timer);
static void replay_ended(struct event_replay *replay);
static void tell_next(struct event_tap *tap);

int event_tap_init(struct event_tap *tap, struct shard *shard,
                   const struct event_tap_options *options)
{
    *tap = (struct event_tap){.shard = shard, .options = *options};
    tap->maker = (struct event_maker){
        .feed = options->feed, .node = options->node, .conf = options->conf};
    tap->again = tap->maker;
    tap->again.keep = options->feed->batches / 2;
    timer_init(&tap->tick, tap_tick);
    int error = event_replay_init(&tap->replay, shard, options->messages, &tap->again,
                                  options->pages);
    tap->replay.ended = replay_ended;
    return error;
}

void event_tap_set_conf(struct event_tap *tap, const struct conf_lease *lease)
{
    tap->options.conf = lease->conf;
    tap->maker.conf = lease->conf;
    tap->maker.scratch = lease->scratch;
    tap->again.conf = lease->conf;
    tap->again.scratch = lease->scratch;
}

void event_tap_fini(struct event_tap *tap)
{
    shard_timer_clear(tap->shard, &tap->tick);
    event_replay_fini(&tap->replay);
}

/* --- lanes to be adopted ---------------------------------------------------------------------- */

static void tell_end(struct event_tap *tap, bool told)
{
    shard_timer_clear(tap->shard, &tap->tick);
    tap->tails = NULL;
    tap->tell_done(tap, told);
}

/* Durable is what counts: the lanes are gone a moment later. */
static void tell_look(struct event_tap *tap)
{
    if (tap->tail_count == 0 && !tap->replay.active && event_feed_settled(tap->options.feed)) {
        tell_end(tap, true);
    }
}

static void tell_next(struct event_tap *tap)
{
    if (tap->tail_count == 0) {
        event_feed_flush(tap->options.feed);
        tell_look(tap);
        return;
    }
    const struct spool_tail *tail = tap->tails++;
    tap->tail_count--;
    tap->again.lane = (uint16_t)tail->lane;
    event_replay_attach_adopted(&tap->replay, tap->adopter, tap->again.spool, tail);
    event_replay_start(&tap->replay, tail->from, tail->to, 0);
}

static void tell_tick(struct event_tap *tap)
{
    const struct event_feed *feed = tap->options.feed;
    uint64_t told = feed->events + feed->settled + tap->tail_count + tap->replay.group.sequence +
                    tap->replay.scan.read_at;
    tap->idle_ticks = told == tap->told ? tap->idle_ticks + 1 : 0;
    tap->told = told;
    if (tap->idle_ticks >= TELL_TICKS) {
        event_replay_cancel(&tap->replay);
        tell_end(tap, false);
        return;
    }
    shard_timer_set(tap->shard, &tap->tick, TICK_NS);
}

void event_tap_tell(struct event_tap *tap, struct spool *spool, uint64_t uuid,
                    void (*done)(struct event_tap *tap, bool told))
{
    tap->tails = spool_tails(spool, &tap->tail_count);
    tap->adopter = spool;
    tap->again.spool = uuid;
    tap->tell_done = done;
    if (tap->tail_count == 0) {
        tell_end(tap, true);
        return;
    }
    shard_timer_set(tap->shard, &tap->tick, TICK_NS);
    tell_next(tap);
}

/* --- live and behind -------------------------------------------------------------------------- */

/* Reads on from a place; what is little is left to the last pass, beside live events. */
static void read_on(struct event_tap *tap, struct spool_position from)
{
    struct spool_position now = spool_position(tap->spool);
    bool gap_passed = from.sequence > tap->replay.gap.to.sequence;
    if (gap_passed && scan_distance(&tap->replay.scan, from, now) <= HAND_OVER_BYTES) {
        tap->state = EVENT_TAP_LIVE;
        tap->live_from = now;
    }
    event_replay_start(&tap->replay, from, now, tap->stored);
}

static void replay_ended(struct event_replay *replay)
{
    struct event_tap *tap = CONTAINER_OF(replay, struct event_tap, replay);
    if (tap->tails != NULL) {
        tell_next(tap);
        return;
    }
    if (tap->state == EVENT_TAP_BEHIND) {
        read_on(tap, replay->to);
    }
}

void event_tap_start(struct event_tap *tap, struct spool *spool, uint64_t uuid)
{
    struct spool_position cursor = spool_cursor(spool);
    struct spool_position now = spool_position(spool);
    tap->spool = spool;
    tap->maker.spool = uuid;
    tap->maker.lane = (uint16_t)spool_lane(spool);
    tap->again.spool = uuid;
    tap->again.lane = tap->maker.lane;
    tap->live_from = now;
    event_replay_attach(&tap->replay, spool, uuid);
    if (cursor.sequence > 0 && cursor.sequence < now.sequence) {
        tap->state = EVENT_TAP_BEHIND;
        event_replay_start(&tap->replay, cursor, now, 0);
    }
    tap_tick(&tap->tick);
}

/* The feed refused this event of the group that is being answered. */
static void fall_behind(struct event_tap *tap, const struct event_source *source, uint32_t next)
{
    struct spool_position group = spool_answering(tap->spool);
    bool reading = tap->replay.active;
    tap->state = EVENT_TAP_BEHIND;
    tap->refusals++;
    tap->replay.gap = (struct event_gap){
        .from = reading ? tap->live_from.sequence : group.sequence,
        .to = {.sequence = group.sequence, .record = source->record, .next = next},
    };
    if (!reading) {
        /* A pass over nothing: its end comes when this group has been answered. */
        event_replay_start(&tap->replay, group, group, 0);
    }
}

static struct event_facts facts_of(const struct message *message)
{
    return (struct event_facts){
        .id = message->id,
        .created_ns = message->created_ns,
        .size = message_sent_bytes(message->prepend, message->body_bytes, message->cuts),
        .envelope = message->envelope,
        .metadata = message->metadata,
    };
}

static bool make(const struct event_maker *maker, const struct event_source *source,
                 uint32_t *next)
{
    if (source->rebound != NULL) {
        return event_make_rebinds(maker, source->rebound, source->sequence, next);
    }
    if (source->message == NULL) {
        return event_make_reports(maker, source->payload, next);
    }
    const struct event_facts facts = facts_of(source->message);
    return source->payload.size == 0
               ? event_make_receptions(maker, &facts, source->sequence, next)
               : event_make_outcomes(maker, &facts, source->payload, next);
}

void event_tap_put(struct event_tap *tap, const struct event_source *source)
{
    uint32_t next = 0;
    tap->stored = spool_answering(tap->spool).sequence;
    if (tap->state == EVENT_TAP_LIVE && !make(&tap->maker, source, &next)) {
        fall_behind(tap, source, next);
    }
}

/* --- marks ------------------------------------------------------------------------------------ */

struct spool_position event_tap_mark(const struct event_tap *tap)
{
    if (tap->spool == NULL) {
        return (struct spool_position){0};
    }
    if (tap->replay.active || tap->state == EVENT_TAP_BEHIND) {
        return event_replay_position(&tap->replay);
    }
    return spool_position(tap->spool);
}

void event_tap_ready(struct event_tap *tap)
{
    event_replay_go(&tap->replay);
}

/* Groups without events do not hold the cursor back. */
static bool settled(const struct event_tap *tap)
{
    return tap->state == EVENT_TAP_LIVE && !tap->replay.active && !tap->options.feed->lost &&
           event_feed_settled(tap->options.feed);
}

void event_tap_durable(struct event_tap *tap)
{
    if (tap->tails != NULL) {
        tell_look(tap);
        return;
    }
    if (tap->stopping) {
        return;
    }
    spool_cursor_set(tap->spool, settled(tap) ? spool_position(tap->spool)
                                              : tap->options.feed->durable);
}

bool event_tap_settled(struct event_tap *tap)
{
    if (!settled(tap)) {
        return false;
    }
    spool_cursor_set(tap->spool, spool_position(tap->spool));
    return true;
}

/* --- the backlog ------------------------------------------------------------------------------ */

static void space_known(struct work_job *job)
{
    struct event_tap *tap = CONTAINER_OF(job, struct event_tap, space);
    if (job->result >= 0) {
        tap->backlog_max =
            job->space / 100 * tap->options.backlog_max.value / tap->options.lanes;
    }
}

/* The file system may have been made larger meanwhile. */
static void space_ask(struct event_tap *tap)
{
    if (!tap->options.backlog_max.percent) {
        tap->backlog_max = tap->options.backlog_max.value / tap->options.lanes;
        return;
    }
    tap->space = (struct work_job){
        .kind = WORK_SPACE, .done = space_known, .path = tap->options.spool_path};
    if (!work_submit(tap->shard->work, tap->shard, &tap->space)) {
        tap->ticks = 0; /* again at the next tick */
    }
}

static void backlog_look(struct event_tap *tap)
{
    uint64_t bytes = spool_backlog_bytes(tap->spool);
    uint64_t limit = tap->too_far ? tap->backlog_max / 8 * WELL_EIGHTHS : tap->backlog_max;
    bool too_far = tap->backlog_max > 0 && bytes > limit;
    if (too_far == tap->too_far) {
        return;
    }
    struct logline line;
    tap->too_far = too_far;
    logline_begin(&line, too_far ? "event_log_behind" : "event_log_caught_up");
    logline_u64(&line, "lane", tap->maker.lane);
    logline_u64(&line, "bytes", bytes);
    logline_u64(&line, "max", tap->backlog_max);
    logline_end(&line, &tap->options.sink);
}

bool event_tap_behind_too_far(const struct event_tap *tap)
{
    return tap->too_far;
}

static void tap_tick(struct timer *timer)
{
    struct event_tap *tap = CONTAINER_OF(timer, struct event_tap, tick);
    if (tap->tails != NULL) {
        tell_tick(tap);
        return;
    }
    if (tap->stopping) {
        return;
    }
    if (!tap->space.in_flight && tap->ticks++ % SPACE_TICKS == 0) {
        space_ask(tap);
    }
    (void)event_tap_settled(tap);
    backlog_look(tap);
    shard_timer_set(tap->shard, &tap->tick, TICK_NS);
}

/* --- the end ---------------------------------------------------------------------------------- */

void event_tap_stop(struct event_tap *tap)
{
    tap->stopping = true;
    event_replay_cancel(&tap->replay);
    shard_timer_clear(tap->shard, &tap->tick);
}

bool event_tap_idle(const struct event_tap *tap)
{
    return event_replay_idle(&tap->replay) && !tap->space.in_flight;
}

/* --- rejections ------------------------------------------------------------------------------- */

/* With what [log] lists of it, where its records are written. */
static void offer(struct event_tap *tap, const struct rejection *rejection, struct event *event)
{
    const struct conf *conf = tap->options.conf;
    const struct metadata metadata = {
        .protocol = event->protocol,
        .peer = rejection->peer,
        .local = rejection->local,
        .hello = rejection->hello,
    };
    struct event_details details;
    if (event_is_muted(&tap->maker, EVENT_REJECTION)) {
        return;
    }
    if (conf != NULL) {
        event_details_fill(&details, &conf->log, &metadata, event);
    }
    event_feed_offer(tap->options.feed, event);
}

void event_tap_reject(struct event_tap *tap, const struct rejection *rejection)
{
    struct slice reply = rejection->reply;
    struct event event = {
        .type = EVENT_REJECTION,
        .protocol = SLICE("ESMTP"),
        .node = tap->options.node,
        .wall_ns = tap->shard->wall_ns,
        .created_ns = tap->shard->wall_ns,
        .session = rejection->session,
        .peer = rejection->peer,
        .source = rejection->local,
        .origin = rejection->origin,
        .peer_name = rejection->hello,
        .sender = rejection->sender,
        .recipient = rejection->recipient,
        .queue = address_domain(rejection->recipient),
        .command = rejection->command,
    };
    uint64_t code = 0;
    if (reply.size > 3 && slice_parse_u64(slice_first(reply, 3), &code)) {
        event.code = (uint16_t)code;
    }
    event.content = reply.size > 4 ? slice_skip(reply, 4) : SLICE_NONE;
    if (!enhanced_code_parse(&event.content, event.enhanced)) {
        event.enhanced[0] = 0; /* none: the text stays whole */
    }
    event_classify(&tap->maker, &event);
    offer(tap, rejection, &event);
    counters_add(&tap->shard->counters, COUNTER_rejections, 1);
}
