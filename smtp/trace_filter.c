#include "smtp/trace_filter.h"

#include "core/json_value.h"
#include "smtp/client_session.h"
#include "smtp/queue_of.h"

/* --- reading ---------------------------------------------------------------------------------- */

/* Texts of a member that is one or an array of them. False: it is neither. */
static bool take_texts(const struct json_value *value, struct trace_texts *texts)
{
    const struct json_value *values = value->kind == JSON_ARRAY ? value->elements : value;
    uint32_t count = value->kind == JSON_ARRAY ? value->size : 1;
    if (value->kind == JSON_NULL) {
        return true;
    }
    if (count > TRACE_VALUES_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (values[i].kind != JSON_STRING) {
            return false;
        }
        texts->values[texts->count++] = json_value_text(&values[i]);
    }
    return true;
}

static bool take_networks(const struct json_value *value, struct trace_networks *networks)
{
    struct trace_texts texts = {0};
    if (!take_texts(value, &texts)) {
        return false;
    }
    for (unsigned i = 0; i < texts.count; i++) {
        if (!network_parse(texts.values[i], &networks->values[i])) {
            return false;
        }
    }
    networks->count = texts.count;
    return true;
}

static bool take_flag(const struct json_value *value, bool *flag)
{
    *flag = value->kind == JSON_BOOL && value->boolean;
    return value->kind == JSON_BOOL || value->kind == JSON_NULL;
}

static const char *const text_names[TRACE_TEXTS] = {
    [TRACE_MX_HOST] = "mx_host",       [TRACE_READY_QUEUE] = "ready_queue",
    [TRACE_EGRESS_SOURCE] = "egress_source", [TRACE_DOMAIN] = "domain",
    [TRACE_ROUTING_DOMAIN] = "routing_domain", [TRACE_CAMPAIGN] = "campaign",
    [TRACE_TENANT] = "tenant",         [TRACE_MAIL_FROM] = "mail_from",
    [TRACE_RCPT_TO] = "rcpt_to",
};

static bool is_named(struct slice key, const char *name)
{
    return slice_equal(key, slice_from_string(name));
}

static const char *take_member(struct trace_filter *filter, struct slice key,
                               const struct json_value *value)
{
    bool client = filter->side == TRACE_CLIENT;
    if (is_named(key, "source") || (client && is_named(key, "source_addr"))) {
        return take_networks(value, &filter->sources) ? NULL : "source wants networks";
    }
    if (is_named(key, "only_new")) {
        return take_flag(value, &filter->only_new) ? NULL : "only_new wants true or false";
    }
    if (is_named(key, "only_one")) {
        return take_flag(value, &filter->only_one) ? NULL : "only_one wants true or false";
    }
    if (is_named(key, "terse")) {
        return take_flag(value, &filter->terse) ? NULL : "terse wants true or false";
    }
    if (client && is_named(key, "mx_addr")) {
        return take_networks(value, &filter->mx_addresses) ? NULL : "mx_addr wants networks";
    }
    for (unsigned i = 0; client && i < TRACE_TEXTS; i++) {
        if (is_named(key, text_names[i])) {
            return take_texts(value, &filter->texts[i])
                       ? NULL
                       : "a filter wants a text, or at most 16 of them";
        }
    }
    return "there is a member that this filter does not have";
}

const char *trace_filter_read(struct trace_filter *filter, enum trace_side side,
                              struct slice json, struct arena *arena)
{
    struct json_problem problem;
    struct json_reader *reader = json_reader_open();
    const struct json_value *root = json_value_read(reader, json, arena, &problem);
    const char *wrong = NULL;
    json_reader_close(reader);
    *filter = (struct trace_filter){.side = side};
    if (root == NULL) {
        return json_fault_text(problem.fault);
    }
    if (root->kind != JSON_OBJECT) {
        return "a filter is an object";
    }
    for (uint32_t i = 0; i < root->size && wrong == NULL; i++) {
        const struct json_member *member = &root->members[i];
        wrong = take_member(filter, json_value_text(&member->key), &member->value);
    }
    return wrong;
}

/* --- asking ----------------------------------------------------------------------------------- */

static bool has(const struct trace_texts *texts, struct slice text)
{
    for (unsigned i = 0; i < texts->count; i++) {
        if (slice_equal_nocase(texts->values[i], text)) {
            return true;
        }
    }
    return texts->count == 0;
}

static bool contains(const struct trace_networks *networks, const struct endpoint *endpoint)
{
    return networks->count == 0 || networks_contain(networks->values, networks->count, endpoint);
}

bool trace_filter_fits_session(const struct trace_filter *filter,
                               const struct trace_session *session)
{
    if (filter->side == TRACE_SERVER) {
        return contains(&filter->sources, &session->peer);
    }
    return contains(&filter->sources, &session->local) &&
           contains(&filter->mx_addresses, &session->peer) &&
           has(&filter->texts[TRACE_MX_HOST], session->mx_host) &&
           has(&filter->texts[TRACE_READY_QUEUE], session->ready_queue) &&
           has(&filter->texts[TRACE_EGRESS_SOURCE], session->egress_source);
}

bool trace_filter_asks_transaction(const struct trace_filter *filter)
{
    unsigned count = 0;
    for (unsigned i = TRACE_DOMAIN; i < TRACE_TEXTS; i++) {
        count += filter->texts[i].count;
    }
    return count > 0;
}

static bool has_recipient(const struct trace_texts *texts,
                          const struct trace_transaction *transaction)
{
    bool found = texts->count == 0;
    for (uint32_t i = 0; i < transaction->count && !found; i++) {
        found = has(texts, transaction->recipients[i].address);
    }
    return found;
}

bool trace_filter_fits_transaction(const struct trace_filter *filter,
                                   const struct trace_transaction *transaction)
{
    if (!trace_filter_asks_transaction(filter)) {
        return true;
    }
    if (transaction->queue.size == 0) {
        return false;
    }
    struct conf_queue_key key = queue_name_parse(transaction->queue);
    return has(&filter->texts[TRACE_DOMAIN], key.domain) &&
           has(&filter->texts[TRACE_ROUTING_DOMAIN], queue_name_routing(transaction->queue)) &&
           has(&filter->texts[TRACE_CAMPAIGN], key.campaign) &&
           has(&filter->texts[TRACE_TENANT], key.tenant) &&
           has(&filter->texts[TRACE_MAIL_FROM], transaction->sender) &&
           has_recipient(&filter->texts[TRACE_RCPT_TO], transaction);
}
