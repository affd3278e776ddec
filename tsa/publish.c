#include "tsa/publish.h"

#include <math.h>

#include "core/check.h"
#include "core/event.h"
#include "core/json.h"
#include "core/json_value.h"
#include "core/queue_name.h"

/* Behind it a double is an exact count of seconds no more; it is far beyond all clocks. */
#define SECONDS_MAX (UINT64_MAX / NS_PER_S)
#define CODE_MAX    999

void publish_init(struct publish *publish, struct heap *heap)
{
    publish->reader = json_reader_open();
    arena_init(&publish->arena, heap_take(heap, PUBLISH_VALUES_BYTES), PUBLISH_VALUES_BYTES);
}

void publish_fini(struct publish *publish)
{
    json_reader_close(publish->reader);
    publish->reader = NULL;
}

/* --- members ---------------------------------------------------------------------------------- */

/* One record on its way; the first fault stays. */
struct reading {
    struct publish *publish;
    const struct json_value *root;
    struct automation_record *record;
    const char *fault;
};

static void refuse(struct reading *reading, const char *fault)
{
    if (reading->fault == NULL) {
        reading->fault = fault;
    }
}

/* Null: it is not there, or null. */
static const struct json_value *member(const struct json_value *object, struct slice key)
{
    const struct json_value *value = json_value_member(object, key);
    return value == NULL || value->kind == JSON_NULL ? NULL : value;
}

/* Empty when it is not there. */
static struct slice take_text(struct reading *reading, struct slice key, const char *fault)
{
    const struct json_value *value = member(reading->root, key);
    if (value != NULL && value->kind != JSON_STRING) {
        refuse(reading, fault);
        return SLICE_NONE;
    }
    return value == NULL ? SLICE_NONE : json_value_text(value);
}

static const struct {
    const char *name;
    bool counts;
    bool is_report; /* of mail that anybody may send: it would be theirs to hold queues back */
} types[] = {
    {"Delivery", true, false},
    {"Bounce", true, false},
    {"TransientFailure", true, false},
    {"Expiration", true, false},
    {"AdminBounce", true, false},
    {"OOB", true, true},
    {"Feedback", false, true}, /* and it has no reply */
    {"Reception", false, false},
    {"Rejection", false, false},
    {"AdminRebind", false, false},
    {"DeferredInjectionRebind", false, false},
    {"Delayed", false, false},
    {"XferIn", false, false},
    {"XferOut", false, false},
};

/* COUNT_OF(types): it is none. */
static size_t type_find(struct slice type)
{
    size_t i = 0;
    while (i < COUNT_OF(types) && !slice_equal(type, slice_from_string(types[i].name))) {
        i++;
    }
    return i;
}

bool publish_type_counts(struct slice type)
{
    size_t found = type_find(type);
    return found < COUNT_OF(types) && types[found].counts;
}

/* Of a report: false, when nothing shows that it is about mail of ours. */
static bool take_reference(struct reading *reading)
{
    struct automation_record *record = reading->record;
    const struct json_value *reference = member(reading->root, SLICE("reference"));
    if (reference == NULL || reference->kind != JSON_OBJECT) {
        return false;
    }
    const struct json_value *state = member(reference, SLICE("state"));
    const struct json_value *id = member(reference, SLICE("id"));
    record->has_reference = state != NULL && state->kind == JSON_STRING &&
                            slice_equal(json_value_text(state), SLICE("valid")) && id != NULL &&
                            id->kind == JSON_STRING &&
                            id_parse(json_value_text(id), &record->reference);
    return record->has_reference;
}

/* True: it counts. */
static bool take_type(struct reading *reading)
{
    const struct json_value *type = member(reading->root, SLICE("type"));
    if (type == NULL || type->kind != JSON_STRING) {
        refuse(reading, "type is missing, or no text");
        return false;
    }
    size_t found = type_find(json_value_text(type));
    if (found == COUNT_OF(types)) {
        refuse(reading, "type is none of the log's");
        return false;
    }
    return types[found].counts && (!types[found].is_report || take_reference(reading));
}

/* What lies behind the end of 64 bits is as good as never: the engine takes it for now. */
static uint64_t whole_ns(int64_t count, uint64_t unit_ns)
{
    return (uint64_t)count > UINT64_MAX / unit_ns ? UINT64_MAX : (uint64_t)count * unit_ns;
}

