/*
 * inbound: asks come in; the last one waits in the stream's own buffers until it is whole, is then
 * copied into the open group, and the connection waits for the commit. A body that comes in so many
 * pieces that the stream would stop receiving is gathered in memory of the connection first.
 *
 * group: open → committing → forwarding → free. One commit in flight; while it is, the next group
 * grows.
 *
 * outbound: as many connections as inbound ones, each sends one body at a time from its group.
 */
#include "bench/floor.h"

#include <stdlib.h>
#include <string.h>

#include "bench/floor_internal.h"
#include "core/check.h"

#define SECTOR 4096u

struct group {
    struct list link;    /* in relay->free */
    uint8_t *data;       /* owned, aligned to SECTOR */
    size_t size;
    unsigned messages;   /* stored in it */
    unsigned references; /* messages not yet sent on */
    struct list inbound; /* connections to answer when it is stored */
};

struct inbound {
    struct list link; /* in a group's list, or in relay->stalled */
    struct floor_relay *relay;
    struct stream stream;
    unsigned step;
    size_t got;        /* bytes of the ask, in `gathered` or consumed */
    uint64_t consumed; /* bytes of the stream */
    uint8_t *gathered; /* owned; the ask as far as it had to be gathered */
    size_t offset;     /* of the body in its group */
    bool waiting;      /* for a group or for the commit */
};

struct outbound {
    struct list link; /* in relay->idle */
    struct floor_relay *relay;
    struct stream stream;
    unsigned step;
    size_t got;
    struct item *item; /* null: idle, or not connected yet */
};

/* A stored body on its way. */
struct item {
    struct list link; /* in relay->items or relay->items_free */
    struct group *group;
    size_t offset;
};

struct floor_relay {
    struct shard *shard;
    struct floor_options options;
    struct floor_result *result;
    struct floor_listener listener;
    unsigned taken;
    size_t slot_bytes;  /* of a body in a group */
    size_t group_bytes;
    struct group groups[FLOOR_GROUPS_MAX];
    struct list free;
    struct group *open;       /* null: every group is in use */
    struct group *committing; /* null: none */
    uint64_t write_offset;    /* in the segment */
    size_t write_done;
    uint64_t commit_ns;
    struct iovec write;
    struct op write_op;
    struct deferred commit;
    struct list stalled;
    struct list idle;
    struct list items;
    struct list items_free;
    uint8_t bytes[256]; /* what asks and answers consist of */
    struct inbound *inbound;
    struct outbound *outbound;
    struct item *item_memory;
};

static void inbound_drive(struct inbound *in);

/* --- groups ----------------------------------------------------------------------------------- */

static void relay_open_group(struct floor_relay *relay)
{
    struct list *node = list_pop_front(&relay->free);
    relay->open = node != NULL ? CONTAINER_OF(node, struct group, link) : NULL;
    if (relay->open != NULL) {
        relay->open->size = 0;
        relay->open->messages = 0;
        relay->open->references = 0;
    }
}

static void relay_fail(struct floor_relay *relay)
{
    atomic_store(&relay->result->failed, true);
}

static void relay_write(struct floor_relay *relay)
{
    size_t whole = align_up(relay->committing->size, SECTOR);
    relay->write = (struct iovec){relay->committing->data + relay->write_done,
                                  whole - relay->write_done};
    struct ring_extent extent = {&relay->write, 1, relay->write_offset + relay->write_done};
    ring_write(relay->shard->ring, &relay->write_op, relay->options.segment_fd, &extent, true);
}

static void relay_commit(struct deferred *deferred)
{
    struct floor_relay *relay = CONTAINER_OF(deferred, struct floor_relay, commit);
    struct group *group = relay->open;
    if (relay->committing != NULL || group == NULL || group->messages == 0) {
        return;
    }
    size_t whole = align_up(group->size, SECTOR);
    memset(group->data + group->size, 0, whole - group->size);
    if (relay->write_offset + whole > relay->options.segment_bytes) {
        relay->write_offset = 0;
    }
    relay->committing = group;
    relay->write_done = 0;
    relay->commit_ns = ring_monotonic_ns(relay->shard->ring);
    relay_open_group(relay);
    relay_write(relay);
}

