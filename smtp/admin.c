#include "smtp/admin.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"

#define RETRY_NS NS_PER_S /* between tries to read the file, or to write it as it was */

enum {
    STAGE_IDLE,
    STAGE_READING,
    STAGE_SETTING_ASIDE,
    STAGE_STORING,
    STAGE_RESTORING,
    STAGE_TELLING,
};

static void file_done(struct state_file *file, int64_t result);
static void expiry_fire(struct timer *timer);
static void retry_fire(struct timer *timer);
static void step_run(struct deferred *deferred);
static void read_again(struct admin *admin);
static void part_home(struct admin_part *part);

void admin_init(struct admin *admin, struct shard *shard, struct boot_pages *pages,
                unsigned shards, const char *dir, uint32_t boot)
{
    admin->shard = shard;
    admin->shards = shards;
    admin->parts = boot_pages_take(pages, shards * sizeof(struct admin_part));
    admin->table = boot_pages_take(pages, sizeof(struct admin_table));
    admin->next = boot_pages_take(pages, sizeof(struct admin_table));
    admin->data = boot_pages_take(pages, ADMIN_FILE_BYTES_MAX);
    admin_table_clear(admin->table);
    admin_table_clear(admin->next);
    id_source_init(&admin->ids, (uint16_t)shard->index, boot % ID_BOOTS);
    list_init(&admin->waiting);
    timer_init(&admin->expiry, expiry_fire);
    timer_init(&admin->retry, retry_fire);
    deferred_init(&admin->step, step_run);
    admin->file.done = file_done;
    state_file_init(&admin->file, shard, dir, "admin");
}

void admin_shard_set(struct admin *admin, unsigned index, struct delivery *delivery)
{
    struct admin_part *part = &admin->parts[index];
    admin_part_init(part, delivery);
    part->home = part_home;
    part->context = admin;
}

unsigned admin_count(const struct admin *admin)
{
    return admin->table->count;
}

const struct admin_entry *admin_at(const struct admin *admin, unsigned i)
{
    return i < admin->table->count ? &admin->table->entries[i] : NULL;
}

/* --- slots ------------------------------------------------------------------------------------ */

static uint64_t bounced_in(const struct admin *admin, unsigned slot)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < admin->shards; i++) {
        sum += atomic_load_explicit(&admin->parts[i].walk.delivery->admin.bounced[slot],
                                    memory_order_relaxed);
    }
    return sum;
}

uint64_t admin_bounced(const struct admin *admin, const struct admin_entry *entry)
{
    return bounced_in(admin, entry->slot) - admin->bounced_before[entry->slot];
}

/* There is one for every entry that a table can have; the one least lately used, for the last
 * bounces of an entry that is gone may still be on their way. */
static uint16_t slot_take(struct admin *admin)
{
    for (unsigned i = 0; i < ADMIN_ENTRIES_MAX; i++) {
        unsigned slot = (admin->slot_next + i) % ADMIN_ENTRIES_MAX;
        uint64_t bit = 1ull << (slot % 64);
        if ((admin->slots[slot / 64] & bit) == 0) {
            admin->slots[slot / 64] |= bit;
            admin->slot_next = slot + 1;
            admin->bounced_before[slot] = bounced_in(admin, slot);
            return (uint16_t)slot;
        }
    }
    CHECK(false);
}

void admin_slot_begin(struct admin *admin, uint16_t slot)
{
    CHECK(slot >= ADMIN_ENTRIES_MAX && slot < ADMIN_SLOTS_MAX);
    admin->bounced_before[slot] = bounced_in(admin, slot);
}

static void slot_give(struct admin *admin, uint16_t slot)
{
    admin->slots[slot / 64] &= ~(1ull << (slot % 64));
}

/* --- the log ---------------------------------------------------------------------------------- */

static void put_id(struct logline *line, const struct id *id)
{
    uint8_t text[ID_TEXT_BYTES];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    id_put(&buf, id);
    logline_text(line, "id", buf_slice(&buf));
}

