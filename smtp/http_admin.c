#include "smtp/http_admin.h"

#include <string.h>

#include "core/arena.h"
#include "core/check.h"
#include "core/conf_text.h"
#include "core/date.h"
#include "core/json_member.h"
#include "core/json_value.h"
#include "smtp/node.h"

#define ORDERS_MAX   16u
#define ARENA_BYTES  (1024 * KIB) /* values of a body of HTTP_ADMIN_BODY_BYTES */
#define NAMES_MAX    1000u
#define ANSWER_BYTES (32 * KIB)

#define JSON_TYPE    SLICE("application/json")
#define NO_ID        "id wants 32 hexadecimal digits"

struct order {
    struct admin_request request;
    struct rebind_request rebind;   /* instead; but for what it has in common with `request` */
    struct http_exchange *exchange; /* answered once */
    struct http_admin *http;
    struct arena arena;
    struct slice names[NAMES_MAX];
    _Alignas(ARENA_ALIGNMENT) uint8_t memory[ARENA_BYTES];
};

struct http_admin *http_admin_of(struct http_exchange *exchange)
{
    struct control *control = exchange->context;
    if (node_state(control->node) == NODE_READY) {
        return &control->http_admin;
    }
    http_answer_text(exchange, 503, SLICE("the server is starting, or stopping"));
    return NULL;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* What is wrong with a member; null: nothing. */
typedef const char *take_member(struct order *order, const struct json_value *value);

static bool take_text(const struct json_value *value, struct slice *text_out)
{
    *text_out = value->kind == JSON_STRING ? json_value_text(value) : SLICE_NONE;
    return value->kind == JSON_STRING || value->kind == JSON_NULL;
}

static const char *take_domain(struct order *order, const struct json_value *value)
{
    return take_text(value, &order->request.criteria.domain) ? NULL : "domain wants a text";
}

static const char *take_routing_domain(struct order *order, const struct json_value *value)
{
    return take_text(value, &order->request.criteria.routing_domain)
               ? NULL
               : "routing_domain wants a text";
}

static const char *take_tenant(struct order *order, const struct json_value *value)
{
    return take_text(value, &order->request.criteria.tenant) ? NULL : "tenant wants a text";
}

static const char *take_campaign(struct order *order, const struct json_value *value)
{
    return take_text(value, &order->request.criteria.campaign) ? NULL : "campaign wants a text";
}

static const char *take_reason(struct order *order, const struct json_value *value)
{
    return take_text(value, &order->request.reason) ? NULL : "reason wants a text";
}

static const char *take_names(struct order *order, const struct json_value *value)
{
    if (value->kind == JSON_NULL) {
        return NULL;
    }
    if (value->kind != JSON_ARRAY || value->size > NAMES_MAX) {
        return "queue_names wants an array of at most 1000 names";
    }
    for (uint32_t i = 0; i < value->size; i++) {
        if (value->elements[i].kind != JSON_STRING) {
            return "queue_names wants an array of texts";
        }
        order->names[i] = json_value_text(&value->elements[i]);
    }
    order->request.criteria.names = order->names;
    order->request.criteria.name_count = value->size;
    return NULL;
}

static const char *take_name(struct order *order, const struct json_value *value)
{
    if (!take_text(value, &order->names[0]) || order->names[0].size == 0) {
        return "name wants the name of a ready queue";
    }
    order->request.criteria.names = order->names;
    order->request.criteria.name_count = 1;
    return NULL;
}

static const char *take_everything(struct order *order, const struct json_value *value)
{
    order->request.criteria.everything = value->kind == JSON_BOOL && value->boolean;
    return value->kind == JSON_BOOL ? NULL : "everything wants true or false";
}

static const char *take_dry_run(struct order *order, const struct json_value *value)
{
    order->request.dry_run = value->kind == JSON_BOOL && value->boolean;
    return value->kind == JSON_BOOL ? NULL : "dry_run wants true or false";
}

static const char *take_duration(struct order *order, const struct json_value *value)
{
    uint64_t *duration_ns = &order->request.duration_ns;
    switch ((enum json_kind)value->kind) {
    case JSON_NULL:
        return NULL;
    case JSON_INTEGER:
        if (value->integer > 0 &&
            (uint64_t)value->integer <= ADMIN_DURATION_NS_MAX / NS_PER_S) {
            *duration_ns = (uint64_t)value->integer * NS_PER_S;
            return NULL;
        }
        break;
    case JSON_STRING:
        if (conf_text_duration(json_value_text(value), duration_ns) && *duration_ns > 0) {
            return NULL;
        }
        break;
    case JSON_ABSENT:
    case JSON_BOOL:
    case JSON_DOUBLE:
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return "duration wants a text like \"5m\", or seconds";
}

static const char *take_expires(struct order *order, const struct json_value *value)
{
    struct slice text;
    if (value->kind == JSON_NULL ||
        (take_text(value, &text) && date_parse_rfc3339(text, &order->request.expires_ns))) {
        return NULL;
    }
    return "expires wants a time like \"2026-11-22T16:49:10Z\"";
}

static const char *take_id(struct order *order, const struct json_value *value)
{
    struct slice text;
    return take_text(value, &text) && id_parse(text, &order->request.id) ? NULL : NO_ID;
}

/* Null: it has none from now on. */
static bool take_change(const struct json_value *value, bool *sets, struct slice *text)
{
    *sets = true;
    return take_text(value, text);
}

static const char *take_class(const struct json_value *value, struct metadata_change *change)
{
    struct slice text;
    bool known = take_text(value, &text);
    change->sets_class = true;
    change->urgent = known && slice_equal(text, SLICE("urgent"));
    return change->urgent || (known && slice_equal(text, SLICE("bulk")))
               ? NULL
               : "class is \"urgent\" or \"bulk\"";
}

static const char *take_datum(struct order *order, const struct json_member *given)
{
    struct metadata_change *change = &order->rebind.change;
    struct slice key = json_value_text(&given->key);
    if (slice_equal(key, SLICE("tenant"))) {
        return take_change(&given->value, &change->sets_tenant, &change->tenant)
                   ? NULL
                   : "tenant wants a text, or null";
    }
    if (slice_equal(key, SLICE("campaign"))) {
        return take_change(&given->value, &change->sets_campaign, &change->campaign)
                   ? NULL
                   : "campaign wants a text, or null";
    }
    if (slice_equal(key, SLICE("class"))) {
        return take_class(&given->value, change);
    }
    return slice_equal(key, SLICE("routing_domain"))
               ? "routing_domain is what the configuration says of a queue; it cannot be set"
               : "data may have tenant, campaign and class";
}

static const char *take_data(struct order *order, const struct json_value *value)
{
    const char *wrong = value->kind == JSON_OBJECT ? NULL : "data wants an object";
    for (uint32_t i = 0; wrong == NULL && i < value->size; i++) {
        wrong = take_datum(order, &value->members[i]);
    }
    return wrong;
}

static const char *take_always_flush(struct order *order, const struct json_value *value)
{
    order->rebind.flush = value->kind == JSON_BOOL && value->boolean;
    return value->kind == JSON_BOOL ? NULL : "always_flush wants true or false";
}

/* Of the records of its recipients: the line for the order is there all the same. */
static const char *take_suppress_logging(struct order *order, const struct json_value *value)
{
    order->rebind.untold = value->kind == JSON_BOOL && value->boolean;
    return value->kind == JSON_BOOL ? NULL : "suppress_logging wants true or false";
}

static const char *take_trigger(struct order *order, const struct json_value *value)
{
    (void)order;
    return value->kind == JSON_BOOL && !value->boolean
               ? NULL
               : "trigger_rebind_event: there are no scripts that could hear it";
}

enum {
    FOR_RULE = 1, /* suspend, bounce */
    FOR_FLUSH = 2,
    FOR_READY = 4,
    FOR_CANCEL = 8,
    FOR_REBIND = 16,
    FOR_QUEUES = FOR_RULE | FOR_FLUSH | FOR_REBIND,
    FOR_WHILE = FOR_RULE | FOR_READY, /* what lasts */
};

static const struct member {
    const char *name;
    unsigned for_what;
    take_member *take;
} members[] = {
    {"domain", FOR_QUEUES, take_domain},
    {"routing_domain", FOR_QUEUES, take_routing_domain},
    {"tenant", FOR_QUEUES, take_tenant},
    {"campaign", FOR_QUEUES, take_campaign},
    {"queue_names", FOR_QUEUES, take_names},
    {"everything", FOR_QUEUES, take_everything},
    {"name", FOR_READY, take_name},
    {"reason", FOR_QUEUES | FOR_READY, take_reason},
    {"duration", FOR_WHILE, take_duration},
    {"expires", FOR_WHILE, take_expires},
    {"dry_run", FOR_QUEUES | FOR_READY, take_dry_run},
    {"id", FOR_CANCEL, take_id},
    {"data", FOR_REBIND, take_data},
    {"always_flush", FOR_REBIND, take_always_flush},
    {"suppress_logging", FOR_REBIND, take_suppress_logging},
    {"trigger_rebind_event", FOR_REBIND, take_trigger},
};

static const char *take_one(struct order *order, unsigned for_what,
                            const struct json_member *given)
{
    struct slice key = json_value_text(&given->key);
    for (unsigned i = 0; i < COUNT_OF(members); i++) {
        if ((members[i].for_what & for_what) != 0 &&
            slice_equal(key, slice_from_string(members[i].name))) {
            return members[i].take(order, &given->value);
        }
    }
    return "there is a member that this request does not have";
}

static const char *order_read(struct order *order, unsigned for_what)
{
    struct json_problem problem;
    /* Its own for each: orders are rare, and what a large one took is given back. */
    struct json_reader *reader = json_reader_open();
    const struct json_value *root =
        json_value_read(reader, order->exchange->body, &order->arena, &problem);
    json_reader_close(reader);
    if (root == NULL) {
        return json_fault_text(problem.fault);
    }
    if (root->kind != JSON_OBJECT) {
        return "an object is wanted";
    }
    const char *wrong = NULL;
    for (uint32_t i = 0; i < root->size && wrong == NULL; i++) {
        wrong = take_one(order, for_what, &root->members[i]);
    }
    if (for_what == FOR_CANCEL && root->size == 0) { /* it has no other member */
        wrong = NO_ID;
    }
    return wrong;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void put_found(struct json *json, const struct admin_found *found)
{
    json_member_u64(json, "queues", found->queues);
    json_member_u64(json, "recipients", found->recipients);
    json_key(json, "samples");
    json_array(json);
    for (unsigned i = 0; i < found->sample_count; i++) {
        json_string(json, slice_make(found->samples[i].name, found->samples[i].bytes));
    }
    json_array_end(json);
}

static void answer_done(struct order *order)
{
    const struct admin_request *request = &order->request;
    struct buf *room = http_answer_room(order->exchange, ANSWER_BYTES);
    struct json json;
    if (room == NULL) {
        return;
    }
    json_init(&json, room);
    json_object(&json);
    if (!request->dry_run) {
        json_member_id(&json, "id", &request->id);
    }
    if (request->action != ADMIN_DO_CANCEL) {
        put_found(&json, &request->found);
    }
    if (request->expires_ns > 0) {
        json_member_time(&json, "expires", request->expires_ns);
    }
    json_object_end(&json);
    http_answer_written(order->exchange, 200, JSON_TYPE);
}

static void order_done(struct admin_request *request)
{
    struct order *order = CONTAINER_OF(request, struct order, request);
    struct http_exchange *exchange = order->exchange;
    switch (request->status) {
    case ADMIN_DONE:
        answer_done(order);
        break;
    case ADMIN_INVALID:
        http_answer_text(exchange, 400, slice_from_string(request->problem));
        break;
    case ADMIN_UNKNOWN:
        http_answer_text(exchange, 404, SLICE("there is no such entry"));
        break;
    case ADMIN_FULL:
        http_answer_text(exchange, 503, SLICE("there are as many entries as there may be"));
        break;
    case ADMIN_NOT_STORED:
        http_answer_text(exchange, 500, SLICE("it could not be stored; nothing is changed"));
        break;
    case ADMIN_NOT_KNOWN:
        http_answer_text(exchange, 500, SLICE("it could not be stored for sure; nothing is "
                                              "changed, but a restart may find it done"));
        break;
    case ADMIN_STOPPING:
        http_answer_text(exchange, 503, SLICE("the server is stopping"));
        break;
    }
    pool_give(&order->http->orders, order);
}

static unsigned what_for(enum admin_action action)
{
    switch (action) {
    case ADMIN_DO_SUSPEND:
    case ADMIN_DO_BOUNCE:
        return FOR_RULE;
    case ADMIN_DO_SUSPEND_READY:
        return FOR_READY;
    case ADMIN_DO_FLUSH:
        return FOR_FLUSH;
    case ADMIN_DO_CANCEL:
        return FOR_CANCEL;
    }
    CHECK(false);
}

static void answer_rebound(struct order *order)
{
    const struct rebind_request *request = &order->rebind;
    struct buf *room = http_answer_room(order->exchange, ANSWER_BYTES);
    struct json json;
    if (room == NULL) {
        return;
    }
    json_init(&json, room);
    json_object(&json);
    put_found(&json, &request->found);
    if (!request->dry_run) {
        json_member_u64(&json, "rebound", request->moved);
        json_member_u64(&json, "left", request->left);
    }
    json_object_end(&json);
    http_answer_written(order->exchange, 200, JSON_TYPE);
}

static void rebind_done(struct rebind_request *request)
{
    struct order *order = CONTAINER_OF(request, struct order, rebind);
    switch (request->status) {
    case REBIND_DONE:
        answer_rebound(order);
        break;
    case REBIND_INVALID:
        http_answer_text(order->exchange, 400, slice_from_string(request->problem));
        break;
    case REBIND_STOPPING:
        http_answer_text(order->exchange, 503, SLICE("the server is stopping; a part may be done"));
        break;
    }
    pool_give(&order->http->orders, order);
}

/* An order to be read; null: the exchange has been answered. */
static struct order *order_take(struct http_exchange *exchange)
{
    struct http_admin *http = http_admin_of(exchange);
    struct order *order = http != NULL ? pool_take(&http->orders) : NULL;
    if (order == NULL) {
        if (http != NULL) {
            http_answer_text(exchange, 503, SLICE("too many orders at once"));
        }
        return NULL;
    }
    order->request = (struct admin_request){.done = order_done};
    order->rebind = (struct rebind_request){.done = rebind_done};
    order->exchange = exchange;
    order->http = http;
    arena_init(&order->arena, order->memory, sizeof(order->memory));
    return order;
}

/* Not taken: 400 for what is wrong with it, 503 when nothing is. */
static void order_refuse(struct order *order, const char *wrong)
{
    struct http_exchange *exchange = order->exchange;
    pool_give(&order->http->orders, order);
    http_answer_text(exchange, wrong != NULL ? 400 : 503,
                     wrong != NULL ? slice_from_string(wrong) : SLICE("too many orders at once"));
}

static void order_begin(struct http_exchange *exchange, enum admin_action action,
                        enum admin_kind kind)
{
    struct order *order = order_take(exchange);
    if (order == NULL) {
        return;
    }
    order->request.action = action;
    order->request.kind = kind;
    const char *wrong = order_read(order, what_for(action));
    if (wrong != NULL || !admin_ask(order->http->admin, &order->request)) {
        order_refuse(order, wrong);
    }
}

void http_admin_rebind(struct http_exchange *exchange)
{
    struct order *order = order_take(exchange);
    if (order == NULL) {
        return;
    }
    const char *wrong = order_read(order, FOR_REBIND);
    order->rebind.criteria = order->request.criteria;
    order->rebind.reason = order->request.reason;
    order->rebind.dry_run = order->request.dry_run;
    if (wrong != NULL || !rebind_ask(order->http->rebind, &order->rebind)) {
        order_refuse(order, wrong);
    }
}

/* --- lists ------------------------------------------------------------------------------------ */

static void put_criteria(struct json *json, const struct admin_criteria *criteria)
{
    json_member_text(json, "campaign", criteria->campaign);
    json_member_text(json, "tenant", criteria->tenant);
    json_member_text(json, "domain", criteria->domain);
    json_member_text(json, "routing_domain", criteria->routing_domain);
    json_key(json, "queue_names");
    json_array(json);
    for (unsigned i = 0; i < criteria->name_count; i++) {
        json_string(json, criteria->names[i]);
    }
    json_array_end(json);
    json_key(json, "everything");
    json_bool(json, criteria->everything);
}

static void put_entry(struct json *json, const struct admin *admin,
                      const struct admin_entry *entry)
{
    uint64_t now_ns = admin->shard->now_ns;
    uint8_t memory[32];
    struct buf left;
    buf_init(&left, memory, sizeof(memory));
    buf_put_u64(&left, (entry->until_ns - MIN_OF(now_ns, entry->until_ns)) / NS_PER_S);
    buf_put_byte(&left, 's');
    json_object(json);
    json_member_id(json, "id", &entry->id);
    if (entry->kind == ADMIN_SUSPEND_READY) {
        json_member_text(json, "name", entry->criteria.names[0]);
    } else {
        put_criteria(json, &entry->criteria);
    }
    json_member_text(json, "reason", entry->reason);
    json_member_text(json, "duration", buf_slice(&left));
    json_member_time(json, "expires", entry->expires_ns);
    if (entry->kind == ADMIN_BOUNCE) {
        json_member_u64(json, "total_bounced", admin_bounced(admin, entry));
    }
    if (entry->effect > 0) {
        json_member_u64(json, "effect", entry->effect); /* of a rule: tsa/automation.h */
    }
    json_object_end(json);
}

/* What an entry may take in a list. */
static size_t entry_room(const struct admin_entry *entry)
{
    const struct admin_criteria *criteria = &entry->criteria;
    size_t bytes = criteria->domain.size + criteria->routing_domain.size + criteria->tenant.size +
                   criteria->campaign.size + entry->reason.size;
    for (unsigned i = 0; i < criteria->name_count; i++) {
        bytes += criteria->names[i].size + 1;
    }
    return bytes * JSON_STRING_GROWTH + 512;
}

static void list(struct http_exchange *exchange, enum admin_kind kind)
{
    const struct http_admin *http = http_admin_of(exchange);
    if (http == NULL) {
        return;
    }
    const struct admin *admin = http->admin;
    size_t bytes = 16;
    struct json json;
    for (unsigned i = 0; i < admin_count(admin); i++) {
        const struct admin_entry *entry = admin_at(admin, i);
        bytes += entry->kind == kind ? entry_room(entry) : 0;
    }
    struct buf *room = http_answer_room(exchange, bytes);
    if (room == NULL) {
        return;
    }
    json_init(&json, room);
    json_array(&json);
    for (unsigned i = 0; i < admin_count(admin); i++) {
        if (admin_at(admin, i)->kind == kind) {
            put_entry(&json, admin, admin_at(admin, i));
        }
    }
    json_array_end(&json);
    http_answer_written(exchange, 200, JSON_TYPE);
}

/* --- handlers --------------------------------------------------------------------------------- */

void http_admin_suspend(struct http_exchange *exchange)
{
    order_begin(exchange, ADMIN_DO_SUSPEND, ADMIN_SUSPEND);
}

void http_admin_suspend_list(struct http_exchange *exchange)
{
    list(exchange, ADMIN_SUSPEND);
}

void http_admin_suspend_cancel(struct http_exchange *exchange)
{
    order_begin(exchange, ADMIN_DO_CANCEL, ADMIN_SUSPEND);
}

void http_admin_suspend_ready(struct http_exchange *exchange)
{
    order_begin(exchange, ADMIN_DO_SUSPEND_READY, ADMIN_SUSPEND_READY);
}

void http_admin_suspend_ready_list(struct http_exchange *exchange)
{
    list(exchange, ADMIN_SUSPEND_READY);
}

void http_admin_suspend_ready_cancel(struct http_exchange *exchange)
{
    order_begin(exchange, ADMIN_DO_CANCEL, ADMIN_SUSPEND_READY);
}

void http_admin_bounce(struct http_exchange *exchange)
{
    order_begin(exchange, ADMIN_DO_BOUNCE, ADMIN_BOUNCE);
}

void http_admin_bounce_list(struct http_exchange *exchange)
{
    list(exchange, ADMIN_BOUNCE);
}

void http_admin_bounce_cancel(struct http_exchange *exchange)
{
    order_begin(exchange, ADMIN_DO_CANCEL, ADMIN_BOUNCE);
}

void http_admin_flush(struct http_exchange *exchange)
{
    order_begin(exchange, ADMIN_DO_FLUSH, ADMIN_SUSPEND);
}

void http_admin_init(struct http_admin *http, struct boot_pages *pages, struct admin *admin,
                     struct explain *explain, struct rebind *rebind, struct queue_census *census)
{
    http->admin = admin;
    http->explain = explain;
    http->rebind = rebind;
    http->census = census;
    pool_init(&http->orders,
              boot_pages_take(pages, pool_memory(sizeof(struct order), ORDERS_MAX)),
              sizeof(struct order), ORDERS_MAX);
    http_inspect_init(http, pages);
    http_queues_init(http, pages);
    http_reload_init(http, pages);
}
