#include "smtp/transfer_time.h"

#include "smtp/queue_of.h"
#include "smtp/schedule.h"

static struct row *row_of(const struct transfer *transfer, unsigned i)
{
    return row_at(&transfer->delivery->queues->rows, transfer->rows[i]);
}

const struct queue_options *transfer_options(const struct transfer *transfer, unsigned i)
{
    return queue_options_of(transfer->delivery->queues, row_of(transfer, i)->queue);
}

/* What its message says of its time. False: nothing, or it is not there yet. */
static bool schedule_of(const struct transfer *transfer, struct schedule *schedule_out)
{
    struct metadata metadata;
    return row_of(transfer, 0)->scheduled && transfer->message != NULL && !transfer->loading &&
           metadata_parse(transfer->message->metadata, &metadata) &&
           schedule_get(metadata.schedule, schedule_out);
}

/* And from when on the age of a row counts: in, when it was received. */
static struct retry_options retry_of(const struct transfer *transfer, unsigned i,
                                     uint64_t *from_ns)
{
    const struct queue_options *options = transfer_options(transfer, i);
    struct retry_options retry = {
        .interval_ns = options->retry_interval_ns,
        .interval_max_ns = options->max_retry_interval_ns,
        .age_max_ns = options->max_age_ns,
    };
    struct schedule schedule;
    if (schedule_of(transfer, &schedule)) {
        schedule_age(&schedule, transfer->delivery->conf, from_ns, &retry.age_max_ns);
    }
    return retry;
}

bool transfer_is_expired(const struct transfer *transfer)
{
    const struct row *row = row_of(transfer, 0);
    uint64_t from_ns = row->created_s * NS_PER_S;
    if (row->scheduled && (transfer->message == NULL || transfer->loading)) {
        return false;
    }
    struct retry_options retry = retry_of(transfer, 0, &from_ns);
    uint64_t now_s = queues_now_ns(transfer->delivery->queues) / NS_PER_S;
    return now_s >= retry_expiry_s(&retry, from_ns);
}

bool transfer_waits(const struct transfer *transfer, uint32_t *until_s_out)
{
    const struct queues *queues = transfer->delivery->queues;
    uint32_t now_s = (uint32_t)(queues_now_ns(queues) / NS_PER_S);
    struct schedule schedule;
    if (!schedule_of(transfer, &schedule)) {
        return false;
    }
    *until_s_out = schedule_first_due_s(&schedule, transfer->delivery->conf, now_s,
                                        queues_wall_ahead_s(queues));
    return *until_s_out > now_s;
}

uint32_t transfer_due_s(const struct transfer *transfer, unsigned i)
{
    const struct queues *queues = transfer->delivery->queues;
    const struct row *row = row_of(transfer, i);
    uint64_t from_ns = transfer->message->created_ns;
    struct retry_options retry = retry_of(transfer, i, &from_ns);
    uint64_t mixed = ((uint64_t)row->segment << 32 | row->offset_64) * 0x9E3779B97F4A7C15ull;
    uint32_t due_s = retry_due_s(&retry, from_ns, queues_now_ns(queues), row->attempts + 1u,
                                 (mixed >> 16) ^ row->queue);
    struct schedule schedule;
    if (schedule_of(transfer, &schedule)) {
        due_s = schedule_next_s(&schedule, transfer->delivery->conf, due_s,
                                queues_wall_ahead_s(queues));
        due_s = MIN_OF(due_s, retry_expiry_s(&retry, from_ns));
    }
    return due_s;
}
