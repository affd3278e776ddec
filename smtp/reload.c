#include "smtp/reload.h"

#include <string.h>

#include "core/check.h"
#include "core/classifier.h"
#include "smtp/advice_tap.h"

#define RETRY_NS (100 * NS_PER_MS)
/* Changes and errors that have a line in the log; the answer over HTTP has room for more. */
#define LINES_MAX 200

/* What one mail shard has of a snapshot; it comes home when that is nothing. */
struct snapshot_lease {
    struct conf_lease lease;
    struct mail mail;
    struct shard *shard;     /* the mail shard; borrowed */
    unsigned registrar;
    struct snapshot *snapshot;
};

struct snapshot {
    struct list link;        /* in reload->old */
    struct reload *reload;
    const struct conf *conf;
    struct conf *owned;      /* the same; null: the configuration of the start */
    struct heap heap;        /* of this struct */
    unsigned away;           /* leases that are not home, and the reload's own */
    struct snapshot_lease leases[];
};

static void step(struct reload *reload);

/* --- snapshots -------------------------------------------------------------------------------- */

static void snapshot_free(struct snapshot *snapshot)
{
    struct heap heap = snapshot->heap;
    list_remove(&snapshot->link);
    for (unsigned i = 0; i < snapshot->reload->shards; i++) {
        patterns_scratch_close(snapshot->leases[i].lease.scratch);
        patterns_scratch_close(snapshot->leases[i].lease.rules_scratch);
    }
    conf_free(snapshot->owned);
    heap_fini(&heap);
}

static void snapshot_leave(struct snapshot *snapshot)
{
    if (--snapshot->away == 0) {
        snapshot_free(snapshot);
    }
}

static void lease_home(struct shard *shard, struct mail *mail)
{
    (void)shard;
    snapshot_leave(CONTAINER_OF(mail, struct snapshot_lease, mail)->snapshot);
}

static void lease_ended(struct conf_lease *ended)
{
    struct snapshot_lease *lease = CONTAINER_OF(ended, struct snapshot_lease, lease);
    lease->mail.arrive = lease_home;
    shard_send(lease->shard, lease->registrar, &lease->mail);
}

/* What a shard scans with, made here because shards do not allocate. */
static struct patterns_scratch *scratch_new(const struct conf *conf)
{
    return conf->classifier == NULL ? NULL : patterns_scratch_open(conf->classifier->patterns);
}

static struct patterns_scratch *rules_scratch_new(const struct conf *conf)
{
    const struct shaping_rule_set *rules = advice_rules(conf);
    return rules != NULL ? patterns_scratch_open(rules->patterns) : NULL;
}

static struct snapshot *snapshot_new(struct reload *reload, const struct conf *conf,
                                     struct conf *owned)
{
    struct heap heap;
    heap_init(&heap);
    struct snapshot *snapshot = heap_take(
        &heap, sizeof(*snapshot) + reload->shards * sizeof(struct snapshot_lease));
    list_init(&snapshot->link);
    snapshot->reload = reload;
    snapshot->conf = conf;
    snapshot->owned = owned;
    snapshot->away = reload->shards + 1;
    for (unsigned i = 0; i < reload->shards; i++) {
        const struct delivery *delivery = reload->parts[i].walk.delivery;
        snapshot->leases[i] = (struct snapshot_lease){
            .lease = {.conf = conf,
                      .scratch = scratch_new(conf),
                      .rules_scratch = rules_scratch_new(conf),
                      .current = true,
                      .ended = lease_ended},
            .shard = delivery != NULL ? delivery->shard : NULL,
            .registrar = reload->shard->index,
            .snapshot = snapshot,
        };
    }
    snapshot->heap = heap;
    return snapshot;
}

const struct conf *reload_conf(const struct reload *reload)
{
    return reload->current->conf;
}

unsigned reload_snapshots(const struct reload *reload)
{
    unsigned count = 1;
    for (struct list *link = reload->old.next; link != &reload->old; link = link->next) {
        count++;
    }
    return count;
}

/* --- what is said ----------------------------------------------------------------------------- */