static void put_criteria(struct logline *line, const struct admin_criteria *criteria)
{
    const struct {
        const char *key;
        struct slice text;
    } texts[] = {
        {"domain", criteria->domain},
        {"routing_domain", criteria->routing_domain},
        {"tenant", criteria->tenant},
        {"campaign", criteria->campaign},
    };
    if (criteria->everything) {
        logline_string(line, "everything", "true");
    }
    for (unsigned i = 0; i < COUNT_OF(texts); i++) {
        if (texts[i].text.size > 0) {
            logline_text(line, texts[i].key, texts[i].text);
        }
    }
    if (criteria->name_count > 0) {
        logline_text(line, "queue", criteria->names[0]);
    }
    if (criteria->name_count > 1) {
        logline_u64(line, "queues_more", criteria->name_count - 1);
    }
}

static void log_entry(const struct admin *admin, const char *action,
                      const struct admin_entry *entry, const struct admin_found *found)
{
    struct logline line;
    logline_begin(&line, "admin");
    logline_string(&line, "action", action);
    put_id(&line, &entry->id);
    logline_text(&line, "reason", entry->reason);
    put_criteria(&line, &entry->criteria);
    if (entry->expires_ns > 0) {
        logline_time(&line, "expires", entry->expires_ns);
    }
    if (found != NULL) {
        logline_u64(&line, "queues", found->queues);
        logline_u64(&line, "recipients", found->recipients);
    }
    logline_end(&line, &admin->log);
}

