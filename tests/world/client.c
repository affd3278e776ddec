/* Scripted clients: hand in their share of the messages, count replies, never try one twice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/world/world.h"

#define PATIENCE_NS (45 * NS_PER_S)

enum mode { MODE_PLAIN, MODE_PIPELINED, MODE_BDAT, MODES_COUNT };

/* What a reply to come answers. */
enum expected {
    EXPECT_BANNER,
    EXPECT_HELLO,
    EXPECT_MAIL,
    EXPECT_RCPT,
    EXPECT_DATA,
    EXPECT_CHUNK,
    EXPECT_END,
    EXPECT_QUIT,
};

static void client_next(void *context);

static struct world_message *message_of(const struct world_client *client)
{
    return &client->world->messages[client->number];
}

/* --- ends ------------------------------------------------------------------------------------- */

/* The connection is over; the message on it stays as far as it came. */
void world_client_gone(struct world_client *client)
{
    struct sim *sim = client->world->sim;
    if (client->talking && message_of(client)->keyed && message_of(client)->fate == FATE_SENT) {
        client->next = client->number; /* it asks again */
    }
    sim_peer_close(client->peer);
    client->peer = NULL;
    client->talking = false;
    client->quitting = false;
    client->expected_count = 0;
    client->progress_ns = UINT64_MAX;
    client->done = client->next == client->end;
    if (!client->done) {
        uint64_t rest_ns = NS_PER_MS + sim_below(sim, sim_chance(sim, 300) ? NS_PER_S
                                                                           : 20 * NS_PER_MS);
        sim_after(sim, rest_ns, world_client_start, client);
    }
}

void world_client_cut(struct world_client *client)
{
    if (client->peer != NULL) {
        world_client_gone(client);
    }
}

void world_client_watch(struct world_client *client)
{
    if (client->peer != NULL && client->progress_ns != UINT64_MAX &&
        client->progress_ns + PATIENCE_NS < sim_now_ns(client->world->sim)) {
        sim_peer_reset(client->peer);
        world_client_gone(client);
    }
}

/* --- saying ----------------------------------------------------------------------------------- */

static void expect(struct world_client *client, enum expected what)
{
    CHECK(client->expected_count < sizeof(client->expected));
    client->expected[client->expected_count++] = (uint8_t)what;
}

static void say(struct world_client *client, enum expected answer, const char *line)
{
    sim_peer_send(client->peer, slice_from_string(line));
    expect(client, answer);
    client->progress_ns = sim_now_ns(client->world->sim);
}

static void say_mail(struct world_client *client)
{
    char line[128];
    snprintf(line, sizeof(line), "MAIL FROM:<m%u@client.test>\r\n", client->number);
    say(client, EXPECT_MAIL, line);
}

static void say_rcpt(struct world_client *client, unsigned i)
{
    char line[128];
    snprintf(line, sizeof(line), "RCPT TO:<r%u.%u@d%u.test>%s\r\n", i, client->number,
             message_of(client)->recipients[i].domain,
             client->world->notifies ? world_notify_word(client->number, i) : "");
    say(client, EXPECT_RCPT, line);
}

/* The content with its dots doubled and its end; or, when the client leaves, a part of it. */
static void say_content(struct world_client *client, bool leave)
{
    struct world_message *message = message_of(client);
    uint8_t *body = world_body(client->world, client->number);
    uint8_t *out = malloc(2u * message->body_bytes + 3);
    size_t size = 0;
    CHECK(out != NULL);
    for (uint32_t i = 0; i < message->body_bytes; i++) {
        if (body[i] == '.' && (i == 0 || body[i - 1] == '\n')) {
            out[size++] = '.';
        }
        out[size++] = body[i];
    }
    memcpy(out + size, ".\r\n", 3);
    size += 3;
    if (leave) {
        size = (size_t)sim_below(client->world->sim, size - 1);
    } else {
        message->fate = FATE_SENT;
        expect(client, EXPECT_END);
    }
    sim_peer_send(client->peer, slice_make(out, size));
    free(out);
    free(body);
    client->progress_ns = sim_now_ns(client->world->sim);
}

static void say_chunks(struct world_client *client, bool leave)
{
    struct sim *sim = client->world->sim;
    struct world_message *message = message_of(client);
    uint8_t *body = world_body(client->world, client->number);
    unsigned chunks = 1 + (unsigned)sim_below(sim, 3);
    uint32_t at = 0;
    for (unsigned i = 0; i < chunks; i++) {
        bool last = i + 1 == chunks;
        char line[64];
        uint32_t size = message->body_bytes - at;
        size = last ? size : (uint32_t)sim_below(sim, size + 1);
        snprintf(line, sizeof(line), "BDAT %u%s\r\n", size, last ? " LAST" : "");
        if (last && leave) {
            sim_peer_send(client->peer, slice_make(line, sim_below(sim, strlen(line))));
            break;
        }
        if (last) {
            message->fate = FATE_SENT;
        }
        say(client, last ? EXPECT_END : EXPECT_CHUNK, line);
        sim_peer_send(client->peer, slice_make(body + at, size));
        at += size;
    }
    free(body);
}

