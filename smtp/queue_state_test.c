/*
 * A checkpoint of the queues, copied while they change, and the log behind its beginning, give back
 * the queues. First by hand, then as a property over seeds: SEED=n COUNT=m repeats or extends it.
 */
#include "smtp/queue_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "smtp/envelope.h"
#include "smtp/queue_of.h"
#include "smtp/recovery.h"
#include "tests/sim/shards.h"

#define UUID           77
#define RECIPIENTS_MAX 40
#define MESSAGES_MAX   4000
#define OPS_MAX        12000
#define BLOCKS_MAX     64
#define DOMAINS        50

enum op_kind { OP_MESSAGE, OP_OUTCOME, OP_MOVE, OP_VOID };

/* Something put into the log; rows follow when it is answered, in the same order. */
struct step {
    enum op_kind kind;
    unsigned message;
    bool late;                       /* OP_MESSAGE: answered so; its VOID comes next */
    struct spool_location location;  /* of the MESSAGE; what an OUTCOME or VOID is about */
    struct spool_location from;      /* OP_MOVE */
    uint16_t attempts;               /* OP_OUTCOME */
    uint32_t due_s;                  /* OP_OUTCOME; 0: finished */
    bool named[RECIPIENTS_MAX];      /* recipients it is about */
};

struct letter {
    unsigned count;
    uint32_t handles[RECIPIENTS_MAX]; /* ROW_NONE: finished, or never made */
    bool busy;                        /* something of it is on its way */
    struct spool_location location;   /* as the rows know it */
};

/* What the log up to some point says of one recipient. */
struct truth {
    bool live;
    uint16_t attempts;
    uint32_t due_s;
    struct spool_location location;
};

struct stage {
    struct sim *sim;
    struct sim_shards shards;
    struct conf *conf;
    struct queues queues;  /* the living ones */
    struct queues again;   /* those of the next start */
    struct ready_queue ready;
    struct ready_window window;
    struct recovery recovery;
    struct spool_replay replay;
    struct queue_state state;
    struct spool_state source;
    struct letter *mails;
    unsigned mail_count;
    struct step *steps;
    unsigned put;
    unsigned answered;
    uint32_t places;
    uint8_t *blocks;
    unsigned block_count;
    uint64_t rows_copied;
};

static struct stage stage;

static struct ready_queue *stage_route(void *context, struct sched_queue *queue,
                                       enum hold_reason *reason_out)
{
    (void)context;
    (void)queue;
    (void)reason_out;
    return &stage.ready;
}

static void stage_ignore(void *context, struct ready_queue *ready)
{
    (void)context;
    (void)ready;
}

static const struct queues_user user = {
    .route = stage_route, .work = stage_ignore, .unused = stage_ignore};

static void recovered(struct recovery *recovery, int error, struct slice reason)
{
    (void)recovery;
    (void)reason;
    assert_int_equal(error, 0);
}

static void stage_open(struct sim *sim)
{
    char said[1024];
    struct conf_messages messages = {0};
    const struct conf_input input = {.hostname = SLICE("box.test")};
    stage = (struct stage){.sim = sim};
    buf_init(&messages.text, said, sizeof(said));
    stage.conf = conf_load(&input, &messages);
    assert_non_null(stage.conf);
    sim_shards_boot(&stage.shards, sim_node_open(stage.sim, NULL), 1, 16, 4096);
    ready_queue_init(&stage.ready, 0);
    const struct queues_options options = {
        .rows_max = 100000, .queues_max = 1000, .idle_ns = 3600 * NS_PER_S,
        .options_bytes = sizeof(struct queue_options), .user = &user};
    assert_int_equal(queues_init(&stage.queues, &stage.shards.shards[0], &options), 0);
    assert_int_equal(queues_init(&stage.again, &stage.shards.shards[0], &options), 0);
    stage.recovery.shard = &stage.shards.shards[0];
    stage.recovery.conf = stage.conf;
    stage.recovery.queues = &stage.again;
    stage.recovery.finished = recovered;
    recovery_init(&stage.recovery, &stage.replay);
    queue_state_init(&stage.state, &stage.queues, &stage.source);
    stage.mails = calloc(MESSAGES_MAX, sizeof(*stage.mails));
    stage.steps = calloc(OPS_MAX, sizeof(*stage.steps));
    stage.blocks = calloc(BLOCKS_MAX, CHECKPOINT_BLOCK_BYTES);
    assert_true(stage.mails != NULL && stage.steps != NULL && stage.blocks != NULL);
}

