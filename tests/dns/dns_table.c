#include "tests/dns/dns_table.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "shard/shard.h"

static const struct dns_row *row_find(const struct dns_table *table,
                                  const struct dns_question *question, bool *name_out)
{
    const struct dns_row *found = NULL;
    *name_out = false;
    for (unsigned i = 0; i < table->row_count; i++) {
        const struct dns_row *row = &table->rows[i];
        if (slice_equal(slice_from_string(row->name), question->name)) {
            *name_out = true;
            found = row->type == question->type ? row : found;
        }
    }
    return found;
}

/* "!timeout" … */
static enum dns_status status_of(const char *word)
{
    static const struct {
        const char *word;
        enum dns_status status;
    } rows[] = {{"!no", DNS_NO_NAME},    {"!nodata", DNS_NO_DATA}, {"!failed", DNS_FAILED},
                {"!timeout", DNS_TIMEOUT}, {"!bad", DNS_BAD_ANSWER}, {"!busy", DNS_BUSY}};
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        if (strcmp(rows[i].word, word) == 0) {
            return rows[i].status;
        }
    }
    CHECK(false);
    return DNS_BUSY;
}

/* Its names are those of the row. */
static void records_read(const char *data, enum dns_type type, struct dns_record *records,
                         struct dns_answer *answer)
{
    while (*data != '\0') {
        size_t size = strcspn(data, ",");
        struct dns_record *record = &records[answer->count++];
        *record = (struct dns_record){.preference = 0};
        CHECK(answer->count <= DNS_RECORDS_MAX);
        if (type == DNS_MX) {
            size_t space = strcspn(data, " ");
            record->preference = (uint16_t)strtoul(data, NULL, 10);
            record->name = slice_make(data + space + 1, size - space - 1);
        } else {
            CHECK(endpoint_parse_address(slice_make(data, size), &record->address));
        }
        data += size + (data[size] == ',');
    }
}

static void answer_ask(struct dns_table *table, struct resolver_ask *ask)
{
    struct dns_record records[DNS_RECORDS_MAX];
    bool has_name;
    const struct dns_row *row = row_find(table, &ask->question, &has_name);
    struct dns_answer answer = {.type = ask->question.type,
                                .records = records,
                                .secure = table->secure,
                                .left_out = table->left_out};
    unsigned ttl_s = row != NULL && row->ttl_s > 0 ? row->ttl_s : 300;
    if (row == NULL) {
        answer.status = has_name ? DNS_NO_DATA : DNS_NO_NAME;
    } else if (row->data[0] == '!') {
        answer.status = status_of(row->data);
    } else {
        records_read(row->data, ask->question.type, records, &answer);
    }
    ask->done(ask, &answer, table->shard->now_ns + ttl_s * NS_PER_S, false);
}

/* Some of those that wait, any. */
static void fire(struct timer *timer)
{
    struct dns_table *table = CONTAINER_OF(timer, struct dns_table, timer);
    unsigned most = 1 + (unsigned)prng_below(&table->shard->prng, 16);
    for (unsigned i = 0; i < most && !list_empty(&table->pending); i++) {
        struct list *link = table->pending.next;
        for (uint64_t skip = prng_below(&table->shard->prng, 4);
             skip > 0 && link->next != &table->pending; skip--) {
            link = link->next;
        }
        list_remove(link);
        answer_ask(table, CONTAINER_OF(link, struct resolver_ask, link));
    }
    if (!list_empty(&table->pending)) {
        shard_timer_set(table->shard, timer, NS_PER_MS);
    }
}

static struct dns_table *table_of(struct resolver *resolver)
{
    return CONTAINER_OF(resolver, struct dns_table, resolver);
}

void resolver_ask_init(struct resolver_ask *ask)
{
    *ask = (struct resolver_ask){.done = NULL};
    list_init(&ask->link);
}

void resolver_ask(struct resolver *resolver, struct resolver_ask *ask)
{
    struct dns_table *table = table_of(resolver);
    CHECK(!list_linked(&ask->link));
    table->asked++;
    list_push_back(&table->pending, &ask->link);
    if (!timer_is_set(&table->timer)) {
        shard_timer_set(table->shard, &table->timer, NS_PER_MS);
    }
}

void resolver_unask(struct resolver *resolver, struct resolver_ask *ask)
{
    struct dns_table *table = table_of(resolver);
    list_remove(&ask->link);
    if (list_empty(&table->pending)) {
        shard_timer_clear(table->shard, &table->timer);
    }
}

void dns_table_init(struct dns_table *table, struct shard *shard)
{
    *table = (struct dns_table){.shard = shard};
    list_init(&table->pending);
    timer_init(&table->timer, fire);
}

void dns_table_say(struct dns_table *table, const char *name, enum dns_type type,
                   const char *data)
{
    for (unsigned i = 0; i < table->row_count; i++) {
        if (strcmp(table->rows[i].name, name) == 0 && table->rows[i].type == type) {
            table->rows[i].data = data;
            return;
        }
    }
    CHECK(table->row_count < DNS_TABLE_ROWS_MAX);
    table->rows[table->row_count++] = (struct dns_row){name, type, data, 0};
}