static void group_release(struct floor_relay *relay, struct group *group)
{
    group->references--;
    if (group->references > 0) {
        return;
    }
    list_push_back(&relay->free, &group->link);
    if (relay->open == NULL) {
        relay_open_group(relay);
    }
    struct list stalled;
    list_init(&stalled);
    list_append_all(&stalled, &relay->stalled);
    for (struct list *node = list_pop_front(&stalled); node != NULL;
         node = list_pop_front(&stalled)) {
        struct inbound *in = CONTAINER_OF(node, struct inbound, link);
        in->waiting = false;
        inbound_drive(in);
    }
}

/* --- outbound --------------------------------------------------------------------------------- */

static void outbound_send(struct outbound *out)
{
    struct floor_relay *relay = out->relay;
    const struct floor_leg *leg = &relay->options.leg;
    struct iovec iovecs[3];
    unsigned count = 0;
    out->got = 0;
    if (out->step + 1 < leg->count) {
        iovecs[count++] = (struct iovec){relay->bytes, leg->steps[out->step].ask};
    } else {
        if (leg->before > 0) {
            iovecs[count++] = (struct iovec){relay->bytes, leg->before};
        }
        iovecs[count++] = (struct iovec){out->item->group->data + out->item->offset, leg->body};
        if (leg->after > 0) {
            iovecs[count++] = (struct iovec){relay->bytes, leg->after};
        }
    }
    stream_send(&out->stream, iovecs, count);
}

static void relay_forward(struct floor_relay *relay)
{
    while (!list_empty(&relay->idle) && !list_empty(&relay->items)) {
        struct outbound *out =
            CONTAINER_OF(list_pop_front(&relay->idle), struct outbound, link);
        out->item = CONTAINER_OF(list_pop_front(&relay->items), struct item, link);
        out->step = 0;
        outbound_send(out);
    }
}

static void outbound_drive(struct outbound *out)
{
    struct floor_relay *relay = out->relay;
    const struct floor_leg *leg = &relay->options.leg;
    if (out->stream.end != STREAM_OPEN) {
        stream_close(&out->stream); /* the sink leaves last: all is over, or has failed */
        return;
    }
    if (stream_sending(&out->stream) || out->item == NULL) {
        return;
    }
    out->got += floor_take(&out->stream, leg->steps[out->step].answer - out->got);
    if (out->got < leg->steps[out->step].answer) {
        return;
    }
    out->step++;
    if (out->step < leg->count) {
        outbound_send(out);
        return;
    }
    struct group *group = out->item->group;
    list_push_back(&relay->items_free, &out->item->link);
    out->item = NULL;
    list_push_back(&relay->idle, &out->link);
    group_release(relay, group);
    relay_forward(relay);
}

static void outbound_connected(struct stream *stream, enum stream_end why)
{
    struct outbound *out = CONTAINER_OF(stream, struct outbound, stream);
    if (why != STREAM_OPEN) {
        relay_fail(out->relay);
        stream_close(stream);
        return;
    }
    list_push_back(&out->relay->idle, &out->link);
    relay_forward(out->relay);
}

static void outbound_input(struct stream *stream)
{
    outbound_drive(CONTAINER_OF(stream, struct outbound, stream));
}

static void outbound_sent(struct stream *stream, enum stream_end why)
{
    (void)why; /* the input ends too */
    outbound_drive(CONTAINER_OF(stream, struct outbound, stream));
}

static void relay_released(struct stream *stream)
{
    (void)stream; /* places are not used twice */
}

static const struct stream_user outbound_user = {
    .connected = outbound_connected,
    .input = outbound_input,
    .sent = outbound_sent,
    .released = relay_released,
};

/* --- inbound ---------------------------------------------------------------------------------- */

static void inbound_answer(struct inbound *in)
{
    struct floor_relay *relay = in->relay;
    const struct floor_leg *leg = &relay->options.leg;
    struct iovec iovec = {relay->bytes, leg->steps[in->step].answer};
    in->step = (in->step + 1) % leg->count;
    in->got = 0;
    stream_send(&in->stream, &iovec, 1);
}

