#include "tools/top_feed.h"

#include <stdio.h>
#include <stdlib.h>

#include "tools/clock.h"

#define ROUND_NS  NS_PER_S
#define WAIT_MS   250 /* at most, so that ages on the screen go on */
#define NEWS_BYTES 200u

void top_feed_init(struct top_feed *feed, struct endpoint_client *client, struct top_model *model)
{
    *feed = (struct top_feed){.client = client, .model = model, .reader = json_reader_open()};
}

void top_feed_fini(struct top_feed *feed)
{
    json_reader_close(feed->reader);
    free(feed->memory[0]);
    free(feed->memory[1]);
    *feed = (struct top_feed){0};
}

void top_feed_hurry(struct top_feed *feed)
{
    feed->next_ns = 0;
}

static void end_round(struct top_feed *feed)
{
    feed->step = TOP_FEED_WAIT;
    feed->rounds++;
}

static void ask_queues(struct top_feed *feed)
{
    char path[96];
    feed->step = TOP_FEED_QUEUES;
    feed->asked_ready = feed->model->ready;
    snprintf(path, sizeof(path), "/api/admin/queues/v1?kind=%s&limit=%u",
             feed->asked_ready ? "ready" : "scheduled", QUEUE_ROWS_MAX);
    endpoint_client_start(feed->client, "GET", path, NULL);
}

static void lose(struct top_feed *feed, const char *why)
{
    top_model_lost(feed->model, why, clock_steady_ns());
    end_round(feed);
}

/* Null, and a line that says why: it is no good answer. */
static const struct json_value *take_answer(struct top_feed *feed, void **memory,
                                            char why[NEWS_BYTES])
{
    struct slice answer = endpoint_client_answer(feed->client);
    unsigned status = endpoint_client_status(feed->client);
    if (status != 200) {
        answer = slice_first(answer, MIN_OF(slice_find(answer, '\n'), (size_t)100));
        snprintf(why, NEWS_BYTES, "%u %.*s", status, (int)answer.size,
                 answer.size > 0 ? (const char *)answer.data : "");
        return NULL;
    }
    snprintf(why, NEWS_BYTES, "what answers does not send JSON");
    return dialogue_parse(feed->reader, answer, memory);
}

static void take_metrics(struct top_feed *feed)
{
    char why[NEWS_BYTES];
    const struct json_value *answer = take_answer(feed, &feed->memory[0], why);
    if (answer == NULL) {
        lose(feed, why);
        return;
    }
    top_model_take_metrics(feed->model, answer, clock_steady_ns());
    ask_queues(feed);
}

static void take_queues(struct top_feed *feed)
{
    void *memory = NULL; /* a new one: the last listing is still shown */
    char why[NEWS_BYTES];
    const struct json_value *answer = take_answer(feed, &memory, why);
    if (answer != NULL) {
        top_model_take_queues(feed->model, answer);
        free(feed->memory[1]);
        feed->memory[1] = memory;
    } else {
        top_model_no_queues(feed->model, why);
        free(memory);
    }
    end_round(feed);
}

void top_feed_turn(struct top_feed *feed, int fd)
{
    uint64_t now_ns = clock_steady_ns();
    if (feed->step == TOP_FEED_WAIT && now_ns >= feed->next_ns) {
        feed->next_ns = now_ns + ROUND_NS;
        feed->step = TOP_FEED_METRICS;
        endpoint_client_start(feed->client, "GET", "/metrics.json", NULL);
    }
    int wait_ms = WAIT_MS;
    if (feed->step == TOP_FEED_WAIT) {
        wait_ms = (int)MIN_OF((feed->next_ns - now_ns) / NS_PER_MS + 1, (uint64_t)WAIT_MS);
    }
    enum endpoint_state state = endpoint_client_turn(feed->client, wait_ms, fd);
    if (feed->step == TOP_FEED_WAIT || state == ENDPOINT_PENDING) {
        return;
    }
    if (state == ENDPOINT_FAILED) {
        lose(feed, endpoint_client_reason(feed->client));
    } else if (feed->step == TOP_FEED_METRICS) {
        take_metrics(feed);
    } else {
        take_queues(feed);
    }
}
