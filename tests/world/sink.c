/* Where mail ends: a scripted server that checks every byte, and behaves as its mood says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/world/world.h"

struct sink_conn {
    struct world *world;
    struct list link;
    struct sim_peer *peer;
    uint32_t number;
    unsigned life;       /* crashes before it was opened */
    bool closed;
    bool plain;          /* offers no extension */
    bool busy;           /* an answer is late: input waits */
    bool mute;           /* said more than it was asked: hears nothing from then on */
    bool in_data;
    enum sink_stage stage;
    uint64_t chunk_left;
    bool chunk_last;
    bool refused;        /* the answer to the content is decided: at DATA, nothing follows */
    int64_t message;     /* -1: none */
    unsigned rcpt_count;
    unsigned rcpts[WORLD_RECIPIENTS_MAX];
    uint8_t *content;
    size_t size;
    size_t capacity;
    bool told;           /* the late answer says 250 to content */
    int64_t last;        /* message whose content was answered last */
    unsigned last_count;
    unsigned last_rcpts[WORLD_RECIPIENTS_MAX];
    char late[128];
};

static void sink_run(struct sink_conn *conn);

/* --- ends ------------------------------------------------------------------------------------- */

static void conn_close(struct sink_conn *conn, bool reset)
{
    if (conn->closed) {
        return;
    }
    conn->closed = true;
    conn->world->sink_open--;
    conn->world->sink_busy -= conn->message >= 0;
    if (reset) {
        sim_peer_reset(conn->peer);
    }
    sim_peer_close(conn->peer);
    free(conn->content);
    conn->content = NULL;
}

void world_sink_cut(struct world *world)
{
    for (struct list *link = world->conns.next; link != &world->conns; link = link->next) {
        conn_close(CONTAINER_OF(link, struct sink_conn, link), false);
    }
}