/* Moves up to `want` bytes of input to `out`, or nowhere; returns how many. */
static size_t inbound_copy(struct inbound *in, uint8_t *out, size_t want)
{
    size_t done = 0;
    for (struct slice input = stream_input(&in->stream); input.size > 0 && done < want;
         input = stream_input(&in->stream)) {
        size_t count = MIN_OF(input.size, want - done);
        if (out != NULL) {
            memcpy(out + done, input.data, count);
        }
        stream_consume(&in->stream, count);
        done += count;
    }
    in->consumed += done;
    return done;
}

/* The whole of the last ask is there: its body goes into the open group. */
static void inbound_store(struct inbound *in)
{
    struct floor_relay *relay = in->relay;
    const struct floor_leg *leg = &relay->options.leg;
    struct group *group = relay->open;
    in->waiting = true;
    if (group == NULL || group->size + relay->slot_bytes > relay->group_bytes) {
        list_push_back(&relay->stalled, &in->link);
        return;
    }
    uint8_t *place = group->data + group->size;
    in->offset = group->size;
    if (in->got == 0) {
        inbound_copy(in, NULL, leg->before);
        inbound_copy(in, place, leg->body);
        inbound_copy(in, NULL, leg->after);
    } else {
        inbound_copy(in, in->gathered + in->got, leg->steps[in->step].ask - in->got);
        memcpy(place, in->gathered + leg->before, leg->body);
        relay->result->spills++;
    }
    group->size += relay->slot_bytes;
    group->messages++;
    list_push_back(&group->inbound, &in->link);
    shard_defer(relay->shard, &relay->commit);
}

static void inbound_drive(struct inbound *in)
{
    const struct floor_leg *leg = &in->relay->options.leg;
    size_t ask = leg->steps[in->step].ask;
    if (stream_sending(&in->stream) || in->waiting) {
        return;
    }
    bool last = in->step + 1 == leg->count;
    uint64_t held = in->stream.bytes_in - in->consumed;
    if (!last) {
        in->got += inbound_copy(in, NULL, ask - in->got);
        if (in->got == ask) {
            inbound_answer(in);
            return;
        }
    } else if (in->got + held >= ask) {
        inbound_store(in);
        return;
    } else if (in->stream.held_count >= STREAM_HELD_MAX) {
        in->got += inbound_copy(in, in->gathered + in->got, ask - in->got);
    }
    if (in->stream.end != STREAM_OPEN) {
        stream_close(&in->stream);
    }
}

static void inbound_connected(struct stream *stream, enum stream_end why)
{
    (void)why;
    CHECK(stream == NULL); /* accepted streams do not connect */
}

static void inbound_input(struct stream *stream)
{
    inbound_drive(CONTAINER_OF(stream, struct inbound, stream));
}

static void inbound_sent(struct stream *stream, enum stream_end why)
{
    (void)why; /* the input ends too */
    inbound_drive(CONTAINER_OF(stream, struct inbound, stream));
}

static const struct stream_user inbound_user = {
    .connected = inbound_connected,
    .input = inbound_input,
    .sent = inbound_sent,
    .released = relay_released,
};

static void relay_take(struct floor_listener *listener, int fd)
{
    struct floor_relay *relay = CONTAINER_OF(listener, struct floor_relay, listener);
    CHECK(relay->taken < relay->options.connections);
    stream_accept(&relay->inbound[relay->taken++].stream, relay->shard, &inbound_user, fd);
}

/* --- commit ----------------------------------------------------------------------------------- */

/* The group is stored: every sender hears so, every body goes on. */
static void relay_stored(struct floor_relay *relay)
{
    struct group *group = relay->committing;
    struct floor_result *result = relay->result;
    relay->committing = NULL;
    relay->write_offset += align_up(group->size, SECTOR);
    group->references = group->messages;
    result->commits++;
    histogram_record(&result->commit_messages, group->messages);
    histogram_record(&result->commit_ns,
                     ring_monotonic_ns(relay->shard->ring) - relay->commit_ns);
    result->enters = ring_counts(relay->shard->ring)->enters;
    for (struct list *node = list_pop_front(&group->inbound); node != NULL;
         node = list_pop_front(&group->inbound)) {
        struct inbound *in = CONTAINER_OF(node, struct inbound, link);
        struct list *free = list_pop_front(&relay->items_free);
        CHECK(free != NULL);
        struct item *item = CONTAINER_OF(free, struct item, link);
        item->group = group;
        item->offset = in->offset;
        list_push_back(&relay->items, &item->link);
        in->waiting = false;
        inbound_answer(in);
    }
    relay_forward(relay);
    shard_defer(relay->shard, &relay->commit);
}