/* --- a message -------------------------------------------------------------------------------- */

static bool leaves(const struct world_client *client)
{
    return sim_chance(client->world->sim, client->world->aborts);
}

static void leave(struct world_client *client)
{
    if (sim_chance(client->world->sim, 500)) {
        sim_peer_reset(client->peer);
    }
    world_client_gone(client);
}

static void client_begin(struct world_client *client)
{
    struct sim *sim = client->world->sim;
    client->number = client->next++;
    client->talking = true;
    if (client->http) {
        world_http_begin(client);
        return;
    }
    client->mode = (unsigned)sim_below(sim, MODES_COUNT);
    client->rcpt_at = 0;
    message_of(client)->fate = FATE_PARTIAL;
    say_mail(client);
    if (client->mode == MODE_PLAIN) {
        return;
    }
    for (unsigned i = 0; i < message_of(client)->recipient_count; i++) {
        say_rcpt(client, i);
    }
    if (client->mode == MODE_PIPELINED) {
        say(client, EXPECT_DATA, "DATA\r\n");
        return;
    }
    bool leaving = leaves(client);
    say_chunks(client, leaving);
    if (leaving) {
        leave(client);
    }
}

/* The message is over; the next one, on this connection or another, after a while. */
void world_client_over(struct world_client *client)
{
    struct sim *sim = client->world->sim;
    client->talking = false;
    client->progress_ns = UINT64_MAX;
    CHECK(client->left > 0);
    client->left--;
    sim_after(sim, sim_below(sim, client->world->think_ns + 1), client_next, client);
}

static void client_next(void *context)
{
    struct world_client *client = context;
    if (client->peer == NULL || client->talking || client->quitting ||
        client->expected_count > 0) {
        return;
    }
    if (client->http && (client->next == client->end || client->left == 0)) {
        world_client_gone(client);
        return;
    }
    if (client->next == client->end || client->left == 0) {
        client->quitting = true;
        say(client, EXPECT_QUIT, "QUIT\r\n");
        return;
    }
    client_begin(client);
}

/* --- replies ---------------------------------------------------------------------------------- */

/* "250 2.0.0 OK ids=FIRST count=N" */
static bool ids_get(struct slice line, unsigned count, struct id *id_out)
{
    const struct slice start = SLICE("250 2.0.0 OK ids=");
    char end[24];
    snprintf(end, sizeof(end), " count=%u", count);
    return line.size == start.size + ID_TEXT_BYTES + strlen(end) &&
           slice_starts_with(line, start) && slice_ends_with(line, slice_from_string(end)) &&
           id_parse(slice_first(slice_skip(line, start.size), ID_TEXT_BYTES), id_out);
}

static void message_answered(struct world_client *client, unsigned code, struct slice line)
{
    struct world_message *message = message_of(client);
    unsigned accepted = 0;
    for (unsigned i = 0; i < message->recipient_count; i++) {
        accepted += message->recipients[i].accepted == WORD_YES;
    }
    if (code == 250) {
        message->fate = FATE_TAKEN;
        client->world->taken_recipients += accepted;
    } else {
        message->late = slice_ends_with(line, SLICE("451 4.3.0 Storing took too long"));
        world_refused(client->world, message, client->life);
    }
    if (code == 250 && !ids_get(line, accepted, &message->id)) {
        sim_fail(client->world->sim, "message %u: odd reply \"%.*s\" for %u recipients",
                 client->number, (int)line.size, (const char *)line.data, accepted);
    }
    world_client_over(client);
}

/* After MAIL or RCPT in the plain dialogue: the next command. */
static void plain_on(struct world_client *client)
{
    if (client->rcpt_at < message_of(client)->recipient_count) {
        say_rcpt(client, client->rcpt_at);
    } else {
        say(client, EXPECT_DATA, "DATA\r\n");
    }
}

static void data_answered(struct world_client *client, unsigned code)
{
    if (code != 354) {
        message_of(client)->fate = FATE_REFUSED;
        world_client_over(client);
        return;
    }
    bool leaving = leaves(client);
    say_content(client, leaving);
    if (leaving) {
        leave(client);
    }
}

static void mail_answered(struct world_client *client, unsigned code)
{
    if (client->mode == MODE_PLAIN && code != 250) {
        message_of(client)->fate = FATE_REFUSED;
        world_client_over(client);
    } else if (client->mode == MODE_PLAIN) {
        plain_on(client);
    }
}

