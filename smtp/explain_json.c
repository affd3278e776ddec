#include "smtp/explain.h"

#include "core/conf_origin.h"
#include "core/date.h"
#include "core/json_member.h"
#include "smtp/queue_of.h"

static void put_text(struct json *json, const char *key, const struct explain_text *text)
{
    json_member_text(json, key, slice_make(text->text, text->bytes));
}

/* Of what is in force and long, so much is shown. */
#define OPTION_TEXT_BYTES 256u

static void put_cut(struct json *json, const char *key, struct slice text)
{
    json_member_text(json, key, slice_first(text, MIN_OF(text.size, OPTION_TEXT_BYTES)));
}

static struct slice text_of(const struct explain_text *text)
{
    return slice_make(text->text, text->bytes);
}

/* Whose options are asked for: a scheduled queue, by its name. */
static struct conf_queue_key queue_key(const struct explain_found *found)
{
    return found->ready ? (struct conf_queue_key){0} : queue_name_parse(text_of(&found->name));
}

/* By what it is told. */
struct telling {
    const struct conf *conf;
    const struct shaping_path *path; /* null: it has none, or that is in force no more */
};

/* False: it has none, or that is in force no more. */
static bool path_find(const struct explain_found *found, const struct shaping_view *view,
                      struct shaping_path *path_out)
{
    if (found->shaped) {
        if (found->view_digest == shaping_view_digest(view)) {
            shaping_lay(view, &found->selection, text_of(&found->source), path_out);
            return true;
        }
        return false;
    }
    if (!found->ready) {
        const struct shaping_query query = {.domain = queue_key(found).domain};
        (void)shaping_path_find(view, &query, path_out);
    }
    return !found->ready;
}

/* --- limits ----------------------------------------------------------------------------------- */

static struct slice setting_origin(const struct conf_setting *setting)
{
    return setting != NULL ? setting->origin : SLICE(CONF_ORIGIN_DEFAULT);
}

static struct slice limit_origin(const struct explain_limit *limit,
                                 const struct explain_found *found, const struct telling *telling)
{
    struct slice name = text_of(&limit->name);
    struct slice kind = slice_from_string(limit->kind);
    if (limit->of_queue && slice_equal(kind, SLICE("overall_max_message_rate"))) {
        const struct conf_queue_key key = queue_key(found);
        return setting_origin(conf_overall_setting(telling->conf, &key, name));
    }
    if (limit->of_queue) {
        const struct conf_queue_key key = queue_name_parse(name);
        return setting_origin(conf_queue_setting(telling->conf, &key, limit->kind));
    }
    bool additional = slice_starts_with(kind, SLICE("additional_"));
    const struct shaping_said *said =
        telling->path == NULL ? NULL
                              : shaping_path_said(telling->path, limit->kind,
                                                  additional ? name : SLICE_NONE);
    return said != NULL ? said->origin : SLICE(CONF_ORIGIN_DEFAULT);
}

static void put_limit(struct json *json, const struct explain_limit *limit, struct slice origin)
{
    struct slice text = slice_make(limit->limit, limit->limit_bytes);
    uint64_t count = 0;
    json_object(json);
    put_text(json, "name", &limit->name);
    json_member_word(json, "kind", limit->kind);
    json_key(json, "limit");
    if (!limit->rate && slice_parse_u64(text, &count)) {
        json_u64(json, count);
    } else {
        json_string(json, text);
    }
    json_member_u64(json, "used", limit->used);
    json_member_u64(json, "retry_in_ms", limit->retry_in_ms);
    put_cut(json, "origin", origin);
    json_object_end(json);
}

/* --- options ---------------------------------------------------------------------------------- */

static void put_option(void *context, const char *name, struct slice value, struct slice origin)
{
    struct json *json = context;
    json_key(json, name);
    json_object(json);
    put_cut(json, "value", value);
    put_cut(json, "origin", origin);
    json_object_end(json);
}

static void put_options(struct json *json, const struct explain_found *found,
                        const struct telling *telling)
{
    const struct conf_queue_key key = queue_key(found);
    json_key(json, "options");
    json_object(json);
    if (!found->ready) {
        conf_queue_visit(telling->conf, &key, put_option, json);
    }
    if (telling->path != NULL) {
        conf_path_visit(telling->path, put_option, json);
    }
    json_object_end(json);
}

/* --- the answer ------------------------------------------------------------------------------- */

static void put_detail(struct json *json, const struct explain_found *found)
{
    uint8_t memory[96];
    struct buf text;
    if (found->detail.bytes > 0 || found->scheduled == 0) {
        put_text(json, "detail", &found->detail);
        return;
    }
    buf_init(&text, memory, sizeof(memory));
    if (found->recipients > 1) {
        buf_put_u64(&text, found->scheduled);
        buf_put(&text, SLICE(" recipients "));
    }
    buf_put(&text, SLICE("scheduled until "));
    date_put_rfc3339(&text, found->scheduled_s * NS_PER_S);
    json_member_text(json, "detail", buf_slice(&text));
}