static void stage_free(void)
{
    recovery_fini(&stage.recovery);
    queues_fini(&stage.queues);
    queues_fini(&stage.again);
    sim_shards_stop(&stage.shards);
    conf_free(stage.conf);
    free(stage.mails);
    free(stage.steps);
    free(stage.blocks);
}

static void stage_close(void)
{
    assert_string_equal(sim_failure(stage.sim), "");
    stage_free();
}

static unsigned below(unsigned bound)
{
    return (unsigned)sim_below(stage.sim, bound);
}

/* --- mail and its log ------------------------------------------------------------------------- */

static unsigned domain_of(unsigned message, unsigned recipient)
{
    return (message * 7 + recipient) % DOMAINS;
}

static struct slice domain_name(unsigned domain, char memory[16])
{
    int size = snprintf(memory, 16, "d%u.test", domain);
    return slice_make(memory, (size_t)size);
}

static struct spool_location next_place(void)
{
    uint32_t place = stage.places++;
    return (struct spool_location){1 + place / 100, place % 100 * 20};
}

static struct step *step_put(enum op_kind kind, unsigned message)
{
    assert_true(stage.put < OPS_MAX);
    struct step *step = &stage.steps[stage.put++];
    *step = (struct step){.kind = kind, .message = message};
    return step;
}

/* As intake does it: rows are made now, and are nobody's until the answer. */
static void put_message(unsigned recipients, bool late)
{
    char name[16];
    struct letter *mail = &stage.mails[stage.mail_count];
    struct step *step = step_put(OP_MESSAGE, stage.mail_count);
    *mail = (struct letter){.count = recipients, .busy = true};
    step->location = next_place();
    step->late = late;
    for (unsigned i = 0; i < recipients; i++) {
        const struct conf_queue_key key = {
            .domain = domain_name(domain_of(stage.mail_count, i), name)};
        uint32_t queue = queue_of(&stage.queues, stage.conf, &key);
        step->named[i] = true;
        mail->handles[i] = queues_row_new(&stage.queues, queue);
        assert_int_not_equal(mail->handles[i], ROW_NONE);
    }
    if (late) {
        step_put(OP_VOID, stage.mail_count)->location = step->location;
    }
    stage.mail_count++;
}

/* Outcomes of some of its recipients, or all of them written again elsewhere. */
static void put_change(unsigned message)
{
    struct letter *mail = &stage.mails[message];
    bool move = below(4) == 0;
    bool some = false;
    struct step change = {.kind = move ? OP_MOVE : OP_OUTCOME, .message = message};
    for (unsigned i = 0; i < mail->count; i++) {
        change.named[i] = mail->handles[i] != ROW_NONE && (move || below(2) == 0);
        some = some || change.named[i];
    }
    if (!some || mail->busy) {
        return;
    }
    change.location = mail->location;
    if (move) {
        change.from = mail->location;
        change.location = next_place();
    } else {
        change.attempts = (uint16_t)(1 + below(20));
        change.due_s = below(3) == 0 ? 1 + (uint32_t)below(2000000000) : 0;
    }
    for (unsigned i = 0; i < mail->count; i++) {
        if (change.named[i]) {
            queues_row_hold(&stage.queues, mail->handles[i]);
        }
    }
    mail->busy = true;
    *step_put(change.kind, message) = change;
}

static void answer_message(const struct step *step, struct letter *mail)
{
    for (unsigned i = 0; i < mail->count; i++) {
        struct row *row = row_at(&stage.queues.rows, mail->handles[i]);
        if (step->late) {
            queues_row_done(&stage.queues, mail->handles[i]);
            mail->handles[i] = ROW_NONE;
            continue;
        }
        row->segment = step->location.segment;
        row->offset_64 = step->location.offset_64;
        row->recipient = (uint16_t)i;
        row->created_s = 1000 + step->message;
        row->size_64 = step->message + 1;
        queues_row_due(&stage.queues, mail->handles[i], false);
    }
    mail->location = step->location;
}

