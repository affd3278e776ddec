#include "smtp/admin_entry.h"

#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/little.h"
#include "smtp/queue_of.h"

#define MAGIC         "RPADMIN1"
#define HEAD_BYTES    24u
#define ENTRY_BYTES   40u
#define CHECKED_AFTER 16u /* of the head: what the checksum covers */

/* --- criteria --------------------------------------------------------------------------------- */

static bool is_narrow(const struct admin_criteria *criteria)
{
    return criteria->domain.size > 0 || criteria->routing_domain.size > 0 ||
           criteria->tenant.size > 0 || criteria->campaign.size > 0 || criteria->name_count > 0;
}

const char *admin_criteria_problem(const struct admin_criteria *criteria)
{
    const struct slice texts[] = {criteria->domain, criteria->routing_domain, criteria->tenant,
                                  criteria->campaign};
    if (criteria->everything && is_narrow(criteria)) {
        return "everything, or some queues, but not both";
    }
    if (!criteria->everything && !is_narrow(criteria)) {
        return "which queues? all of them are to be asked for as such";
    }
    for (unsigned i = 0; i < COUNT_OF(texts); i++) {
        if (texts[i].size > QUEUE_NAME_BYTES_MAX) {
            return "no queue has a name of that length";
        }
    }
    for (unsigned i = 0; i < criteria->name_count; i++) {
        if (criteria->names[i].size == 0 || criteria->names[i].size > QUEUE_NAME_BYTES_MAX) {
            return "no queue has a name of that length";
        }
    }
    return NULL;
}

const char *admin_entry_problem(const struct admin_entry *entry)
{
    const struct admin_criteria *criteria = &entry->criteria;
    if (entry->reason.size == 0) {
        return "a reason is needed";
    }
    if (entry->reason.size > ADMIN_REASON_BYTES_MAX) {
        return "the reason is too long";
    }
    if (entry->kind == ADMIN_SUSPEND_READY &&
        (criteria->name_count != 1 || criteria->everything)) {
        return "the name of one ready queue is needed";
    }
    return admin_criteria_problem(criteria);
}

static bool names_match(const struct admin_criteria *criteria, struct slice queue)
{
    for (unsigned i = 0; i < criteria->name_count; i++) {
        if (slice_equal(criteria->names[i], queue)) {
            return true;
        }
    }
    return criteria->name_count == 0;
}

/* A name that is compared with many. */
struct parsed {
    struct slice name;
    struct slice routing;
    struct conf_queue_key key;
};

static struct parsed parse(struct slice queue)
{
    return (struct parsed){queue, queue_name_routing(queue), queue_name_parse(queue)};
}

static bool criteria_match(const struct admin_criteria *criteria, const struct parsed *queue)
{
    const struct conf_queue_key *key = &queue->key;
    return (criteria->domain.size == 0 || slice_equal_nocase(criteria->domain, key->domain)) &&
           (criteria->routing_domain.size == 0 ||
            slice_equal_nocase(criteria->routing_domain, queue->routing)) &&
           (criteria->tenant.size == 0 || slice_equal(criteria->tenant, key->tenant)) &&
           (criteria->campaign.size == 0 || slice_equal(criteria->campaign, key->campaign)) &&
           names_match(criteria, queue->name);
}

bool admin_criteria_match(const struct admin_criteria *criteria, struct slice queue)
{
    const struct parsed parsed = parse(queue);
    return criteria_match(criteria, &parsed);
}

/* --- tables ----------------------------------------------------------------------------------- */

static bool is_ready_of(const void *context, uint64_t value, const void *key)
{
    const struct admin_table *table = context;
    return slice_equal(table->entries[value].criteria.names[0], *(const struct slice *)key);
}

void admin_table_clear(struct admin_table *table)
{
    CHECK(htab_slots_for(ADMIN_SLOTS_MAX) == ADMIN_READY_SLOTS);
    table->count = 0;
    table->sched_count = 0;
    table->sched_names = 0;
    /* Who chooses names of hosts that collide makes his own queues slow to find. */
    htab_init(&table->ready, table->ready_slots, ADMIN_READY_SLOTS, 1, is_ready_of, table);
    for (unsigned i = 0; i < COUNT_OF(table->rooms); i++) {
        table->rooms[i] = (struct admin_room){0};
        buf_init(&table->rooms[i].text, table->memory[i], sizeof(table->memory[i]));
    }
}