void world_sink_free(struct world *world)
{
    world_sink_cut(world);
    for (struct list *link = list_pop_front(&world->conns); link != NULL;
         link = list_pop_front(&world->conns)) {
        free(CONTAINER_OF(link, struct sink_conn, link));
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

/*
 * A reply to no command, and nothing is heard from then on: further replies would stand for other
 * commands than they are meant for, and mail be lost by it that only this server has lost. For the
 * same reason it is a 250 only where no reply to content can be expected next.
 */
static void say_unasked(struct sink_conn *conn, const char *line)
{
    conn->world->tally.unasked++;
    conn->mute = true;
    sim_peer_send(conn->peer, slice_from_string(line));
    if (sim_chance(conn->world->sim, 500)) {
        conn_close(conn, false);
    }
}


static void note_told(struct sink_conn *conn)
{
    if (!conn->told) {
        return;
    }
    conn->told = false;
    for (unsigned i = 0; i < conn->last_count; i++) {
        struct world_recipient *recipient =
            &conn->world->messages[conn->last].recipients[conn->last_rcpts[i]];
        if (recipient->conn == conn->number) {
            recipient->told_ns = sim_now_ns(conn->world->sim);
        }
    }
}

/*
 * Mail that it has taken it says it has before it leaves: a 421 in place of that 250 would be a
 * refusal of the mail, which the node has to believe and to try again.
 */
static void say_leaving(void *context)
{
    struct sink_conn *conn = context;
    if (conn->closed || conn->mute || conn->world->mood.unasked == 0) {
        return;
    }
    if (conn->told) {
        conn->world->tally.hurried++;
        sim_peer_send(conn->peer, slice_from_string(conn->late));
        note_told(conn);
    }
    say_unasked(conn, "421 4.3.2 leaving\r\n");
}

/* Behind a reply at once, or some time later, whatever is going on then. */
static void say_more(struct sink_conn *conn)
{
    struct sim *sim = conn->world->sim;
    bool before_content = conn->stage == STAGE_RCPT || conn->stage == STAGE_DATA;
    if (conn->world->mood.unasked == 0 || !sim_chance(sim, conn->world->mood.unasked)) {
        return;
    }
    switch (sim_below(sim, 3)) {
    case 0:
        say_unasked(conn, before_content ? "451 4.3.0 confused\r\n" : "250 2.0.0 again\r\n");
        break;
    case 1:
        say_unasked(conn, "421 4.3.2 leaving\r\n");
        break;
    default:
        sim_after(sim, sim_below(sim, 5 * NS_PER_S), say_leaving, conn);
    }
}

static void say_now(struct sink_conn *conn, const char *line)
{
    sim_peer_send(conn->peer, slice_from_string(line));
    note_told(conn);
    say_more(conn);
}

static void say_late(void *context)
{
    struct sink_conn *conn = context;
    conn->busy = false;
    if (!conn->closed && !conn->mute) {
        say_now(conn, conn->late);
        sink_run(conn);
    }
}

static void say(struct sink_conn *conn, const char *line)
{
    struct world *world = conn->world;
    bool slow = !world->mood.one_stage || conn->stage == world->mood.stage;
    if (!slow || !sim_chance(world->sim, world->mood.slow)) {
        say_now(conn, line);
        return;
    }
    conn->busy = true;
    snprintf(conn->late, sizeof(conn->late), "%s", line);
    sim_after(world->sim, sim_below(world->sim, world->mood.slow_ns + 1), say_late, conn);
}

enum whim { WHIM_YES, WHIM_DEFER, WHIM_BOUNCE, WHIM_DROP };

static enum whim whim_of(struct sink_conn *conn, enum sink_stage stage)
{
    struct world *world = conn->world;
    const struct sink_mood *mood = &world->mood;
    conn->stage = stage;
    if (mood->one_stage && stage != mood->stage) {
        return WHIM_YES;
    }
    unsigned at = (unsigned)sim_below(world->sim, 1000);
    if (at < mood->defer) {
        world->tally.deferrals++;
        return WHIM_DEFER;
    }
    if (at < mood->defer + mood->bounce) {
        return WHIM_BOUNCE;
    }
    if (at < mood->defer + mood->bounce + mood->drop) {
        world->tally.drops++;
        return WHIM_DROP;
    }
    return WHIM_YES;
}

static void bounce(struct sink_conn *conn)
{
    for (unsigned i = 0; i < conn->rcpt_count; i++) {
        conn->world->messages[conn->message].recipients[conn->rcpts[i]].bounced++;
        conn->world->tally.bounces++;
    }
}

/* False when the connection is closed. */
static bool answer(struct sink_conn *conn, enum whim whim, const char *yes)
{
    switch (whim) {
    case WHIM_YES:
        say(conn, yes);
        break;
    case WHIM_DEFER:
        say(conn, "451 4.2.1 not now\r\n");
        break;
    case WHIM_BOUNCE:
        say(conn, "554 5.7.0 never\r\n");
        break;
    case WHIM_DROP:
        conn_close(conn, sim_chance(conn->world->sim, 500));
        break;
    }
    return !conn->closed;
}

/* --- content ---------------------------------------------------------------------------------- */

static void transaction_over(struct sink_conn *conn)
{
    conn->world->sink_busy -= conn->message >= 0;
    conn->message = -1;
    conn->rcpt_count = 0;
    conn->size = 0;
    conn->in_data = false;
}

static void content_add(struct sink_conn *conn, struct slice bytes)
{
    if (conn->size + bytes.size > conn->capacity) {
        conn->capacity = MAX_OF(2 * conn->capacity, conn->size + bytes.size + 4096);
        conn->content = realloc(conn->content, conn->capacity);
        CHECK(conn->content != NULL);
    }
    if (bytes.size > 0) {
        memcpy(conn->content + conn->size, bytes.data, bytes.size);
    }
    conn->size += bytes.size;
}

static struct slice without_trace(struct slice content)
{
    if (!slice_starts_with(content, SLICE("Received: "))) {
        return content;
    }
    size_t at = 0;
    do {
        at += slice_find(slice_skip(content, at), '\n') + 1;
    } while (at < content.size && (content.data[at] == ' ' || content.data[at] == '\t'));
    return slice_skip(content, MIN_OF(at, content.size));
}

/* Without our own Received field, when there is one, and the header of what was injected. */
static struct slice content_of(const struct sink_conn *conn)
{
    struct slice content = without_trace(slice_make(conn->content, conn->size));
    bool injected = slice_starts_with(content, SLICE(WORLD_INJECTED));
    return injected ? slice_skip(content, strlen(WORLD_INJECTED)) : content;
}

static void content_check(struct sink_conn *conn)
{
    struct world *world = conn->world;
    struct slice content = content_of(conn);
    uint32_t number = (uint32_t)conn->message;
    uint8_t *body = world_body(world, number);
    uint32_t size = world->messages[number].body_bytes;
    if (content.size != size || (size > 0 && memcmp(content.data, body, size) != 0)) {
        sim_fail(world->sim, "message %u comes out changed: %zu bytes of %u", number,
                 content.size, size);
    }
    uint64_t before = world->messages[number].content_bytes;
    if (before > 0 && before != conn->size) {
        sim_fail(world->sim, "message %u has another trace field than the first time", number);
    }
    world->messages[number].content_bytes = conn->size;
    free(body);
}

/* A whole message is here. */
static void content_end(struct sink_conn *conn)
{
    struct world *world = conn->world;
    content_check(conn);
    enum whim whim = whim_of(conn, STAGE_DOT);
    if (whim == WHIM_BOUNCE) {
        bounce(conn);
    }
    /* Dropping the connection instead of an answer: it has the message, or not. */
    bool has = whim == WHIM_YES || (whim == WHIM_DROP && sim_chance(world->sim, 500));
    for (unsigned i = 0; has && i < conn->rcpt_count; i++) {
        bool late = conn->life < world->crash_count;
        if (!world_delivered(world, (uint32_t)conn->message, conn->rcpts[i],
                             late ? 0 : conn->number)) {
            return;
        }
        if (world->taken_from != NULL) {
            world->taken_from(world, sim_peer_remote(conn->peer));
        }
    }
    conn->last = conn->message;
    conn->last_count = conn->rcpt_count;
    memcpy(conn->last_rcpts, conn->rcpts, sizeof(conn->rcpts));
    conn->told = whim == WHIM_YES;
    transaction_over(conn);
    (void)answer(conn, whim, "250 2.0.0 taken\r\n");
}

/* A line of content after DATA. */
static void data_line(struct sink_conn *conn, struct slice line)
{
    if (slice_equal(line, SLICE(".\r\n"))) {
        content_end(conn);
        return;
    }
    content_add(conn, line.data[0] == '.' ? slice_skip(line, 1) : line);
}

/* --- commands --------------------------------------------------------------------------------- */

/* The last answer was read: a command follows it. */
static void heard(struct sink_conn *conn)
{
    for (unsigned i = 0; i < conn->last_count; i++) {
        struct world_recipient *recipient =
            &conn->world->messages[conn->last].recipients[conn->last_rcpts[i]];
        if (recipient->conn == conn->number && recipient->told_ns != 0) {
            recipient->heard = true;
        }
    }
    conn->last_count = 0;
}

static void mail_command(struct sink_conn *conn, const char *line)
{
    unsigned number;
    enum whim whim = whim_of(conn, STAGE_MAIL);
    if (sscanf(line, "MAIL FROM:<m%u@client.test>", &number) != 1 ||
        number >= conn->world->message_count) {
        sim_fail(conn->world->sim, "the sink hears \"%s\"", line);
        return;
    }
    transaction_over(conn);
    if (whim == WHIM_BOUNCE) {
        /* Every recipient that would follow is refused with it: RCPT counts them. */
        whim = WHIM_YES;
    }
    if (answer(conn, whim, "250 2.1.0 ok\r\n") && whim == WHIM_YES) {
        conn->message = number;
        conn->world->sink_busy++;
    }
}

static void rcpt_command(struct sink_conn *conn, const char *line)
{
    struct world *world = conn->world;
    unsigned index;
    unsigned number;
    if (conn->message < 0) {
        say(conn, "503 5.5.1 no\r\n");
        return;
    }
    const struct world_message *message = &world->messages[conn->message];
    if (sscanf(line, "RCPT TO:<r%u.%u@d", &index, &number) != 2 || number != conn->message ||
        index >= message->recipient_count || conn->rcpt_count == WORLD_RECIPIENTS_MAX) {
        sim_fail(world->sim, "message %lld: the sink hears \"%s\"", (long long)conn->message,
                 line);
        return;
    }
    world->messages[number].recipients[index].attempts++;
    if (world->rcpt_count < WORLD_RCPTS_MAX) {
        world->rcpts_ns[world->rcpt_count++] = sim_now_ns(world->sim);
    }
    enum whim whim = whim_of(conn, STAGE_RCPT);
    if (message->recipients[index].stubborn && world->stubborn > 0) {
        whim = WHIM_DEFER;
        world->tally.deferrals++;
    }
    if (whim == WHIM_BOUNCE) {
        world->messages[number].recipients[index].bounced++;
        world->tally.bounces++;
    }
    if (answer(conn, whim, "250 2.1.5 ok\r\n") && whim == WHIM_YES) {
        conn->rcpts[conn->rcpt_count++] = index;
    }
}

static void data_command(struct sink_conn *conn)
{
    if (conn->message < 0 || conn->rcpt_count == 0) {
        say(conn, "503 5.5.1 no\r\n");
        return;
    }
    enum whim whim = whim_of(conn, STAGE_DATA);
    if (whim == WHIM_BOUNCE) {
        bounce(conn);
    }
    conn->in_data = whim == WHIM_YES;
    (void)answer(conn, whim, "354 go\r\n");
}

static void bdat_command(struct sink_conn *conn, const char *line)
{
    unsigned long long size;
    if (sscanf(line, "BDAT %llu", &size) != 1) {
        sim_fail(conn->world->sim, "the sink hears \"%s\"", line);
        return;
    }
    conn->chunk_left = size;
    conn->chunk_last = strstr(line, " LAST") != NULL;
    conn->refused = conn->message < 0 || conn->rcpt_count == 0;
}

static void chunk_end(struct sink_conn *conn)
{
    if (conn->refused) {
        say(conn, "503 5.5.1 no\r\n");
    } else if (conn->chunk_last) {
        content_end(conn);
    } else {
        say(conn, "250 2.0.0 more\r\n");
    }
}

static void command(struct sink_conn *conn, const char *line)
{
    heard(conn);
    if (strncmp(line, "EHLO ", 5) == 0) {
        say(conn, conn->plain ? "250 sink.test\r\n"
                              : "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
                                "250 CHUNKING\r\n");
    } else if (strncmp(line, "MAIL ", 5) == 0) {
        mail_command(conn, line);
    } else if (strncmp(line, "RCPT ", 5) == 0) {
        rcpt_command(conn, line);
    } else if (strcmp(line, "DATA\r\n") == 0) {
        data_command(conn);
    } else if (strncmp(line, "BDAT ", 5) == 0) {
        bdat_command(conn, line);
    } else if (strcmp(line, "RSET\r\n") == 0) {
        transaction_over(conn);
        say(conn, "250 2.0.0 ok\r\n");
    } else if (strcmp(line, "QUIT\r\n") == 0) {
        say_now(conn, "221 2.0.0 bye\r\n");
        conn_close(conn, false);
    } else {
        sim_fail(conn->world->sim, "the sink hears \"%s\"", line);
    }
}

/* --- input ------------------------------------------------------------------------------------ */

/* Part of a chunk. */
static void take_octets(struct sink_conn *conn, struct slice input)
{
    size_t size = (size_t)MIN_OF(conn->chunk_left, input.size);
    if (!conn->refused) {
        content_add(conn, slice_first(input, size));
    }
    conn->chunk_left -= size;
    sim_peer_consume(conn->peer, size);
    if (conn->chunk_left == 0) {
        chunk_end(conn);
    }
}

/* False when there is no whole line. It is copied: an answer may cost the input. */
static bool take_line(struct sink_conn *conn, struct slice input)
{
    char text[1100];
    size_t size = slice_find(input, '\n') + 1;
    if (size > input.size) {
        return false;
    }
    CHECK(size < sizeof(text));
    memcpy(text, input.data, size);
    text[size] = '\0';
    sim_peer_consume(conn->peer, size);
    if (conn->in_data) {
        data_line(conn, slice_make(text, size));
        return true;
    }
    command(conn, text);
    if (!conn->closed && conn->chunk_left == 0 && strncmp(text, "BDAT ", 5) == 0) {
        chunk_end(conn);
    }
    return true;
}

static void sink_run(struct sink_conn *conn)
{
    while (!conn->busy && !conn->closed && !conn->mute && !sim_failed(conn->world->sim)) {
        struct slice input = sim_peer_input(conn->peer);
        if (input.size > 0 && conn->chunk_left > 0) {
            take_octets(conn, input);
        } else if (!take_line(conn, input)) {
            return;
        }
    }
}

static struct sink_conn *conn_new(struct sim_peer *peer, struct world *world)
{
    struct sink_conn *conn = calloc(1, sizeof(*conn));
    CHECK(conn != NULL);
    conn->world = world;
    conn->peer = peer;
    conn->number = ++world->conn_count;
    conn->life = world->crash_count;
    conn->message = -1;
    conn->plain = sim_chance(world->sim, world->mood.plain);
    list_push_back(&world->conns, &conn->link);
    world->sink_open++;
    world->sink_open_max = MAX_OF(world->sink_open_max, world->sink_open);
    sim_peer_tag_set(peer, conn);
    return conn;
}

static void sink_event(struct sim_peer *peer, void *context)
{
    struct sink_conn *conn = sim_peer_tag(peer);
    if (conn == NULL) {
        struct world *world = context;
        conn = conn_new(peer, world);
        (void)answer(conn, whim_of(conn, STAGE_BANNER), "220 sink.test\r\n");
    }
    sink_run(conn);
    if (!conn->closed && sim_peer_state(peer) >= SIM_PEER_EOF) {
        conn_close(conn, false);
    }
}

void world_sink_open(struct world *world)
{
    for (unsigned i = 0; i < WORLD_SINKS; i++) {
        struct endpoint at = sim_endpoint(768 + i, 25);
        world->listeners[i] = sim_peer_listen(world->sim, &at, sink_event, world);
    }
}