static void answer_change(const struct step *step, struct letter *mail)
{
    for (unsigned i = 0; i < mail->count; i++) {
        if (!step->named[i]) {
            continue;
        }
        struct row *row = row_at(&stage.queues.rows, mail->handles[i]);
        if (step->kind == OP_OUTCOME && step->due_s == 0) {
            queues_row_done(&stage.queues, mail->handles[i]);
            mail->handles[i] = ROW_NONE;
            continue;
        }
        if (step->kind == OP_OUTCOME) {
            row->attempts = step->attempts;
            row->due_s = step->due_s;
        }
        row->segment = step->location.segment;
        row->offset_64 = step->location.offset_64;
        queues_row_wait(&stage.queues, mail->handles[i]);
    }
    mail->location = step->location;
}

static void answer_next(void)
{
    const struct step *step = &stage.steps[stage.answered++];
    struct letter *mail = &stage.mails[step->message];
    if (step->kind == OP_VOID) {
        return;
    }
    mail->busy = false;
    if (step->kind == OP_MESSAGE) {
        answer_message(step, mail);
    } else {
        answer_change(step, mail);
    }
}

static void populate(unsigned messages)
{
    for (unsigned i = 0; i < messages; i++) {
        put_message(1 + below(2), false);
    }
    while (stage.answered < stage.put) {
        answer_next();
    }
}

static void work(unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        unsigned what = below(100);
        if (what < 40 && stage.answered < stage.put) {
            answer_next();
        } else if (what < 55 && stage.mail_count < MESSAGES_MAX) {
            put_message(1 + (below(20) == 0 ? below(RECIPIENTS_MAX) : below(3)), below(10) == 0);
        } else if (what < 58) {
            uint32_t handles[4]; /* some stand hot for a while; they are not touched meanwhile */
            unsigned count = ready_queue_take(&stage.queues, &stage.ready, &stage.window,
                                              UINT32_MAX, 4, handles);
            while (count > 0) {
                queues_row_due(&stage.queues, handles[--count], true);
            }
        } else if (stage.mail_count > 0) {
            put_change(below(stage.mail_count));
        }
    }
}

/* --- checkpoint and start --------------------------------------------------------------------- */

/* Copies it, with `between` steps of work after each call. Returns the log's place behind it. */
static unsigned checkpoint(unsigned between, unsigned clutter)
{
    unsigned begin = stage.answered;
    bool more = true;
    stage.block_count = 0;
    stage.rows_copied = 0;
    stage.source.begin(stage.source.context);
    while (more) {
        struct checkpoint_block block;
        assert_true(stage.block_count < BLOCKS_MAX);
        uint8_t *data = stage.blocks + (size_t)stage.block_count++ * CHECKPOINT_BLOCK_BYTES;
        checkpoint_block_begin(&block, data);
        for (unsigned i = 0; i < clutter; i++) { /* entries of another kind leave less room */
            assert_true(checkpoint_put_segment(&block, &(struct checkpoint_segment){.number = 1}));
        }
        more = stage.source.put(stage.source.context, &block);
        stage.rows_copied += block.rows;
        checkpoint_block_seal(&block, UUID, 0, 1, stage.block_count);
        work(between == 0 ? 0 : below(between));
    }
    return begin;
}

static void replay_checkpoint(void)
{
    const struct checkpoint_head head = {
        .version = CHECKPOINT_VERSION, .generation = 1, .blocks = stage.block_count};
    for (unsigned i = 0; i < stage.block_count; i++) {
        struct checkpoint_cursor cursor;
        struct checkpoint_entry entry;
        struct slice bytes =
            slice_make(stage.blocks + (size_t)i * CHECKPOINT_BLOCK_BYTES, CHECKPOINT_BLOCK_BYTES);
        assert_true(checkpoint_open(bytes, UUID, &head, i + 1, &cursor));
        int step = checkpoint_next(&cursor, &entry);
        for (; step == 1; step = checkpoint_next(&cursor, &entry)) {
            if (entry.kind == CHECKPOINT_QUEUE) {
                stage.replay.queue(stage.replay.context, entry.queue.number, entry.queue.name);
            } else if (entry.kind == CHECKPOINT_ROW) {
                stage.replay.row(stage.replay.context, &entry.row);
            }
        }
        assert_int_equal(step, 0);
    }
}