static struct slice copy(struct buf *text, struct slice bytes)
{
    size_t at = text->size;
    buf_put(text, bytes);
    return text->overflow ? SLICE_NONE : slice_make(text->data + at, bytes.size);
}

static bool comes_before(const struct admin_entry *a, const struct admin_entry *b)
{
    bool a_bounces = a->kind == ADMIN_BOUNCE;
    bool b_bounces = b->kind == ADMIN_BOUNCE;
    return a_bounces != b_bounces ? a_bounces : a->until_ns > b->until_ns;
}

/* Entry number `number` is whole: it is found from now on. */
static void entry_index(struct admin_table *table, unsigned number)
{
    const struct admin_entry *entry = &table->entries[number];
    uint64_t other;
    if (entry->kind != ADMIN_SUSPEND_READY) {
        table->sched[table->sched_count++] = (uint16_t)number;
        table->sched_names += entry->criteria.name_count;
        return;
    }
    if (entry->criteria.name_count != 1) {
        return; /* of nobody: admin_entry_problem */
    }
    const struct slice *name = &entry->criteria.names[0];
    uint64_t hash = htab_hash(&table->ready, *name);
    if (htab_find(&table->ready, hash, name, &other)) {
        if (!comes_before(entry, &table->entries[other])) {
            return;
        }
        CHECK(htab_remove(&table->ready, hash, name, &other));
    }
    CHECK(htab_insert(&table->ready, hash, number));
}

bool admin_table_add(struct admin_table *table, const struct admin_entry *entry)
{
    const struct admin_criteria *from = &entry->criteria;
    struct admin_room *room = &table->rooms[entry->effect > 0];
    struct buf text = room->text;
    struct slice *names = table->names[entry->effect > 0] + room->name_count;
    if (room->count == ADMIN_ENTRIES_MAX ||
        from->name_count > ADMIN_NAMES_MAX - room->name_count) {
        return false;
    }
    struct admin_entry *added = &table->entries[table->count];
    *added = *entry;
    added->criteria.domain = copy(&text, from->domain);
    added->criteria.routing_domain = copy(&text, from->routing_domain);
    added->criteria.tenant = copy(&text, from->tenant);
    added->criteria.campaign = copy(&text, from->campaign);
    added->reason = copy(&text, entry->reason);
    added->criteria.names = names;
    for (unsigned i = 0; i < from->name_count; i++) {
        names[i] = copy(&text, from->names[i]);
    }
    if (text.overflow) {
        return false;
    }
    room->text = text;
    room->name_count += from->name_count;
    room->count++;
    entry_index(table, table->count++);
    return true;
}

const struct admin_entry *admin_table_find(const struct admin_table *table, struct slice queue)
{
    const struct admin_entry *best = NULL;
    const struct parsed parsed = parse(queue);
    for (unsigned i = 0; i < table->sched_count; i++) {
        const struct admin_entry *entry = &table->entries[table->sched[i]];
        if ((best == NULL || comes_before(entry, best)) &&
            criteria_match(&entry->criteria, &parsed)) {
            best = entry;
        }
    }
    return best;
}

const struct admin_entry *admin_table_find_ready(const struct admin_table *table,
                                                 struct slice name)
{
    uint64_t number;
    bool found = htab_find(&table->ready, htab_hash(&table->ready, name), &name, &number);
    return found ? &table->entries[number] : NULL;
}

unsigned admin_turn_budget(const struct admin_table *table, unsigned more)
{
    unsigned cost = 1 + more;
    if (table != NULL) {
        cost += table->sched_count + table->sched_names;
    }
    return MAX_OF(ADMIN_COMPARISONS_MAX / cost, 1);
}

/* --- stored ----------------------------------------------------------------------------------- */

static void put_text(struct buf *buf, struct slice text)
{
    uint8_t *size = buf_reserve(buf, 2);
    if (size != NULL) {
        little_put_u16(size, (uint16_t)text.size);
        buf_put(buf, text);
    }
}

