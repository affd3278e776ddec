#include "tests/kit/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

void stage_open(struct stage *stage, uint64_t seed)
{
    struct endpoint sink = sim_endpoint(STAGE_SINK, 25);
    *stage = (struct stage){.sim = sim_open(&(struct sim_options){.seed = seed})};
    stage->server = sim_endpoint(1, 25);
    world_init(&stage->world, stage->sim);
    world_set(&stage->world,
              "queues.queue.\"t.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    world_set(&stage->world, "smtp_listener.0.relay_hosts=[\"10.0.0.0/24\"]");
    world_set(&stage->world, "smtp_listener.0.trace_headers={received_header=false}");
    talk_sink_open(&stage->sink, stage->sim, &sink);
}

void stage_start(struct stage *stage)
{
    world_open(&stage->world);
    if (!world_start(&stage->world)) {
        fprintf(stderr, "%s\n", sim_failure(stage->sim));
    }
}

bool stage_close(struct stage *stage)
{
    if (stage->world.running && !sim_failed(stage->sim)) {
        world_stop(&stage->world, 1);
    }
    bool failed = sim_failed(stage->sim);
    if (failed) {
        fprintf(stderr, "%s\n", sim_failure(stage->sim));
    }
    talk_sink_close(&stage->sink);
    world_close(&stage->world);
    sim_close(stage->sim);
    return !failed;
}

bool stage_hears(struct talk *talk, const char *start)
{
    const char *heard = talk_reply(talk);
    if (strncmp(heard, start, strlen(start)) == 0) {
        return true;
    }
    sim_fail(talk->sim, "expected %s, heard %s", start, heard);
    return false;
}

bool stage_begin(struct stage *stage, struct talk *talk, unsigned host)
{
    talk_open(talk, stage->sim, host, &stage->server);
    if (!stage_hears(talk, "220 ")) {
        return false;
    }
    talk_say(talk, "EHLO c.test\r\n");
    return stage_hears(talk, "250 ");
}

bool stage_envelope(struct talk *talk, const char *recipient)
{
    talk_say(talk, "MAIL FROM:<a@c.test>\r\nRCPT TO:<");
    talk_say(talk, recipient);
    talk_say(talk, ">\r\nDATA\r\n");
    return stage_hears(talk, "250 ") && stage_hears(talk, "250 ") && stage_hears(talk, "354 ");
}

bool stage_mail(struct stage *stage, const char *recipient, const char *body)
{
    struct talk talk;
    bool taken = stage_begin(stage, &talk, STAGE_CLIENT) && stage_envelope(&talk, recipient);
    if (taken) {
        talk_say(&talk, body);
        talk_say(&talk, ".\r\n");
        taken = stage_hears(&talk, "250 2.0.0 OK ids=");
    }
    talk_close(&talk);
    return taken;
}

void stage_rows_put(struct stage *stage, unsigned shard, const char *name, unsigned count)
{
    struct queues *queues = &stage->world.node.mtas[shard].queues;
    uint32_t number = queues_name(queues, slice_from_string(name));
    CHECK(number != QUEUE_NONE);
    for (unsigned i = 0; i < count; i++) {
        uint32_t handle = queues_row_new(queues, number);
        CHECK(handle != ROW_NONE);
        row_at(&queues->rows, handle)->due_s =
            (uint32_t)(queues_now_ns(queues) / NS_PER_S) + 3600;
        queues_row_wait(queues, handle);
    }
}

void stage_rows_drop(struct stage *stage)
{
    for (unsigned i = 0; i < stage->world.shards; i++) {
        struct queues *queues = &stage->world.node.mtas[i].queues;
        for (uint32_t handle = 0; handle < queues->rows.fresh; handle++) {
            if (row_at(&queues->rows, handle)->state == ROW_WAITING) {
                queues_row_hold(queues, handle);
                queues_row_done(queues, handle);
            }
        }
    }
}

bool stage_expect(struct stage *stage, unsigned index, const char *body)
{
    const struct talk_sink *sink = &stage->sink;
    if (!talk_sink_wait(&stage->sink, index + 1, 600 * NS_PER_S)) {
        sim_fail(stage->sim, "mail %u does not come", index);
        return false;
    }
    if (sink->mail[index].size != strlen(body) ||
        memcmp(sink->mail[index].bytes, body, strlen(body)) != 0) {
        sim_fail(stage->sim, "mail %u is another: %zu bytes", index, sink->mail[index].size);
        return false;
    }
    return true;
}

unsigned stage_told(struct stage *stage, const char *text)
{
    CHECK(sim_run_for(stage->sim, 5 * NS_PER_S));
    char *log = world_log(&stage->world);
    unsigned count = 0;
    for (const char *at = strstr(log, text); at != NULL; at = strstr(at + 1, text)) {
        count++;
    }
    free(log);
    return count;
}

char *stage_body(size_t size)
{
    char *text = malloc(size + 128);
    CHECK(text != NULL);
    size_t at = (size_t)snprintf(text, 64, "Subject: large\r\n\r\n");
    for (unsigned line = 0; at < size; line++) {
        at += (size_t)snprintf(text + at, 64, "line %06u of a body that is large\r\n", line);
    }
    return text;
}