static void replay_message(const struct step *step)
{
    uint8_t memory[4096];
    char name[16];
    char address[24];
    struct buf envelope;
    buf_init(&envelope, memory, sizeof(memory));
    envelope_put_sender(&envelope, SLICE("a@c.test"), NULL);
    for (unsigned i = 0; i < RECIPIENTS_MAX; i++) {
        if (step->named[i]) {
            struct slice domain = domain_name(domain_of(step->message, i), name);
            snprintf(address, sizeof(address), "r@%.*s", (int)domain.size, name);
            envelope_put_recipient(&envelope, (uint16_t)i, slice_from_string(address), NULL);
        }
    }
    assert_false(envelope.overflow);
    const struct spool_found found = {
        .location = step->location,
        .created_ns = (1000 + step->message) * NS_PER_S,
        .body_bytes = (step->message + 1) * 64ull,
        .flags = step->kind == OP_MOVE ? SPOOL_MESSAGE_MOVED : 0,
        .moved_from = step->from,
        .envelope = buf_slice(&envelope),
    };
    assert_true(stage.replay.message(stage.replay.context, &found));
}

static void replay_outcome(const struct step *step)
{
    uint8_t memory[4096];
    struct buf buf;
    struct outcome_writer writer;
    struct outcome head = {.message = step->location};
    for (unsigned i = 0; i < RECIPIENTS_MAX; i++) {
        head.recipient_count = (uint16_t)(head.recipient_count + step->named[i]);
    }
    buf_init(&buf, memory, sizeof(memory));
    outcome_put(&writer, &buf, &head);
    for (unsigned i = 0; i < RECIPIENTS_MAX; i++) {
        const struct outcome_recipient recipient = {
            .index = (uint16_t)i,
            .disposition = step->due_s == 0 ? DISPOSITION_DELIVERED : DISPOSITION_DEFERRED,
            .attempts = step->attempts,
            .due_s = step->due_s,
        };
        if (step->named[i]) {
            outcome_put_recipient(&writer, &recipient);
        }
    }
    assert_false(buf.overflow);
    stage.replay.outcome(stage.replay.context, head.message, buf_slice(&buf));
}

static void replay_log(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        const struct step *step = &stage.steps[i];
        switch (step->kind) {
        case OP_MESSAGE:
        case OP_MOVE:
            replay_message(step);
            break;
        case OP_OUTCOME:
            replay_outcome(step);
            break;
        case OP_VOID:
            stage.replay.void_message(stage.replay.context, step->location);
            break;
        }
    }
    stage.replay.finished(stage.replay.context, 0, SLICE_NONE);
}

/* What the whole log up to `to` means. */
static struct truth *truth_of(unsigned to)
{
    struct truth *truths = calloc((size_t)MESSAGES_MAX * RECIPIENTS_MAX, sizeof(*truths));
    assert_non_null(truths);
    for (unsigned i = 0; i < to; i++) {
        const struct step *step = &stage.steps[i];
        for (unsigned r = 0; r < RECIPIENTS_MAX; r++) {
            struct truth *truth = &truths[step->message * RECIPIENTS_MAX + r];
            if (step->kind == OP_VOID) {
                truth->live = false;
            } else if (step->named[r]) {
                bool finished = step->kind == OP_OUTCOME && step->due_s == 0;
                bool deferred = step->kind == OP_OUTCOME && step->due_s != 0;
                truth->live = !finished;
                truth->location = step->location;
                truth->attempts = deferred ? step->attempts : truth->attempts;
                truth->due_s = deferred ? step->due_s : truth->due_s;
            }
        }
    }
    return truths;
}

/* Else the run has failed, with its seed. */
static void must(bool good, const char *what)
{
    if (!good) {
        sim_fail(stage.sim, "%s", what);
    }
}

