#include "tools/order_text.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/json_member.h"
#include "tools/answer.h"

/* What reading --data takes, beside its text. */
#define DATA_ARENA_BYTES  4096
#define DATA_ARENA_FACTOR 24

static const struct {
    enum verb_option option;
    const char *member;
    const char *word;
} rows[] = {
    {OPTION_DOMAIN, "domain", "domain"},
    {OPTION_ROUTING_DOMAIN, "routing_domain", "routing domain"},
    {OPTION_TENANT, "tenant", "tenant"},
    {OPTION_CAMPAIGN, "campaign", "campaign"},
};

const char *order_criteria_problem(const struct verb_options *options)
{
    bool everything = verb_options_given(options, OPTION_EVERYTHING);
    bool ready = verb_options_given(options, OPTION_READY_QUEUE);
    unsigned count = verb_options_count(options, OPTIONS_CRITERIA);
    if (count == 0 && !ready) {
        return "say which queues: --domain, --routing-domain, --tenant, --campaign, --queue, or "
               "--everything";
    }
    if (everything && count > 1) {
        return "--everything leaves nothing else to say";
    }
    if (ready && count > 0) {
        return "--ready-queue stands alone";
    }
    return NULL;
}

static void put_option(struct json *json, const struct verb_options *options,
                       enum verb_option option, const char *member)
{
    if (options->values[option] != NULL) {
        json_member_text(json, member, slice_from_string(options->values[option]));
    }
}

/* What --set may name. */
static const char *const set_keys[] = {"tenant", "campaign", "class"};

/* The next KEY=VALUE of the text. Null: no such key. */
static const char *take_set(struct slice *text, struct slice *value_out)
{
    struct slice one = slice_first(*text, slice_find(*text, ','));
    size_t equals = slice_find(one, '=');
    *text = slice_skip(*text, MIN_OF(one.size + 1, text->size));
    for (size_t i = 0; i < COUNT_OF(set_keys) && equals < one.size; i++) {
        if (slice_equal(slice_first(one, equals), slice_from_string(set_keys[i]))) {
            *value_out = slice_skip(one, equals + 1);
            return set_keys[i];
        }
    }
    return NULL;
}

static bool is_object(struct slice text)
{
    size_t capacity = DATA_ARENA_BYTES + DATA_ARENA_FACTOR * text.size;
    struct json_reader *reader = json_reader_open();
    struct json_problem problem;
    struct arena arena;
    void *memory = malloc(capacity);
    CHECK(memory != NULL);
    arena_init(&arena, memory, capacity);
    const struct json_value *value = json_value_read(reader, text, &arena, &problem);
    bool object = value != NULL && value->kind == JSON_OBJECT;
    free(memory);
    json_reader_close(reader);
    return object;
}

const char *order_change_problem(const struct verb_options *options)
{
    struct slice value;
    const char *set = options->values[OPTION_SET];
    const char *data = options->values[OPTION_DATA];
    if ((set == NULL) == (data == NULL)) {
        return "say what is to be: --set or --data";
    }
    if (data != NULL) {
        return is_object(slice_from_string(data)) ? NULL : "--data takes an object as JSON";
    }
    struct slice text = slice_from_string(set);
    while (text.size > 0) {
        if (take_set(&text, &value) == NULL) {
            return "--set takes tenant=, campaign= and class=, with commas between them";
        }
    }
    return NULL;
}

static void put_set(struct json *json, struct slice text)
{
    json_key(json, "data");
    json_object(json);
    while (text.size > 0) {
        struct slice value;
        const char *key = take_set(&text, &value);
        json_member_text(json, key, value);
    }
    json_object_end(json);
}

void order_put(struct buf *buf, const struct verb_options *options, bool dry_run)
{
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        put_option(&json, options, rows[i].option, rows[i].member);
    }
    if (options->queue_count > 0) {
        json_key(&json, "queue_names");
        json_array(&json);
        for (unsigned i = 0; i < options->queue_count; i++) {
            json_string(&json, slice_from_string(options->queues[i]));
        }
        json_array_end(&json);
    }
    if (verb_options_given(options, OPTION_EVERYTHING)) {
        json_key(&json, "everything");
        json_bool(&json, true);
    }
    put_option(&json, options, OPTION_READY_QUEUE, "name");
    put_option(&json, options, OPTION_REASON, "reason");
    put_option(&json, options, OPTION_DURATION, "duration");
    if (verb_options_given(options, OPTION_SET)) {
        put_set(&json, slice_from_string(options->values[OPTION_SET]));
    }
    if (verb_options_given(options, OPTION_DATA)) {
        json_key(&json, "data");
        json_raw(&json, slice_from_string(options->values[OPTION_DATA]));
    }
    if (verb_options_given(options, OPTION_ALWAYS_FLUSH)) {
        json_key(&json, "always_flush");
        json_bool(&json, true);
    }
    if (dry_run) {
        json_key(&json, "dry_run");
        json_bool(&json, true);
    }
    json_object_end(&json);
}

/* The same names; the server keeps them in the order in which they came. */
static bool names_match(const struct verb_options *options, const struct json_value *names)
{
    if (answer_count(names) != options->queue_count) {
        return false;
    }
    for (unsigned i = 0; i < options->queue_count; i++) {
        const struct json_value *name = &names->elements[i];
        if (name->kind != JSON_STRING ||
            !slice_equal(json_value_text(name), slice_from_string(options->queues[i]))) {
            return false;
        }
    }
    return true;
}

bool order_matches(const struct verb_options *options, const struct json_value *entry)
{
    const char *ready = options->values[OPTION_READY_QUEUE];
    if (ready != NULL) {
        return slice_equal(answer_text(entry, "name"), slice_from_string(ready));
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *given = options->values[rows[i].option];
        struct slice wanted = given != NULL ? slice_from_string(given) : SLICE_NONE;
        if (!slice_equal_nocase(answer_text(entry, rows[i].member), wanted)) {
            return false;
        }
    }
    return names_match(options, answer_member(entry, "queue_names")) &&
           answer_bool(entry, "everything") == verb_options_given(options, OPTION_EVERYTHING);
}

static void put_pair(struct buf *buf, const char *word, struct slice text)
{
    if (text.size > 0) {
        buf_put(buf, buf->size > 0 ? SLICE(", ") : SLICE_NONE);
        buf_put_string(buf, word);
        buf_put_byte(buf, ' ');
        buf_put(buf, text);
    }
}

void order_put_criteria(struct buf *buf, const struct json_value *entry)
{
    const struct json_value *names = answer_member(entry, "queue_names");
    put_pair(buf, "ready queue", answer_text(entry, "name"));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        put_pair(buf, rows[i].word, answer_text(entry, rows[i].member));
    }
    for (uint32_t i = 0; i < answer_count(names); i++) {
        if (names->elements[i].kind == JSON_STRING) {
            put_pair(buf, "queue", json_value_text(&names->elements[i]));
        }
    }
    if (answer_bool(entry, "everything")) {
        buf_put_string(buf, "everything");
    }
}