static void put_entry(struct buf *buf, const struct admin_entry *entry)
{
    const struct admin_criteria *criteria = &entry->criteria;
    uint8_t *at = buf_reserve(buf, ENTRY_BYTES);
    CHECK(at != NULL);
    at[0] = (uint8_t)entry->kind;
    at[1] = criteria->everything;
    little_put_u16(at + 2, (uint16_t)criteria->name_count);
    little_put_u32(at + 4, 0);
    memcpy(at + 8, entry->id.bytes, sizeof(entry->id.bytes));
    little_put_u64(at + 24, entry->created_ns);
    little_put_u64(at + 32, entry->expires_ns);
    put_text(buf, criteria->domain);
    put_text(buf, criteria->routing_domain);
    put_text(buf, criteria->tenant);
    put_text(buf, criteria->campaign);
    put_text(buf, entry->reason);
    for (unsigned i = 0; i < criteria->name_count; i++) {
        put_text(buf, criteria->names[i]);
    }
}

void admin_table_encode(const struct admin_table *table, struct buf *buf)
{
    uint8_t *head = buf_reserve(buf, HEAD_BYTES);
    CHECK(head != NULL && buf->size == HEAD_BYTES);
    memcpy(head, MAGIC, 8);
    little_put_u32(head + 16, table->rooms[0].count);
    little_put_u32(head + 20, 0);
    for (unsigned i = 0; i < table->count; i++) {
        if (table->entries[i].effect == 0) {
            put_entry(buf, &table->entries[i]);
        }
    }
    CHECK(!buf->overflow);
    little_put_u64(head + 8, XXH3_64bits(head + CHECKED_AFTER, buf->size - CHECKED_AFTER));
}

static bool get_text(struct slice *rest, struct slice *text_out)
{
    if (rest->size < 2 || rest->size - 2 < little_u16(rest->data)) {
        return false;
    }
    *text_out = slice_make(rest->data + 2, little_u16(rest->data));
    *rest = slice_skip(*rest, 2 + text_out->size);
    return true;
}

/* `names` has room for as many as a table has. */
static bool get_entry(struct slice *rest, struct slice *names, struct admin_entry *entry_out)
{
    if (rest->size < ENTRY_BYTES) {
        return false;
    }
    const uint8_t *at = rest->data;
    *entry_out = (struct admin_entry){
        .kind = (enum admin_kind)at[0],
        .criteria = {.everything = at[1] != 0, .names = names, .name_count = little_u16(at + 2)},
        .created_ns = little_u64(at + 24),
        .expires_ns = little_u64(at + 32),
    };
    memcpy(entry_out->id.bytes, at + 8, sizeof(entry_out->id.bytes));
    *rest = slice_skip(*rest, ENTRY_BYTES);
    struct admin_criteria *criteria = &entry_out->criteria;
    if (entry_out->kind < ADMIN_SUSPEND || entry_out->kind > ADMIN_BOUNCE ||
        criteria->name_count > ADMIN_NAMES_MAX || !get_text(rest, &criteria->domain) ||
        !get_text(rest, &criteria->routing_domain) || !get_text(rest, &criteria->tenant) ||
        !get_text(rest, &criteria->campaign) || !get_text(rest, &entry_out->reason)) {
        return false;
    }
    for (unsigned i = 0; i < criteria->name_count; i++) {
        if (!get_text(rest, &names[i])) {
            return false;
        }
    }
    return admin_entry_problem(entry_out) == NULL;
}

static bool decode(struct admin_table *table, struct slice bytes)
{
    if (bytes.size < HEAD_BYTES || memcmp(bytes.data, MAGIC, 8) != 0 ||
        little_u64(bytes.data + 8) !=
            XXH3_64bits(bytes.data + CHECKED_AFTER, bytes.size - CHECKED_AFTER)) {
        return false;
    }
    uint32_t count = little_u32(bytes.data + 16);
    struct slice rest = slice_skip(bytes, HEAD_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        struct admin_entry entry;
        /* Read into where the table would keep them; added, they are copied onto themselves. */
        unsigned used = table->rooms[0].name_count;
        struct slice *names = table->names[0] + used;
        if (rest.size < ENTRY_BYTES || little_u16(rest.data + 2) > ADMIN_NAMES_MAX - used ||
            !get_entry(&rest, names, &entry) || !admin_table_add(table, &entry)) {
            return false;
        }
    }
    return rest.size == 0;
}

bool admin_table_decode(struct admin_table *table, struct slice bytes)
{
    admin_table_clear(table);
    if (!decode(table, bytes)) {
        admin_table_clear(table);
        return false;
    }
    return true;
}