static void say(const struct reload *reload, const char *applied, const char *note)
{
    struct logline line;
    unsigned restarts = 0;
    for (size_t i = 0; i < reload->change_count; i++) {
        restarts += reload->changes[i].effect == CONF_RESTART;
    }
    logline_begin(&line, "reload");
    logline_string(&line, "applied", applied);
    logline_u64(&line, "changed", reload->change_count - restarts);
    logline_u64(&line, "restart", restarts);
    logline_u64(&line, "errors", reload->conf.messages.errors);
    if (note != NULL) {
        logline_string(&line, "note", note);
    }
    logline_end(&line, &reload->log);
}

static void say_changes(const struct reload *reload)
{
    for (size_t i = 0; i < MIN_OF(reload->change_count, LINES_MAX); i++) {
        const struct conf_change *change = &reload->changes[i];
        struct logline line;
        logline_begin(&line, "reload");
        logline_text(&line, "key", change->key);
        if (change->old_text.data != NULL) {
            logline_text(&line, "old", change->old_text);
        }
        if (change->new_text.data != NULL) {
            logline_text(&line, "new", change->new_text);
        }
        logline_string(&line, "effect", change->effect == CONF_NOW ? "now" : "restart");
        logline_end(&line, &reload->log);
    }
}

static void say_messages(const struct reload *reload)
{
    struct slice text = buf_slice(&reload->conf.messages.text);
    for (unsigned i = 0; i < LINES_MAX && text.size > 0; i++) {
        size_t size = slice_find(text, '\n');
        struct logline line;
        logline_begin(&line, "reload");
        logline_text(&line, "message", slice_first(text, size));
        logline_end(&line, &reload->log);
        text = slice_skip(text, MIN_OF(size + 1, text.size));
    }
}

/* --- the end of one --------------------------------------------------------------------------- */

static void answer(struct list *requests, const struct reload_result *result)
{
    while (!list_empty(requests)) {
        struct reload_request *request =
            CONTAINER_OF(list_pop_front(requests), struct reload_request, link);
        request->done(request, result);
    }
}

/* It is over; what is said of it has been. */
static void finish(struct reload *reload, enum reload_status status)
{
    const struct reload_result result = {
        .status = status,
        .changes = reload->changes,
        .change_count = reload->change_count,
        .messages = buf_slice(&reload->conf.messages.text),
    };
    counters_add(&reload->shard->counters, COUNTER_reloads, status == RELOAD_APPLIED);
    counters_add(&reload->shard->counters, COUNTER_reloads_refused, status == RELOAD_REFUSED);
    answer(&reload->asked, &result);
    heap_fini(&reload->heap);
    heap_init(&reload->heap);
    reload->changes = NULL;
    reload->change_count = 0;
    reload->reading = false;
    step(reload);
}

/* The last shard has it: what was in force before is old, and may go once its texts are told. */
static void in_force(struct reload *reload)
{
    struct snapshot *before = reload->current;
    reload->apply(reload, reload->next->conf);
    list_push_back(&reload->old, &before->link);
    reload->current = reload->next;
    reload->next = NULL;
    say(reload, "yes", NULL);
    say_changes(reload);
    say_messages(reload);
    finish(reload, RELOAD_APPLIED);
    snapshot_leave(before);
}

