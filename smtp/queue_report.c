/*
 * A part's life on its shard: LOOKING at every queue of every kind, SORTING what was picked,
 * WRITING the lines, OVER. One slice of it a turn, so that mail goes on. A queue may go or change
 * while that lasts: its line says what is so when it is written, and its place in the order is that
 * of the moment at which it was looked at.
 */
#include "smtp/queue_report.h"

#include <string.h>

#include "core/check.h"

/* In one turn: things looked at, each of which may be a miss of the cache; lines written. */
#define LOOKS_MAX  1024
#define WRITES_MAX 32

/* --- on a mail shard -------------------------------------------------------------------------- */

static struct queue_report_part *part_of(struct shard_walk *walk)
{
    return CONTAINER_OF(walk, struct queue_report_part, walk);
}

static void part_home(struct shard_walk *walk)
{
    struct queue_report *report = part_of(walk)->report;
    if (--report->out == 0) {
        report->ended(report);
        atomic_store_explicit(&report->done, 1, memory_order_release);
    }
}

static void look(struct shard_walk *walk, uint32_t number)
{
    struct queue_report_part *part = part_of(walk);
    struct report_list *list = &part->lists[part->kind];
    struct report_found found;
    if (!report_kind_look(walk->delivery, part->kind, number, &found)) {
        return;
    }
    const struct queue_pick pick = {
        .order = found.order, .shared = found.shared, .number = number};
    queue_picks_offer(list->picks, &list->count, REPORT_LINES_MAX, &pick);
    list->seen++;
    list->sums[found.reason].queues++;
    list->sums[found.reason].recipients += found.recipients;
}

static void text_put(void *context, struct slice line)
{
    buf_put(context, line);
}

static void write_line(struct shard_walk *walk, uint32_t place)
{
    struct queue_report_part *part = part_of(walk);
    const struct log_sink to_text = {.put = text_put, .context = &part->text};
    struct queue_pick *pick = &part->lists[part->kind].picks[place];
    struct logline line;
    size_t before = part->text.size;
    if (report_kind_put(walk->delivery, part->kind, pick->number, &line)) {
        logline_end(&line, &to_text);
        CHECK(!part->text.overflow);
        pick->bytes = (uint32_t)(part->text.size - before);
    }
}

/* The next kind; after the last one the next stage. */
static void part_next(struct queue_report_part *part)
{
    if (++part->kind == REPORT_KINDS) {
        part->kind = REPORT_SCHEDULED;
        part->stage++;
    }
}

static enum walk_slice part_slice(struct shard_walk *walk)
{
    struct queue_report_part *part = part_of(walk);
    struct report_list *list = &part->lists[part->kind];
    if (walk->delivery->stopping) {
        part->stage = REPORT_OVER; /* what is there has to do */
    }
    switch (part->stage) {
    case REPORT_LOOKING:
        if (shard_walk_visit(walk, report_kind_end(walk->delivery, part->kind), LOOKS_MAX, look)) {
            part_next(part);
        }
        break;
    case REPORT_SORTING:
        queue_picks_sort(list->picks, list->count);
        part_next(part);
        break;
    case REPORT_WRITING:
        if (shard_walk_visit(walk, list->count, WRITES_MAX, write_line)) {
            part_next(part);
        }
        break;
    case REPORT_OVER:
        return WALK_OVER;
    }
    return WALK_GOES_ON;
}

static void part_arrive(struct shard_walk *walk)
{
    struct queue_report_part *part = part_of(walk);
    part->wall_ns = walk->delivery->shard->wall_ns;
    part->account = walk->delivery->shard->memory;
}

static const struct shard_walk_kind part_kind = {
    .arrive = part_arrive,
    .slice = part_slice,
    .home = part_home,
};

/* --- on the TSA shard ------------------------------------------------------------------------- */

void queue_report_start(struct queue_report *report, struct shard *shard)
{
    report->out = report->shards;
    for (unsigned i = 0; i < report->shards; i++) {
        shard_walk_send(&report->parts[i].walk, shard);
    }
}

void queue_report_refuse(struct queue_report *report)
{
    atomic_store_explicit(&report->done, 1, memory_order_release);
}

/* --- whoever asked ---------------------------------------------------------------------------- */

uint64_t queue_report_memory(unsigned shards)
{
    return (uint64_t)shards * sizeof(struct queue_report_part);
}

void queue_report_init(struct queue_report *report, unsigned shards, void *memory)
{
    *report = (struct queue_report){.shards = shards, .parts = memory};
    for (unsigned i = 0; i < shards; i++) {
        struct queue_report_part *part = &report->parts[i];
        /* All but its memory: most of that is never touched. */
        memset(part, 0, offsetof(struct queue_report_part, memory));
        part->report = report;
        shard_walk_init(&part->walk, &part_kind, NULL);
        buf_init(&part->text, part->memory, sizeof(part->memory));
    }
}

bool queue_report_done(const struct queue_report *report)
{
    return atomic_load_explicit(&report->done, memory_order_acquire) != 0;
}

static void line_out(void *context, struct slice line)
{
    ((struct queue_report *)context)->text = line;
}

static void end_line(struct queue_report *report)
{
    const struct log_sink sink_self = {.put = line_out, .context = report};
    logline_end(&report->line, &sink_self);
}

static uint64_t seen(const struct queue_report *report, enum report_kind kind)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < report->shards; i++) {
        sum += report->parts[i].lists[kind].seen;
    }
    return sum;
}

