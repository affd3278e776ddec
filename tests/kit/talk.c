#include "tests/kit/talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

/* --- client ----------------------------------------------------------------------------------- */

static void client_event(struct sim_peer *peer, void *context)
{
    (void)peer;
    (void)context;
}

void talk_open(struct talk *talk, struct sim *sim, unsigned from, const struct endpoint *to)
{
    struct endpoint source = sim_endpoint(from, 0);
    *talk = (struct talk){.sim = sim};
    talk->peer = sim_peer_connect(sim, &source, to, client_event, talk);
}

void talk_say_bytes(struct talk *talk, struct slice bytes)
{
    sim_peer_send(talk->peer, bytes);
}

void talk_say(struct talk *talk, const char *text)
{
    talk_say_bytes(talk, slice_from_string(text));
}

static bool has_line(void *context)
{
    const struct talk *talk = context;
    struct slice input = sim_peer_input(talk->peer);
    enum sim_peer_state state = sim_peer_state(talk->peer);
    return slice_find(input, '\n') < input.size || state == SIM_PEER_EOF ||
           state == SIM_PEER_ENDED;
}

const char *talk_line_within(struct talk *talk, uint64_t limit_ns)
{
    (void)sim_run_until(talk->sim, has_line, talk, limit_ns);
    struct slice input = sim_peer_input(talk->peer);
    size_t end = slice_find(input, '\n');
    if (end == input.size) {
        return NULL;
    }
    size_t size = end > 0 && input.data[end - 1] == '\r' ? end - 1 : end;
    CHECK(size < sizeof(talk->line));
    memcpy(talk->line, input.data, size);
    talk->line[size] = '\0';
    sim_peer_consume(talk->peer, end + 1);
    return talk->line;
}

const char *talk_line(struct talk *talk)
{
    return talk_line_within(talk, 60 * NS_PER_S);
}

const char *talk_reply(struct talk *talk)
{
    const char *line = talk_line(talk);
    while (line != NULL && strlen(line) > 3 && line[3] == '-') {
        line = talk_line(talk);
    }
    return line == NULL ? "(nothing)" : line;
}

static bool has_ended(void *context)
{
    const struct talk *talk = context;
    enum sim_peer_state state = sim_peer_state(talk->peer);
    return state == SIM_PEER_EOF || state == SIM_PEER_ENDED;
}

bool talk_closed(struct talk *talk, uint64_t limit_ns)
{
    return sim_run_until(talk->sim, has_ended, talk, limit_ns) &&
           sim_peer_input(talk->peer).size == 0;
}

void talk_close(struct talk *talk)
{
    sim_peer_close(talk->peer);
}

/* --- sink ------------------------------------------------------------------------------------- */

struct talk_conn {
    struct talk_conn *next;
    struct talk_sink *sink;
    struct sim_peer *peer;
    bool in_content;
    uint8_t *bytes; /* owned: input not used yet */
    size_t size;
};

static bool starts(struct slice line, const char *word)
{
    struct slice wanted = slice_from_string(word);
    return line.size >= wanted.size && slice_equal_nocase(slice_first(line, wanted.size), wanted);
}

static void conn_take(struct talk_conn *conn, struct sim_peer *peer)
{
    struct slice input = sim_peer_input(peer);
    if (input.size > 0) {
        conn->bytes = realloc(conn->bytes, conn->size + input.size);
        CHECK(conn->bytes != NULL);
        memcpy(conn->bytes + conn->size, input.data, input.size);
        conn->size += input.size;
        sim_peer_consume(peer, input.size);
    }
}

static void conn_skip(struct talk_conn *conn, size_t count)
{
    conn->size -= count;
    memmove(conn->bytes, conn->bytes + count, conn->size);
}

/* The size of the content before its end mark; SIZE_MAX when it is not whole yet. */
static size_t content_size(const struct talk_conn *conn)
{
    if (starts(slice_make(conn->bytes, conn->size), ".\r\n")) {
        return 0;
    }
    const uint8_t *end = conn->size == 0 ? NULL : memmem(conn->bytes, conn->size, "\r\n.\r\n", 5);
    return end == NULL ? SIZE_MAX : (size_t)(end - conn->bytes) + 2;
}