static void part_home(struct reload_part *part)
{
    struct reload *reload = part->context;
    if (--reload->out == 0) {
        in_force(reload);
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

static void spread(struct reload *reload, struct conf *conf)
{
    conf_keep(conf, reload->current->conf);
    reload->next = snapshot_new(reload, conf, conf);
    reload->begin(reload, conf);
    for (unsigned i = 0; i < reload->shards; i++) {
        reload->out++;
        reload_part_send(&reload->parts[i], &reload->next->leases[i].lease, reload->shard);
    }
}

static void read_done(struct work_job *job)
{
    struct reload *reload = CONTAINER_OF(job, struct reload, job);
    struct conf *conf = reload->conf.conf;
    reload->conf.conf = NULL;
    if (reload->stopping) {
        conf_free(conf);
        finish(reload, RELOAD_STOPPING);
        return;
    }
    if (conf == NULL) {
        say(reload, "no", "the configuration that was in force stays so");
        say_messages(reload);
        finish(reload, RELOAD_REFUSED);
        return;
    }
    reload->change_count =
        conf_difference(reload->current->conf, conf, &reload->heap, &reload->changes);
    bool now = false;
    for (size_t i = 0; i < reload->change_count; i++) {
        now = now || reload->changes[i].effect == CONF_NOW;
    }
    if (now) {
        spread(reload, conf);
        return;
    }
    say(reload, "yes", reload->change_count == 0 ? "nothing has changed" : NULL);
    say_changes(reload);
    say_messages(reload);
    finish(reload, RELOAD_APPLIED);
    conf_free(conf);
}

static void read_begin(struct reload *reload)
{
    struct conf_reading *reading = &reload->conf;
    reading->messages = (struct conf_messages){0};
    buf_init(&reading->messages.text, reload->text, RELOAD_MESSAGE_BYTES);
    reload->job = (struct work_job){.kind = WORK_CONF, .done = read_done, .data = reading};
    if (!work_submit(reload->shard->work, reload->shard, &reload->job)) {
        shard_timer_set(reload->shard, &reload->retry, RETRY_NS);
    }
}

static void read_again(struct timer *timer)
{
    read_begin(CONTAINER_OF(timer, struct reload, retry));
}

/* --- who asks --------------------------------------------------------------------------------- */

static void step(struct reload *reload)
{
    if (reload->reading || reload->stopping ||
        (!reload->wanted && list_empty(&reload->waiting))) {
        return;
    }
    reload->reading = true;
    reload->wanted = false;
    reload->waiting_count = 0;
    list_init(&reload->asked);
    while (!list_empty(&reload->waiting)) {
        list_push_back(&reload->asked, list_pop_front(&reload->waiting));
    }
    read_begin(reload);
}

bool reload_ask(struct reload *reload, struct reload_request *request)
{
    const struct reload_result stopping = {.status = RELOAD_STOPPING};
    if (reload->stopping) {
        request->done(request, &stopping);
        return true;
    }
    if (reload->waiting_count == RELOAD_REQUESTS_MAX) {
        return false;
    }
    reload->waiting_count++;
    list_push_back(&reload->waiting, &request->link);
    step(reload);
    return true;
}

void reload_want(struct reload *reload)
{
    reload->wanted = true;
    step(reload);
}

/* --- beginning and end ------------------------------------------------------------------------ */

void reload_init(struct reload *reload, struct shard *shard, struct boot_pages *pages,
                 unsigned shards, const struct conf *conf)
{
    reload->shard = shard;
    reload->shards = shards;
    reload->parts = boot_pages_take(pages, shards * sizeof(struct reload_part));
    reload->text = boot_pages_take(pages, RELOAD_MESSAGE_BYTES);
    list_init(&reload->old);
    list_init(&reload->waiting);
    list_init(&reload->asked);
    timer_init(&reload->retry, read_again);
    heap_init(&reload->heap);
    reload->current = snapshot_new(reload, conf, NULL);
}

void reload_source_set(struct reload *reload, const char *file, const char *const *sets,
                       size_t set_count)
{
    reload->conf.file = file;
    reload->conf.sets = sets;
    reload->conf.set_count = set_count;
}

void reload_shard_set(struct reload *reload, unsigned index, struct delivery *delivery,
                      const struct reload_target *target)
{
    struct reload_part *part = &reload->parts[index];
    struct snapshot_lease *lease = &reload->current->leases[index];
    reload_part_init(part, delivery, target);
    part->home = part_home;
    part->context = reload;
    lease->shard = delivery->shard;
    target->server->lease = &lease->lease;
    event_tap_set_conf(target->server->events, &lease->lease);
    advice_tap_set_conf(target->advice, &lease->lease);
}

void reload_stop(struct reload *reload)
{
    const struct reload_result stopping = {.status = RELOAD_STOPPING};
    reload->stopping = true;
    answer(&reload->waiting, &stopping);
    reload->waiting_count = 0;
    if (timer_is_set(&reload->retry)) {
        shard_timer_clear(reload->shard, &reload->retry);
        finish(reload, RELOAD_STOPPING);
    }
}

bool reload_idle(const struct reload *reload)
{
    return !reload->reading;
}

void reload_fini(struct reload *reload)
{
    shard_timer_clear(reload->shard, &reload->retry);
    while (!list_empty(&reload->old)) {
        snapshot_free(CONTAINER_OF(reload->old.next, struct snapshot, link));
    }
    if (reload->next != NULL) {
        snapshot_free(reload->next);
    }
    snapshot_free(reload->current);
    conf_free(reload->conf.conf);
    heap_fini(&reload->heap);
}