static void head_line(struct queue_report *report)
{
    logline_begin(&report->line, "report");
    logline_time(&report->line, "time", report->parts[0].wall_ns);
    logline_u64(&report->line, "shards", report->shards);
    logline_u64(&report->line, "scheduled", seen(report, REPORT_SCHEDULED));
    logline_u64(&report->line, "ready", seen(report, REPORT_READY));
    end_line(report);
}

static void memory_line(struct queue_report *report)
{
    struct account sum = {0};
    for (unsigned i = 0; i < report->shards; i++) {
        const struct account *account = &report->parts[i].account;
        sum.limit += account->limit;
        for (unsigned consumer = 0; consumer < ACCOUNT_CONSUMERS; consumer++) {
            sum.used[consumer] += account->used[consumer];
        }
    }
    logline_begin(&report->line, "memory");
    logline_u64(&report->line, "limit", sum.limit);
    logline_u64(&report->line, "used", account_used(&sum));
    for (unsigned consumer = 0; consumer < ACCOUNT_CONSUMERS; consumer++) {
        logline_u64(&report->line, account_consumer_name((enum account_consumer)consumer),
                    sum.used[consumer]);
    }
    end_line(report);
}

/* False: no queue of this kind waits for this reason. */
static bool reason_line(struct queue_report *report, enum report_kind kind, enum hold_reason reason)
{
    uint64_t queues = 0;
    uint64_t recipients = 0;
    for (unsigned i = 0; i < report->shards; i++) {
        queues += report->parts[i].lists[kind].sums[reason].queues;
        recipients += report->parts[i].lists[kind].sums[reason].recipients;
    }
    logline_begin(&report->line, "reason");
    logline_string(&report->line, "kind", report_kind_name(kind));
    logline_string(&report->line, "state", hold_state_name(reason));
    logline_string(&report->line, "reason", hold_name(reason));
    logline_u64(&report->line, "queues", queues);
    logline_u64(&report->line, "count", recipients);
    end_line(report);
    return queues > 0;
}

static void last_line(struct queue_report *report)
{
    logline_begin(&report->line, "report_end");
    logline_u64(&report->line, "lines", report->lines_all);
    logline_u64(&report->line, "left_out", report->left_out);
    end_line(report);
}

/* The part whose next line comes first; null: none has one. */
static struct queue_report_part *part_first(const struct queue_report *report,
                                            enum report_kind kind)
{
    struct queue_report_part *first = NULL;
    for (unsigned i = 0; i < report->shards; i++) {
        struct queue_report_part *part = &report->parts[i];
        struct report_list *list = &part->lists[kind];
        while (part->told < list->count && list->picks[part->told].bytes == 0) {
            part->told++;
        }
        if (part->told < list->count &&
            (first == NULL ||
             list->picks[part->told].order < first->lists[kind].picks[first->told].order)) {
            first = part;
        }
    }
    return first;
}

/* Passes over the part's next pick; its line. */
static struct slice part_take(struct queue_report_part *part, enum report_kind kind)
{
    uint32_t bytes = part->lists[kind].picks[part->told++].bytes;
    struct slice line = slice_make(part->memory + part->told_bytes, bytes);
    part->told_bytes += bytes;
    return line;
}

static void list_over(struct queue_report *report, enum report_kind kind)
{
    for (unsigned i = 0; i < report->shards; i++) {
        struct queue_report_part *part = &report->parts[i];
        while (part->told < part->lists[kind].count) {
            (void)part_take(part, kind);
        }
        part->told = 0;
    }
    report->left_out += seen(report, kind) - report->lines - report->doubles;
    report->lines_all += report->lines;
    report->lines = 0;
    report->doubles = 0;
}

/* Has this list told of it before? */
static bool is_double(const struct queue_report *report, const void *shared)
{
    for (uint32_t i = 0; i < report->lines && shared != NULL; i++) {
        if (report->shared[i] == shared) {
            return true;
        }
    }
    return false;
}

static bool thing_line(struct queue_report *report, enum report_kind kind)
{
    while (report->lines < REPORT_LINES_MAX) {
        struct queue_report_part *part = part_first(report, kind);
        if (part == NULL) {
            break;
        }
        const void *shared = part->lists[kind].picks[part->told].shared;
        report->text = part_take(part, kind);
        if (!is_double(report, shared)) {
            report->shared[report->lines++] = shared;
            return true;
        }
        report->doubles++;
    }
    list_over(report, kind);
    return false;
}

bool queue_report_next(struct queue_report *report, struct slice *next_out)
{
    const unsigned heads = 2;
    const unsigned reasons = REPORT_QUEUE_KINDS * HOLD_REASONS_COUNT;
    for (;;) {
        unsigned step = report->step;
        bool told = true;
        if (step == 0) {
            head_line(report);
        } else if (step == 1) {
            memory_line(report);
        } else if (step < heads + reasons) {
            told = reason_line(report, (enum report_kind)((step - heads) / HOLD_REASONS_COUNT),
                               (enum hold_reason)((step - heads) % HOLD_REASONS_COUNT));
        } else if (step < heads + reasons + REPORT_KINDS) {
            if (thing_line(report, (enum report_kind)(step - heads - reasons))) {
                *next_out = report->text;
                return true; /* and there may be more of them */
            }
            told = false;
        } else if (step == heads + reasons + REPORT_KINDS) {
            last_line(report);
        } else {
            return false;
        }
        report->step++;
        if (told) {
            *next_out = report->text;
            return true;
        }
    }
}