/* Every live recipient has one row in the new queues, and nobody else has any. */
static void compare(unsigned to)
{
    char name[16];
    const struct slab *rows = &stage.again.rows;
    struct truth *truths = truth_of(to);
    uint64_t live = 0;
    for (unsigned i = 0; i < MESSAGES_MAX * RECIPIENTS_MAX; i++) {
        live += truths[i].live;
    }
    must(rows->used == live, "there are more or fewer rows than live recipients");
    for (uint32_t handle = 0; handle < rows->fresh; handle++) {
        const struct row *row = row_at(rows, handle);
        if (row->state == ROW_FREE) {
            continue;
        }
        unsigned message = row->size_64 - 1;
        struct truth *truth = &truths[message * RECIPIENTS_MAX + row->recipient];
        must(truth->live, "a row too many");
        truth->live = false; /* once */
        must(row->created_s == 1000 + message, "created at another time");
        must(row->segment == truth->location.segment, "in another segment");
        must(row->offset_64 == truth->location.offset_64, "in another place");
        must(row->attempts == truth->attempts, "another number of attempts");
        must(row->due_s == truth->due_s, "another due time");
        struct slice queue = sched_queue_name(&stage.again, queues_at(&stage.again, row->queue));
        must(slice_equal(queue, domain_name(domain_of(message, row->recipient), name)),
             "in another queue");
    }
    free(truths);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void queues_at_rest_come_back_as_they_were(void **state)
{
    (void)state;
    struct sim *sim = sim_open(&(struct sim_options){.seed = 1});
    stage_open(sim);
    populate(2000);
    work(4000);
    while (stage.answered < stage.put) {
        answer_next();
    }
    unsigned begin = checkpoint(0, 0);
    assert_int_equal(begin, stage.put);
    assert_int_equal(stage.rows_copied, stage.queues.rows.used);
    assert_true(stage.block_count > 1);
    assert_in_range(stage.source.bytes(stage.source.context), stage.rows_copied * 32,
                    stage.rows_copied * 32 + DOMAINS * 64);
    replay_checkpoint();
    replay_log(begin, stage.put);
    compare(stage.put);
    /* A second one names its queues anew. */
    stage.replay.reset(stage.replay.context, 0);
    begin = checkpoint(0, 0);
    replay_checkpoint();
    replay_log(begin, stage.put);
    compare(stage.put);
    stage_close();
    sim_close(sim);
}

static void a_full_block_is_gone_on_from_in_the_next(void **state)
{
    (void)state;
    struct sim *sim = sim_open(&(struct sim_options){.seed = 2});
    stage_open(sim);
    work(1500);
    for (unsigned clutter = 1700; clutter < 1720; clutter++) {
        unsigned begin = checkpoint(0, clutter);
        replay_checkpoint();
        replay_log(begin, stage.put);
        compare(stage.put);
        stage.replay.reset(stage.replay.context, 0);
    }
    stage_close();
    sim_close(sim);
}

static void rows_whose_message_is_not_stored_are_left_out(void **state)
{
    (void)state;
    struct sim *sim = sim_open(&(struct sim_options){.seed = 3});
    stage_open(sim);
    put_message(3, false);
    checkpoint(0, 0);
    assert_int_equal(stage.rows_copied, 0);
    answer_next();
    put_change(0);
    checkpoint(0, 0);
    assert_int_equal(stage.rows_copied, 3);
    stage_close();
    sim_close(sim);
}

static void fuzzy_body(struct sim *sim, void *context)
{
    uint64_t *changed = context;
    stage_open(sim);
    populate(below(3000));
    work(below(2000));
    unsigned begin = checkpoint(1 + below(800), below(1900));
    *changed += stage.answered - begin;
    work(below(300));
    /* What was not answered may be in the log or not. */
    unsigned end = stage.answered + below(stage.put - stage.answered + 1);
    replay_checkpoint();
    replay_log(begin, end);
    compare(end);
    stage_free();
}

static void b08_a_checkpoint_made_while_rows_change_and_the_log_behind_it_are_the_truth(
    void **state)
{
    (void)state;
    uint64_t changed = 0;
    struct sim_campaign campaign = {
        .name = "fuzzy checkpoint", .count = 40, .body = fuzzy_body, .context = &changed};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    assert_true(changed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_at_rest_come_back_as_they_were),
        cmocka_unit_test(a_full_block_is_gone_on_from_in_the_next),
        cmocka_unit_test(rows_whose_message_is_not_stored_are_left_out),
        cmocka_unit_test(
            b08_a_checkpoint_made_while_rows_change_and_the_log_behind_it_are_the_truth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