static void relay_written(struct op *op)
{
    struct floor_relay *relay = CONTAINER_OF(op, struct floor_relay, write_op);
    if (op->result <= 0) {
        relay_fail(relay);
        return;
    }
    relay->write_done += (size_t)op->result;
    if (relay->write_done < align_up(relay->committing->size, SECTOR)) {
        relay_write(relay);
        return;
    }
    relay_stored(relay);
}

/* --- life ------------------------------------------------------------------------------------- */

/* Every connection's body fits into one group. */
static bool relay_make_groups(struct floor_relay *relay)
{
    relay->slot_bytes = align_up(relay->options.leg.body, 64);
    relay->group_bytes =
        align_up(relay->slot_bytes * relay->options.connections, SECTOR);
    uint64_t fitting = FLOOR_GROUP_TOTAL / relay->group_bytes;
    unsigned count = (unsigned)MIN_OF(MAX_OF(fitting, 4), FLOOR_GROUPS_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct group *group = &relay->groups[i];
        group->data = aligned_alloc(SECTOR, relay->group_bytes);
        if (group->data == NULL) {
            return false;
        }
        memset(group->data, 0, relay->group_bytes); /* no page fault later */
        list_init(&group->inbound);
        list_push_back(&relay->free, &group->link);
    }
    unsigned items = count * relay->options.connections;
    relay->item_memory = calloc(items, sizeof(struct item));
    for (unsigned i = 0; relay->item_memory != NULL && i < items; i++) {
        list_push_back(&relay->items_free, &relay->item_memory[i].link);
    }
    relay_open_group(relay);
    return relay->item_memory != NULL;
}

static bool relay_make_ends(struct floor_relay *relay)
{
    static const struct endpoint any = {0};
    const struct floor_options *options = &relay->options;
    size_t ask = options->leg.steps[options->leg.count - 1].ask;
    relay->inbound = calloc(options->connections, sizeof(struct inbound));
    relay->outbound = calloc(options->connections, sizeof(struct outbound));
    if (relay->inbound == NULL || relay->outbound == NULL) {
        return false;
    }
    for (unsigned i = 0; i < options->connections; i++) {
        struct inbound *in = &relay->inbound[i];
        struct outbound *out = &relay->outbound[i];
        in->relay = relay;
        in->gathered = malloc(ask);
        if (in->gathered == NULL) {
            return false;
        }
        out->relay = relay;
        stream_connect(&out->stream, relay->shard, &outbound_user, &options->connect, &any,
                       &options->socket);
    }
    return true;
}

struct floor_relay *floor_relay_open(struct shard *shard, const struct floor_options *options,
                                     struct floor_result *result, struct endpoint *bound_out)
{
    struct floor_relay *relay = calloc(1, sizeof(*relay));
    if (relay == NULL) {
        return NULL;
    }
    relay->shard = shard;
    relay->options = *options;
    relay->result = result;
    relay->listener.take = relay_take;
    memset(relay->bytes, '2', sizeof(relay->bytes));
    list_init(&relay->free);
    list_init(&relay->stalled);
    list_init(&relay->idle);
    list_init(&relay->items);
    list_init(&relay->items_free);
    op_init(&relay->write_op, relay_written);
    deferred_init(&relay->commit, relay_commit);
    histogram_init(&result->commit_messages);
    histogram_init(&result->commit_ns);
    if (!relay_make_groups(relay) || !relay_make_ends(relay) ||
        !floor_listen(&relay->listener, shard, options, bound_out)) {
        return NULL; /* the process ends */
    }
    return relay;
}