static bool take_time(struct reading *reading)
{
    uint64_t *wall_ns = &reading->record->wall_ns;
    const struct json_value *value = member(reading->root, SLICE("timestamp_ms"));
    if (value != NULL && value->kind == JSON_INTEGER && value->integer >= 0) {
        *wall_ns = whole_ns(value->integer, NS_PER_MS);
        return true;
    }
    value = member(reading->root, SLICE("timestamp"));
    if (value != NULL && value->kind == JSON_INTEGER && value->integer >= 0) {
        *wall_ns = whole_ns(value->integer, NS_PER_S);
        return true;
    }
    if (value == NULL || value->kind != JSON_DOUBLE || value->number < 0) {
        refuse(reading, "timestamp is missing, or no seconds since 1970");
        return false;
    }
    double whole = floor(value->number);
    if (whole >= (double)SECONDS_MAX) {
        *wall_ns = UINT64_MAX;
    } else {
        *wall_ns = (uint64_t)whole * NS_PER_S +
                   (uint64_t)((value->number - whole) * (double)NS_PER_S);
    }
    return true;
}

/* A number of a code; false: it is not there, or none. */
static bool take_code(const struct json_value *object, struct slice key, uint64_t *code_out)
{
    const struct json_value *value = member(object, key);
    if (value == NULL || value->kind != JSON_INTEGER || value->integer < 0 ||
        value->integer > CODE_MAX) {
        return false;
    }
    *code_out = (uint64_t)value->integer;
    return true;
}

/* Numbers of up to three digits, which is more than we give ourselves: "5.7.509" is well known. */
static void put_enhanced(struct reading *reading, const struct json_value *response,
                         struct buf *line)
{
    uint64_t numbers[3];
    const struct json_value *enhanced = member(response, SLICE("enhanced_code"));
    if (enhanced == NULL) {
        return;
    }
    if (!take_code(enhanced, SLICE("class"), &numbers[0]) ||
        !take_code(enhanced, SLICE("subject"), &numbers[1]) ||
        !take_code(enhanced, SLICE("detail"), &numbers[2])) {
        refuse(reading, "response.enhanced_code is no class, subject and detail");
        return;
    }
    for (unsigned i = 0; i < COUNT_OF(numbers); i++) {
        buf_put_byte(line, i == 0 ? ' ' : '.');
        buf_put_u64(line, numbers[i]);
    }
}

static void take_response(struct reading *reading)
{
    uint64_t code;
    struct buf line;
    struct publish *publish = reading->publish;
    const struct json_value *response = member(reading->root, SLICE("response"));
    if (response == NULL || response->kind != JSON_OBJECT) {
        refuse(reading, "response is missing, or no object");
        return;
    }
    const struct json_value *content = member(response, SLICE("content"));
    if (!take_code(response, SLICE("code"), &code)) {
        refuse(reading, "response.code is missing, or no reply code");
        return;
    }
    if (content != NULL && content->kind != JSON_STRING) {
        refuse(reading, "response.content is no text");
        return;
    }
    buf_init(&line, publish->response, sizeof(publish->response));
    buf_put_u64(&line, code);
    put_enhanced(reading, response, &line);
    buf_put_byte(&line, ' ');
    event_put_line(&line, content == NULL ? SLICE_NONE : json_value_text(content));
    reading->record->response = buf_slice(&line);
}

static void take_recipient(struct reading *reading)
{
    struct publish *publish = reading->publish;
    const struct json_value *value = member(reading->root, SLICE("recipient"));
    if (value != NULL && value->kind == JSON_ARRAY) {
        value = value->size > 0 ? &value->elements[0] : NULL;
    }
    if (value == NULL || value->kind != JSON_STRING) {
        refuse(reading, "recipient is missing, or no text");
        return;
    }
    struct slice domain = address_domain(json_value_text(value));
    if (slice_ends_with(domain, SLICE("."))) {
        domain = slice_first(domain, domain.size - 1);
    }
    if (domain.size > sizeof(publish->domain)) {
        refuse(reading, "recipient has a domain that is too long");
        return;
    }
    for (size_t i = 0; i < domain.size; i++) {
        publish->domain[i] = ascii_lower(domain.data[i]);
    }
    reading->record->domain = slice_make(publish->domain, domain.size);
}