static const char *action_name(enum admin_action action)
{
    switch (action) {
    case ADMIN_DO_SUSPEND:
        return "suspend";
    case ADMIN_DO_SUSPEND_READY:
        return "suspend_ready";
    case ADMIN_DO_BOUNCE:
        return "bounce";
    case ADMIN_DO_FLUSH:
        return "flush";
    case ADMIN_DO_CANCEL:
        break;
    }
    return "cancel";
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Whatever was under way is over. */
static void next_please(struct admin *admin)
{
    admin->stage = STAGE_IDLE;
    shard_defer(admin->shard, &admin->step);
}

static void answer(struct admin *admin, enum admin_status status)
{
    struct admin_request *request = admin->current;
    admin->current = NULL;
    request->status = status;
    next_please(admin);
    request->done(request);
}

static void answer_invalid(struct admin *admin, const char *problem)
{
    admin->current->problem = problem;
    answer(admin, ADMIN_INVALID);
}

/* --- the shards ------------------------------------------------------------------------------- */

/* The next entry from number *i on that is about scheduled queues; null: none. */
static const struct admin_entry *next_of_queues(const struct admin_table *table, unsigned *i)
{
    while (*i < table->count) {
        const struct admin_entry *entry = &table->entries[(*i)++];
        if (entry->kind != ADMIN_SUSPEND_READY) {
            return entry;
        }
    }
    return NULL;
}

/* Do both tables order the same of scheduled queues? Both have what they share in one order. */
static bool same_for_queues(const struct admin_table *a, const struct admin_table *b)
{
    unsigned at_a = 0;
    unsigned at_b = 0;
    for (;;) {
        const struct admin_entry *left = next_of_queues(a, &at_a);
        const struct admin_entry *right = next_of_queues(b, &at_b);
        if (left == NULL || right == NULL) {
            return left == right;
        }
        if (!id_equal(&left->id, &right->id)) {
            return false;
        }
    }
}

static void tell(struct admin *admin, enum admin_task task, const struct admin_entry *entry)
{
    bool sites_only = task == ADMIN_OBEY && same_for_queues(admin->table, admin->next);
    admin->stage = STAGE_TELLING;
    admin->out = admin->shards;
    for (unsigned i = 0; i < admin->shards; i++) {
        struct admin_part *part = &admin->parts[i];
        part->task = task;
        part->table = task == ADMIN_OBEY ? admin->next : NULL;
        part->entry = entry;
        part->sites_only = sites_only;
        admin_part_send(part, admin->shard);
    }
}

/* The timer fires when the next entry expires. */
static void expiry_set(struct admin *admin)
{
    uint64_t first_ns = UINT64_MAX;
    for (unsigned i = 0; i < admin->table->count; i++) {
        first_ns = MIN_OF(first_ns, admin->table->entries[i].until_ns);
    }
    shard_timer_clear(admin->shard, &admin->expiry);
    if (first_ns != UINT64_MAX && !admin->stopping) {
        uint64_t now_ns = admin->shard->now_ns;
        shard_timer_set(admin->shard, &admin->expiry, first_ns > now_ns ? first_ns - now_ns : 1);
    }
}

static bool is_there(const struct admin_table *table, const struct id *id)
{
    for (unsigned i = 0; i < table->count; i++) {
        if (id_equal(&table->entries[i].id, id)) {
            return true;
        }
    }
    return false;
}

/* All obey the next table: it is the one in force. What it does not have any more is over. */
static void switch_tables(struct admin *admin)
{
    struct admin_table *old = admin->table;
    admin->table = admin->next;
    admin->next = old;
    for (unsigned i = 0; i < old->count; i++) {
        const struct admin_entry *entry = &old->entries[i];
        if (entry->effect == 0 && !is_there(admin->table, &entry->id)) {
            bool expired = entry->until_ns <= admin->shard->now_ns;
            log_entry(admin, expired ? "expire" : "cancel", entry, NULL);
            slot_give(admin, entry->slot);
        }
    }
    expiry_set(admin);
}

/* The table that all obey has what rules ordered when it was made. */
static void rules_obey(struct admin *admin)
{
    if (admin->rules != NULL) {
        admin->rules_obeyed = admin->rules_filled;
        admin->rules->obeyed(admin->rules);
    }
}

static void all_home(struct admin *admin)
{
    struct admin_request *request = admin->current;
    bool obeyed = admin->parts[0].task == ADMIN_OBEY;
    if (obeyed) {
        switch_tables(admin);
        rules_obey(admin);
    }
    if (request == NULL) {
        next_please(admin);
        return;
    }
    for (unsigned i = 0; i < admin->shards; i++) {
        admin_found_add(&request->found, &admin->parts[i].found);
    }
    if (!request->dry_run && request->action != ADMIN_DO_CANCEL) {
        log_entry(admin, action_name(request->action), &admin->entry, &request->found);
    }
    answer(admin, ADMIN_DONE);
}

static void part_home(struct admin_part *part)
{
    struct admin *admin = part->context;
    if (--admin->out == 0) {
        all_home(admin);
    }
}

/* --- tables ----------------------------------------------------------------------------------- */

/* What rules order now. */
static void fill_rules(struct admin *admin, struct admin_table *table)
{
    if (admin->rules != NULL) {
        admin->rules_filled = admin->rules_changes;
        admin->rules->fill(admin->rules, table);
    }
}

/* Into `next` all that is in force and has not expired, but for `without`. */
static void copy_table(struct admin *admin, const struct id *without)
{
    admin_table_clear(admin->next);
    for (unsigned i = 0; i < admin->table->count; i++) {
        const struct admin_entry *entry = &admin->table->entries[i];
        bool left_out = without != NULL && id_equal(&entry->id, without);
        if (entry->effect == 0 && entry->until_ns > admin->shard->now_ns && !left_out) {
            CHECK(admin_table_add(admin->next, entry));
        }
    }
    fill_rules(admin, admin->next);
}

static void store(struct admin *admin, const struct admin_table *table, unsigned stage)
{
    struct buf buf;
    buf_init(&buf, admin->data, ADMIN_FILE_BYTES_MAX);
    admin_table_encode(table, &buf);
    admin->stage = (uint8_t)stage;
    state_file_replace(&admin->file, buf.data, buf.size);
}

static void stored(struct admin *admin, int error)
{
    bool cancels = admin->current->action == ADMIN_DO_CANCEL;
    if (error == 0) {
        tell(admin, ADMIN_OBEY, cancels ? NULL : &admin->entry);
        return;
    }
    state_file_say(&admin->file, &admin->log, "admin", "cannot be written; nothing is changed",
                   error);
    if (!cancels) {
        slot_give(admin, admin->entry.slot);
    }
    if (admin->file.unknown) {
        store(admin, admin->table, STAGE_RESTORING);
    } else {
        answer(admin, ADMIN_NOT_STORED);
    }
}

/* The file is what is in force, or still unknown. */
static void restored(struct admin *admin, int error)
{
    if (error != 0) {
        shard_timer_set(admin->shard, &admin->retry, RETRY_NS);
    } else {
        state_file_say(&admin->file, &admin->log, "admin", "is written as it was", 0);
    }
    if (admin->current != NULL) {
        answer(admin, error == 0 ? ADMIN_NOT_STORED : ADMIN_NOT_KNOWN);
    } else {
        next_please(admin);
    }
}

static void retry_fire(struct timer *timer)
{
    struct admin *admin = CONTAINER_OF(timer, struct admin, retry);
    if (admin->stage == STAGE_READING) {
        read_again(admin);
        return;
    }
    admin->restores = true;
    shard_defer(admin->shard, &admin->step);
}

/* --- requests --------------------------------------------------------------------------------- */

static const enum admin_kind kinds[] = {
    [ADMIN_DO_SUSPEND] = ADMIN_SUSPEND,
    [ADMIN_DO_SUSPEND_READY] = ADMIN_SUSPEND_READY,
    [ADMIN_DO_BOUNCE] = ADMIN_BOUNCE,
    [ADMIN_DO_FLUSH] = ADMIN_SUSPEND, /* whose queues are meant */
};

static const char *request_problem(const struct admin_request *request, uint64_t wall_ns)
{
    const struct admin_entry entry = {
        .kind = kinds[request->action],
        .criteria = request->criteria,
        .reason = request->reason,
    };
    if (request->duration_ns > ADMIN_DURATION_NS_MAX ||
        (request->expires_ns > wall_ns &&
         request->expires_ns - wall_ns > ADMIN_DURATION_NS_MAX)) {
        return "that is later than in ten years";
    }
    if (request->expires_ns > 0 && request->expires_ns <= wall_ns) {
        return "it would have expired";
    }
    return admin_entry_problem(&entry);
}

static void fill_entry(struct admin *admin)
{
    const struct shard *shard = admin->shard;
    struct admin_request *request = admin->current;
    uint64_t duration_ns = request->duration_ns > 0 ? request->duration_ns : ADMIN_DURATION_NS;
    uint64_t expires_ns =
        request->expires_ns > 0 ? request->expires_ns : shard->wall_ns + duration_ns;
    request->id = id_next(&admin->ids, shard->wall_ns);
    admin->entry = (struct admin_entry){
        .kind = kinds[request->action],
        .id = request->id,
        .criteria = request->criteria,
        .reason = request->reason,
        .created_ns = shard->wall_ns,
    };
    if (request->action != ADMIN_DO_FLUSH) {
        request->expires_ns = expires_ns;
        admin->entry.expires_ns = expires_ns;
        admin->entry.until_ns = shard->now_ns + (expires_ns - shard->wall_ns);
    }
}

static void cancel(struct admin *admin)
{
    const struct admin_request *request = admin->current;
    for (unsigned i = 0; i < admin->table->count; i++) {
        const struct admin_entry *entry = &admin->table->entries[i];
        if (entry->kind == request->kind && id_equal(&entry->id, &request->id)) {
            if (entry->effect > 0) {
                answer_invalid(admin, "a rule of automation has ordered this: it is cancelled by "
                                      "`ringpost tsa cancel`");
                return;
            }
            copy_table(admin, &request->id);
            store(admin, admin->next, STAGE_STORING);
            return;
        }
    }
    answer(admin, ADMIN_UNKNOWN);
}

static void begin(struct admin *admin)
{
    struct admin_request *request = admin->current;
    request->found = (struct admin_found){0};
    request->problem = NULL;
    if (request->action == ADMIN_DO_CANCEL) {
        cancel(admin);
        return;
    }
    const char *problem = request_problem(request, admin->shard->wall_ns);
    if (problem != NULL) {
        answer_invalid(admin, problem);
        return;
    }
    fill_entry(admin);
    if (request->action == ADMIN_DO_FLUSH) {
        tell(admin, request->dry_run ? ADMIN_COUNT_WAITING : ADMIN_FLUSH, &admin->entry);
        return;
    }
    if (request->dry_run) {
        tell(admin, ADMIN_COUNT, &admin->entry);
        return;
    }
    copy_table(admin, NULL);
    if (admin->next->rooms[0].count == ADMIN_ENTRIES_MAX) {
        answer(admin, ADMIN_FULL);
        return;
    }
    admin->entry.slot = slot_take(admin);
    if (!admin_table_add(admin->next, &admin->entry)) {
        slot_give(admin, admin->entry.slot);
        answer(admin, ADMIN_FULL);
        return;
    }
    store(admin, admin->next, STAGE_STORING);
}

static void refuse_waiting(struct admin *admin)
{
    for (struct list *link = list_pop_front(&admin->waiting); link != NULL;
         link = list_pop_front(&admin->waiting)) {
        struct admin_request *request = CONTAINER_OF(link, struct admin_request, link);
        admin->waiting_count--;
        request->status = ADMIN_STOPPING;
        request->done(request);
    }
}

static bool has_expired(const struct admin *admin)
{
    for (unsigned i = 0; i < admin->table->count; i++) {
        if (admin->table->entries[i].until_ns <= admin->shard->now_ns) {
            return true;
        }
    }
    return false;
}

static void step_run(struct deferred *deferred)
{
    struct admin *admin = CONTAINER_OF(deferred, struct admin, step);
    if (admin->stage != STAGE_IDLE) {
        return; /* its end comes back here */
    }
    if (admin->stopping) {
        refuse_waiting(admin);
        return;
    }
    bool rules_changed = admin->rules_changes != admin->rules_obeyed &&
                         (!admin->rules_last || list_empty(&admin->waiting));
    if (has_expired(admin) || rules_changed) {
        admin->rules_last = true;
        copy_table(admin, NULL);
        tell(admin, ADMIN_OBEY, NULL);
        return;
    }
    if (admin->restores) {
        admin->restores = false;
        if (admin->file.unknown) { /* else an order was stored meanwhile */
            store(admin, admin->table, STAGE_RESTORING);
            return;
        }
    }
    struct list *link = list_pop_front(&admin->waiting);
    if (link != NULL) {
        admin->waiting_count--;
        admin->rules_last = false;
        admin->current = CONTAINER_OF(link, struct admin_request, link);
        begin(admin);
    }
}

static void expiry_fire(struct timer *timer)
{
    struct admin *admin = CONTAINER_OF(timer, struct admin, expiry);
    shard_defer(admin->shard, &admin->step);
}

void admin_rules_changed(struct admin *admin)
{
    admin->rules_changes++;
    shard_defer(admin->shard, &admin->step);
}

bool admin_ask(struct admin *admin, struct admin_request *request)
{
    if (admin->waiting_count == ADMIN_REQUESTS_MAX) {
        return false;
    }
    list_init(&request->link);
    list_push_back(&admin->waiting, &request->link);
    admin->waiting_count++;
    shard_defer(admin->shard, &admin->step);
    return true;
}

/* --- start and stop --------------------------------------------------------------------------- */

/* What the file says is in force before any mail moves. */
static void loaded(struct admin *admin)
{
    const struct shard *shard = admin->shard;
    admin_table_clear(admin->table);
    for (unsigned i = 0; i < admin->next->count; i++) {
        struct admin_entry entry = admin->next->entries[i];
        if (entry.expires_ns > shard->wall_ns) {
            uint64_t left_ns = MIN_OF(entry.expires_ns - shard->wall_ns, ADMIN_DURATION_NS_MAX);
            entry.until_ns = shard->now_ns + left_ns;
            entry.slot = slot_take(admin);
            CHECK(admin_table_add(admin->table, &entry));
            log_entry(admin, "restore", &entry, NULL);
        }
    }
    fill_rules(admin, admin->table);
    admin->rules_obeyed = admin->rules_filled;
    for (unsigned i = 0; i < admin->shards; i++) {
        admin->parts[i].walk.delivery->admin.table = admin->table;
    }
    expiry_set(admin);
    next_please(admin);
    admin->loaded(admin, SLICE_NONE);
}

static void read_again(struct admin *admin)
{
    admin->reads++;
    state_file_read(&admin->file, admin->data, ADMIN_FILE_BYTES_MAX);
}

/* It may be read later, or by another start. */
static void not_read(struct admin *admin, int error)
{
    uint8_t memory[STATE_FILE_PATH_MAX + 256];
    struct buf problem;
    if (admin->reads < ADMIN_READS_MAX) {
        shard_timer_set(admin->shard, &admin->retry, RETRY_NS);
        return;
    }
    buf_init(&problem, memory, sizeof(memory));
    buf_put_string(&problem, admin->file.path);
    buf_put_string(&problem, ": ");
    buf_put_string(&problem, strerror(-error));
    buf_put_string(&problem, "; what operators have suspended is not known without it");
    next_please(admin);
    admin->loaded(admin, buf_slice(&problem));
}

static void read_done(struct admin *admin, int64_t result)
{
    if (result == -ENOENT) {
        admin_table_clear(admin->next);
        loaded(admin);
        return;
    }
    if (result >= 0 && admin_table_decode(admin->next, slice_make(admin->data, (size_t)result))) {
        loaded(admin);
        return;
    }
    if (result < 0 && result != -EFBIG) {
        not_read(admin, (int)result);
        return;
    }
    admin_table_clear(admin->next);
    admin->stage = STAGE_SETTING_ASIDE;
    state_file_set_aside(&admin->file);
}

static void file_done(struct state_file *file, int64_t result)
{
    struct admin *admin = CONTAINER_OF(file, struct admin, file);
    switch (admin->stage) {
    case STAGE_READING:
        read_done(admin, result);
        return;
    case STAGE_SETTING_ASIDE:
        state_file_say_aside(file, &admin->log, "admin", "makes no sense; nothing is suspended",
                             (int)result);
        loaded(admin);
        return;
    case STAGE_RESTORING:
        restored(admin, (int)result);
        return;
    default:
        stored(admin, (int)result);
        return;
    }
}

void admin_load(struct admin *admin)
{
    admin->stage = STAGE_READING;
    read_again(admin);
}

void admin_stop(struct admin *admin)
{
    admin->stopping = true;
    shard_timer_clear(admin->shard, &admin->expiry);
    if (admin->stage != STAGE_READING) { /* else `loaded` is still to come */
        shard_timer_clear(admin->shard, &admin->retry);
    }
    shard_defer(admin->shard, &admin->step);
}

bool admin_idle(const struct admin *admin)
{
    return admin->stage == STAGE_IDLE && list_empty(&admin->waiting);
}

void admin_fini(struct admin *admin)
{
    shard_timer_clear(admin->shard, &admin->expiry);
    shard_timer_clear(admin->shard, &admin->retry);
    deferred_cancel(&admin->step);
}