static void keep_mail(struct talk_sink *sink, struct slice content)
{
    CHECK(sink->mails < SINK_MAILS_MAX);
    uint8_t *bytes = malloc(content.size + 1);
    size_t size = 0;
    CHECK(bytes != NULL);
    for (size_t i = 0; i < content.size; i++) {
        bool stuffed = content.data[i] == '.' && (i == 0 || content.data[i - 1] == '\n');
        if (!stuffed) {
            bytes[size++] = content.data[i];
        }
    }
    sink->mail[sink->mails].bytes = bytes;
    sink->mail[sink->mails].size = size;
    sink->mails++;
}

/* False when it has to wait for more. */
static bool conn_content(struct talk_conn *conn, struct sim_peer *peer)
{
    struct talk_sink *sink = conn->sink;
    size_t size = content_size(conn);
    if (size == SIZE_MAX) {
        return false;
    }
    if (sink->defer == NULL) {
        keep_mail(sink, slice_make(conn->bytes, size));
    }
    conn_skip(conn, size + 3);
    conn->in_content = false;
    if (sink->hold) {
        return true;
    }
    sim_peer_send(peer, slice_from_string(sink->defer != NULL ? sink->defer : "250 2.0.0 ok\r\n"));
    return true;
}

static bool conn_command(struct talk_conn *conn, struct sim_peer *peer)
{
    struct talk_sink *sink = conn->sink;
    struct slice line = slice_make(conn->bytes, conn->size);
    size_t end = slice_find(line, '\n');
    const char *reply = "250 ok\r\n";
    if (end == line.size) {
        return false;
    }
    line = slice_first(line, end);
    if (starts(line, "RCPT TO:<")) {
        CHECK(sink->mails < SINK_MAILS_MAX);
        struct slice rest = slice_skip(line, 9);
        snprintf(sink->mail[sink->mails].recipient, sizeof(sink->mail[0].recipient), "%.*s",
                 (int)slice_find(rest, '>'), (const char *)rest.data);
        if (sink->drops) {
            sim_peer_finish(peer);
            return false;
        }
    }
    conn->in_content = starts(line, "DATA");
    bool quit = starts(line, "QUIT");
    conn_skip(conn, end + 1);
    reply = conn->in_content ? "354 go on\r\n" : quit ? "221 2.0.0 bye\r\n" : reply;
    sim_peer_send(peer, slice_from_string(reply));
    if (quit) {
        sim_peer_finish(peer);
    }
    return true;
}

static void sink_event(struct sim_peer *peer, void *context)
{
    struct talk_sink *sink = context;
    struct talk_conn *conn = sim_peer_tag(peer);
    if (conn == NULL) {
        conn = calloc(1, sizeof(*conn));
        CHECK(conn != NULL);
        conn->sink = sink;
        conn->peer = peer;
        conn->next = sink->first;
        sink->first = conn;
        sink->conns++;
        sim_peer_tag_set(peer, conn);
        if (!sink->mute) {
            sim_peer_send(peer, SLICE("220 sink.test\r\n"));
        }
    }
    if (sink->mute) {
        return;
    }
    if (sink->deaf && conn->in_content) {
        return;
    }
    conn_take(conn, peer);
    sink->last = peer;
    while (conn->in_content ? conn_content(conn, peer) : conn_command(conn, peer)) {
    }
    if (sim_peer_state(peer) == SIM_PEER_EOF) {
        sim_peer_finish(peer);
    }
}

void talk_sink_open(struct talk_sink *sink, struct sim *sim, const struct endpoint *at)
{
    *sink = (struct talk_sink){.sim = sim};
    sink->listener = sim_peer_listen(sim, at, sink_event, sink);
}

void talk_sink_close(struct talk_sink *sink)
{
    sim_listener_close(sink->listener);
    for (unsigned i = 0; i < sink->mails; i++) {
        free(sink->mail[i].bytes);
    }
    while (sink->first != NULL) {
        struct talk_conn *conn = sink->first;
        sink->first = conn->next;
        free(conn->bytes);
        free(conn);
    }
}

void talk_sink_hear(struct talk_sink *sink)
{
    sink->deaf = false;
    for (struct talk_conn *conn = sink->first; conn != NULL; conn = conn->next) {
        sink_event(conn->peer, sink);
    }
}

struct wait {
    const struct talk_sink *sink;
    unsigned mails;
};

static bool has_mails(void *context)
{
    const struct wait *wait = context;
    return wait->sink->mails >= wait->mails;
}

bool talk_sink_wait(struct talk_sink *sink, unsigned mails, uint64_t limit_ns)
{
    struct wait wait = {sink, mails};
    return sim_run_until(sink->sim, has_mails, &wait, limit_ns);
}