static void take_place(struct reading *reading)
{
    struct automation_record *record = reading->record;
    struct conf_queue_key key =
        queue_name_parse(take_text(reading, SLICE("queue"), "queue is no text"));
    record->tenant = key.tenant;
    record->campaign = key.campaign;
    record->site = take_text(reading, SLICE("site"), "site is no text");
    record->source =
        take_text(reading, SLICE("egress_source"), "egress_source is neither a text nor null");
    if (record->source.size == 0) {
        record->source = SLICE(CONF_UNSPECIFIED);
    }
}

enum publish_result publish_read(struct publish *publish, struct slice text,
                                 struct automation_record *record_out, const char **fault_out)
{
    struct json_problem problem;
    struct reading reading = {.publish = publish, .record = record_out};
    *record_out = (struct automation_record){0};
    *fault_out = NULL;
    if (text.size > PUBLISH_RECORD_BYTES_MAX) {
        *fault_out = "the record is too long";
        return PUBLISH_BAD;
    }
    arena_rewind(&publish->arena, 0);
    reading.root = json_value_read(publish->reader, text, &publish->arena, &problem);
    if (reading.root == NULL) {
        *fault_out = json_fault_text(problem.fault);
        return PUBLISH_BAD;
    }
    bool counts = take_type(&reading) && take_time(&reading);
    if (reading.fault == NULL && !counts) {
        return PUBLISH_SKIPPED;
    }
    if (counts) {
        take_response(&reading);
        take_recipient(&reading);
        take_place(&reading);
    }
    *fault_out = reading.fault;
    return reading.fault == NULL ? PUBLISH_TAKEN : PUBLISH_BAD;
}

/* --- batches ---------------------------------------------------------------------------------- */

void publish_batch_begin(struct publish_batch *batch, struct slice text)
{
    *batch = (struct publish_batch){.left = text};
}

static void reject(struct publish_batch *batch, const char *fault)
{
    batch->rejected++;
    if (batch->told < PUBLISH_REJECTED_MAX) {
        batch->lines[batch->told] = batch->line;
        batch->faults[batch->told++] = fault;
    }
}

/* Nothing but what JSON has for a space. */
static bool is_blank(struct slice line)
{
    struct slice rest = slice_trim(line);
    return rest.size == 0 || (rest.size == 1 && rest.data[0] == '\r');
}

static void read_line(struct publish_batch *batch, struct publish *publish, struct slice line,
                      publish_take *take, void *context)
{
    struct automation_record record;
    const char *fault;
    switch (publish_read(publish, line, &record, &fault)) {
    case PUBLISH_TAKEN:
        batch->accepted++;
        take(context, &record);
        return;
    case PUBLISH_SKIPPED:
        batch->accepted++;
        return;
    case PUBLISH_BAD:
        reject(batch, fault);
        return;
    }
    CHECK(false);
}

bool publish_batch_step(struct publish_batch *batch, struct publish *publish, uint32_t records,
                        publish_take *take, void *context)
{
    for (uint32_t i = 0; i < records && batch->left.size > 0; i++) {
        size_t size = slice_find(batch->left, '\n');
        struct slice line = slice_first(batch->left, size);
        batch->left = slice_skip(batch->left, MIN_OF(size + 1, batch->left.size));
        batch->line++;
        if (!is_blank(line)) {
            read_line(batch, publish, line, take, context);
        }
    }
    return batch->left.size > 0;
}

void publish_batch_put_json(const struct publish_batch *batch, struct buf *buf)
{
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    json_key(&json, "accepted");
    json_u64(&json, batch->accepted);
    json_key(&json, "rejected");
    json_array(&json);
    for (uint32_t i = 0; i < batch->told; i++) {
        json_object(&json);
        json_key(&json, "line");
        json_u64(&json, batch->lines[i]);
        json_key(&json, "error");
        json_string(&json, slice_from_string(batch->faults[i]));
        json_object_end(&json);
    }
    json_array_end(&json);
    if (batch->rejected > batch->told) {
        json_key(&json, "rejected_count");
        json_u64(&json, batch->rejected);
    }
    json_object_end(&json);
}