static void put_hold(struct json *json, const struct explain_found *found)
{
    json_member_word(json, "state", hold_state_name(found->reason));
    json_member_word(json, "reason", hold_name(found->reason));
    json_member_time(json, "since", found->since_ns);
    json_member_time(json, "until", found->until_ns);
    put_detail(json, found);
    put_text(json, "queue", &found->name);
    put_text(json, "site", &found->site);
    json_member_time(json, "next_attempt", found->next_due_s * NS_PER_S);
    json_member_u64(json, "attempts", found->attempts);
    put_text(json, "last_response", &found->response);
    json_key(json, "time_by_reason_ms");
    json_object(json);
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        if (found->times_ms[i] > 0) {
            json_member_u64(json, hold_name((enum hold_reason)i), found->times_ms[i]);
        }
    }
    json_object_end(json);
}

static const char *kind_of(const struct explain_request *request,
                           const struct explain_found *found)
{
    return request->what == EXPLAIN_ID       ? "recipient"
           : request->what == EXPLAIN_DOMAIN ? "domain"
           : found->ready                    ? "ready"
                                             : "scheduled";
}

void explain_put_json(struct explain_request *request, const struct explain_found *found,
                      const struct conf *conf, const struct shaping_view *view)
{
    struct shaping_path path;
    const struct telling telling = {conf, path_find(found, view, &path) ? &path : NULL};
    struct json json;
    json_init(&json, &request->answer);
    json_object(&json);
    json_member_word(&json, "kind", kind_of(request, found));
    if (request->what == EXPLAIN_ID) {
        json_member_id(&json, "name", &request->id);
    } else {
        json_key(&json, "name");
        json_string(&json, request->name);
    }
    json_member_u64(&json, "queues", found->queues);
    json_member_u64(&json, "count", found->recipients);
    json_member_u64(&json, "due", found->due);
    put_hold(&json, found);
    json_key(&json, "limits");
    json_array(&json);
    for (unsigned i = 0; i < found->limit_count; i++) {
        put_limit(&json, &found->limits[i], limit_origin(&found->limits[i], found, &telling));
    }
    json_array_end(&json);
    put_options(&json, found, &telling);
    json_object_end(&json);
}

/* --- what is shown ---------------------------------------------------------------------------- */

#define TAIL_BYTES 8192u /* what comes behind the objects, at most */

static_assert(INSPECT_BYTES_MAX - INSPECT_TEXT_BYTES >=
                  TAIL_BYTES + JSON_STRING_GROWTH * QUEUE_NAME_BYTES_MAX,
              "what one shard shows has room");

static struct slice shown_at(const struct inspection *inspection, uint32_t i)
{
    uint32_t start = i > 0 ? inspection->ends[i - 1] : 0;
    return slice_make(inspection->text.data + start, inspection->ends[i] - start);
}

/* The objects of all parts, as many as there may be. True: there are more. */
static bool put_objects(const struct explain *explain, struct explain_request *request)
{
    struct buf *answer = &request->answer;
    uint32_t count = 0;
    bool cut_short = false;
    for (unsigned p = 0; p < explain->shards; p++) {
        const struct inspection *inspection = &explain->parts[p].inspection;
        cut_short = cut_short || inspection->cut_short;
        for (uint32_t i = 0; i < inspection->shown; i++, count++) {
            struct slice object = shown_at(inspection, i);
            if (count == request->limit || buf_room(answer) < object.size + 1 + TAIL_BYTES) {
                return true;
            }
            if (count > 0) {
                buf_put_byte(answer, ',');
            }
            buf_put(answer, object);
        }
    }
    return cut_short;
}

/* False: no part has it. */
static bool put_one(const struct explain *explain, struct buf *answer)
{
    for (unsigned p = 0; p < explain->shards; p++) {
        const struct inspection *inspection = &explain->parts[p].inspection;
        if (inspection->shown > 0) {
            buf_put(answer, shown_at(inspection, 0));
            return true;
        }
    }
    return false;
}

bool explain_put_shown(struct explain *explain, struct explain_request *request,
                       const struct explain_found *sum)
{
    struct json json;
    bool ready = request->what == INSPECT_READY;
    if (request->what == INSPECT_MESSAGE) {
        return put_one(explain, &request->answer);
    }
    json_init(&json, &request->answer);
    json_object(&json);
    json_key(&json, "queue_name");
    json_string(&json, request->name);
    json_key(&json, ready ? "connections" : "messages");
    json_array(&json);
    bool cut_short = put_objects(explain, request);
    json_array_end(&json);
    json_key(&json, "cut_short");
    json_bool(&json, cut_short);
    json_member_u64(&json, ready ? "num_ready" : "num_scheduled", sum->recipients);
    json_member_word(&json, "state", hold_state_name(sum->reason));
    json_member_word(&json, "reason", hold_name(sum->reason));
    json_member_time(&json, "now", explain->shard->wall_ns);
    json_object_end(&json);
    return true;
}
