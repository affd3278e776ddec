#include "tools/top_json.h"

static const char *const rate_keys[TOP_RATES] = {"in", "out", "deferred", "bounced"};

static const char *const gauge_keys[TOP_GAUGES] = {
    [TOP_CLIENTS] = "clients",
    [TOP_SERVERS] = "servers",
    [TOP_SHARDS] = "shards",
    [TOP_MEMORY_USED] = "memory_used",
    [TOP_MEMORY_LIMIT] = "memory_limit",
    [TOP_QUEUED] = "queued",
    [TOP_READY] = "ready",
    [TOP_SPOOL_FREE] = "spool_free_percent",
};

static void put_thread(struct json *json, const struct top_thread *thread)
{
    json_object(json);
    json_key(json, "name");
    json_string(json, slice_from_string(thread->name));
    for (unsigned i = 0; i < TOP_RATES; i++) {
        json_key(json, rate_keys[i]);
        json_fixed(json, thread->rates[i], 1);
    }
    json_key(json, "clients");
    json_u64(json, thread->clients);
    json_key(json, "busy_percent");
    json_u64(json, thread->busy_percent);
    json_object_end(json);
}

void top_json_put(struct buf *buf, const struct top_model *model)
{
    struct json json;
    unsigned newest = model->history_count;
    json_init(&json, buf);
    json_object(&json);
    for (unsigned i = 0; i < TOP_RATES; i++) {
        json_key(&json, rate_keys[i]);
        if (newest > 0) {
            json_fixed(&json, model->history[i][newest - 1], 1);
        } else {
            json_null(&json);
        }
    }
    for (unsigned i = 0; i < TOP_GAUGES; i++) {
        json_key(&json, gauge_keys[i]);
        if (model->known[i]) {
            json_u64(&json, model->gauges[i]);
        } else {
            json_null(&json);
        }
    }
    json_key(&json, "threads");
    json_array(&json);
    for (unsigned i = 0; i < model->thread_count; i++) {
        put_thread(&json, &model->threads[i]);
    }
    json_array_end(&json);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}