static void client_reply(struct world_client *client, unsigned code, struct slice line)
{
    if (code == 421) {
        world_client_gone(client);
        return;
    }
    if (client->expected_count == 0) {
        sim_fail(client->world->sim, "client %u: a reply to no command: \"%.*s\"", client->index,
                 (int)line.size, (const char *)line.data);
        return;
    }
    client->world->tally.no_room += code == 452;
    enum expected what = client->expected[0];
    client->expected_count--;
    memmove(client->expected, client->expected + 1, client->expected_count);
    client->progress_ns = sim_now_ns(client->world->sim);
    switch (what) {
    case EXPECT_BANNER:
        say(client, EXPECT_HELLO, "EHLO client.test\r\n");
        return;
    case EXPECT_HELLO:
        client_next(client);
        return;
    case EXPECT_MAIL:
        mail_answered(client, code);
        return;
    case EXPECT_RCPT:
        message_of(client)->recipients[client->rcpt_at++].accepted = code == 250 ? WORD_YES
                                                                               : WORD_NO;
        if (client->mode == MODE_PLAIN) {
            plain_on(client);
        }
        return;
    case EXPECT_DATA:
        data_answered(client, code);
        return;
    case EXPECT_CHUNK:
        return;
    case EXPECT_END:
        message_answered(client, code, line);
        return;
    case EXPECT_QUIT:
        world_client_gone(client);
        return;
    }
}

static unsigned code_of(struct slice line)
{
    uint64_t code = 0;
    return line.size >= 3 && slice_parse_u64(slice_first(line, 3), &code) ? (unsigned)code : 0;
}

static void client_event(struct sim_peer *peer, void *context)
{
    struct world_client *client = context;
    if (client->http && client->peer == peer) {
        world_http_event(client);
    }
    while (client->peer == peer && !client->http) {
        struct slice input = sim_peer_input(peer);
        size_t end = slice_find(input, '\n');
        if (end == input.size) {
            break;
        }
        uint8_t copy[1024];
        CHECK(end < sizeof(copy));
        memcpy(copy, input.data, end);
        struct slice line = slice_make(copy, end > 0 && copy[end - 1] == '\r' ? end - 1 : end);
        sim_peer_consume(peer, end + 1);
        if (line.size > 3 && line.data[3] == '-') {
            continue;
        }
        client_reply(client, code_of(line), line);
    }
    if (client->peer == peer && sim_peer_state(peer) >= SIM_PEER_EOF) {
        world_client_gone(client);
    }
}

void world_client_start(void *context)
{
    struct world_client *client = context;
    struct world *world = client->world;
    struct endpoint from = sim_endpoint(256 + client->index, 0);
    if (client->peer != NULL || client->done) {
        return;
    }
    client->http = world->injected > 0 && sim_chance(world->sim, world->injected);
    struct endpoint to = sim_node_endpoint(world->process, client->http ? 8000 : 25);
    client->left = 1 + (unsigned)sim_below(world->sim, 12);
    client->peer = sim_peer_connect(world->sim, &from, &to, client_event, client);
    client->life = world->crash_count;
    client->progress_ns = sim_now_ns(world->sim);
    if (!client->http) {
        expect(client, EXPECT_BANNER);
        return;
    }
    sim_after(world->sim, sim_below(world->sim, 10 * NS_PER_MS), client_next, client);
}

/* --- a dialogue of its own -------------------------------------------------------------------- */

struct talk {
    const char *const *lines; /* null ends them */
    char *text;
    size_t size;
    size_t capacity;
    bool over;
};

static void talk_event(struct sim_peer *peer, void *context)
{
    struct talk *talk = context;
    for (;;) {
        struct slice input = sim_peer_input(peer);
        size_t size = slice_find(input, '\n') + 1;
        if (size > input.size) {
            break;
        }
        CHECK(talk->size + size < talk->capacity);
        memcpy(talk->text + talk->size, input.data, size);
        bool last = size > 3 && input.data[3] != '-';
        talk->size += size;
        sim_peer_consume(peer, size);
        if (last && *talk->lines != NULL) {
            sim_peer_send(peer, slice_from_string(*talk->lines++));
        } else if (last) {
            talk->over = true;
        }
    }
    talk->over = talk->over || sim_peer_state(peer) >= SIM_PEER_EOF;
}

static bool talk_over(void *context)
{
    return ((struct talk *)context)->over;
}

void world_talk(struct world *world, const char *const *lines, char *text, size_t capacity)
{
    struct talk talk = {.lines = lines, .text = text, .capacity = capacity};
    struct endpoint from = sim_endpoint(300, 0);
    struct endpoint to = sim_node_endpoint(world->process, 25);
    struct sim_peer *peer = sim_peer_connect(world->sim, &from, &to, talk_event, &talk);
    (void)sim_run_until(world->sim, talk_over, &talk, 60 * NS_PER_S);
    text[talk.size] = '\0';
    sim_peer_close(peer);
}
