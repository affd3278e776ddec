#include "smtp/transfer_advise.h"

#include "core/event.h"
#include "core/queue_name.h"
#include "core/shaping.h"
#include "smtp/advice_tap.h"

/* What all recipients of a transfer have in common: they are of one queue and go to one site. */
struct common {
    struct advice advice;
    uint32_t groups[ADVICE_GROUPS_MAX];
};

static uint32_t groups_of(const struct transfer *transfer, const struct conf_queue_key *key,
                          uint32_t groups[ADVICE_GROUPS_MAX])
{
    const struct delivery *delivery = transfer->delivery;
    const struct egress *egress = transfer->egress;
    struct path_query path;
    path_query_set(&path, key->domain, egress != NULL ? egress->pool->site : NULL,
                   egress != NULL ? egress_source_name(egress) : SLICE_NONE);
    uint32_t count = shaping_groups(&delivery->paths.view, &path.query, groups, ADVICE_GROUPS_MAX);
    return MIN_OF(count, ADVICE_GROUPS_MAX);
}

static void common_find(struct common *common, const struct transfer *transfer)
{
    const struct delivery *delivery = transfer->delivery;
    const struct egress *egress = transfer->egress;
    const struct queues *queues = delivery->queues;
    const struct sched_queue *queue =
        queues_at(delivery->queues, row_at(&queues->rows, transfer->rows[0])->queue);
    const struct conf_queue_key key = queue_name_parse(sched_queue_name(queues, queue));
    uint64_t done_ns = transfer->cause == TRANSFER_SEND ? transfer->transaction.done_ns : 0;
    common->advice = (struct advice){
        .record = {.wall_ns = delivery->shard->wall_ns,
                   .domain = key.domain,
                   .tenant = key.tenant,
                   .campaign = key.campaign,
                   .groups = common->groups},
        .reply_ns = done_ns > 0 ? done_ns : delivery->shard->now_ns,
    };
    if (egress != NULL) {
        common->advice.record.site = slice_make(egress->name, egress->name_bytes);
        common->advice.record.source = egress_source_name(egress);
    }
    common->advice.record.group_count = groups_of(transfer, &key, common->groups);
}

static void put_response(struct buf *buf, const struct client_recipient *recipient)
{
    const struct event event = {
        .code = recipient->code,
        .enhanced = {recipient->enhanced[0], recipient->enhanced[1], recipient->enhanced[2]},
        .content = recipient->text,
    };
    event_put_reply(buf, &event);
}

/* Is it, word for word and in the same memory, the reply before? */
static bool same_reply(const struct client_recipient *a, const struct client_recipient *b)
{
    return a->code == b->code && a->text.data == b->text.data && a->text.size == b->text.size;
}

void transfer_advise(const struct transfer *transfer)
{
    struct advice_tap *tap = transfer->delivery->advice;
    uint8_t memory[PATTERNS_TEXT_BYTES_MAX];
    struct common common;
    struct buf response;
    bool found = false;
    bool meets = false;
    for (unsigned i = 0; i < transfer->count; i++) {
        const struct client_recipient *recipient = &transfer->recipients[i];
        if (i == 0 || !same_reply(recipient, recipient - 1)) {
            buf_init(&response, memory, sizeof(memory));
            put_response(&response, recipient);
            meets = advice_tap_scan(tap, buf_slice(&response));
            if (meets && !found) {
                common_find(&common, transfer);
                found = true;
            }
            meets = meets && advice_tap_meets(tap, common.groups, common.advice.record.group_count);
        }
        if (meets) {
            common.advice.record.response = buf_slice(&response);
            advice_tap_put(tap, &common.advice);
        }
    }
}
