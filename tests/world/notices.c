/* Where notifications go: a plain server that takes them all, and who must have been told what. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/world/world.h"

#define LINE_BYTES 1100

struct notice_conn {
    struct world *world;
    struct list link;
    struct sim_peer *peer;
    bool closed;
    bool in_data;
    unsigned number; /* of the message whose sender this is for */
    char *content;
    size_t size;
};

/* --- what is asked for ------------------------------------------------------------------------ */

enum asked { ASKED_NOTHING, ASKED_FAILURE, ASKED_BOTH, ASKED_NEVER, ASKED_COUNT };

static enum asked asked_of(uint32_t number, unsigned index)
{
    return (enum asked)((number * 7 + index * 3) % ASKED_COUNT);
}

const char *world_notify_word(uint32_t number, unsigned index)
{
    static const char *const words[] = {
        [ASKED_NOTHING] = "",
        [ASKED_FAILURE] = " NOTIFY=FAILURE",
        [ASKED_BOTH] = " NOTIFY=SUCCESS,FAILURE",
        [ASKED_NEVER] = " NOTIFY=NEVER",
    };
    return words[asked_of(number, index)];
}

/* --- what comes ------------------------------------------------------------------------------- */

/* One recipient of a notification, known by a number that is its own. */
static void told(struct world *world, unsigned number, unsigned index, uint64_t known_by)
{
    struct world_recipient *recipient = &world->messages[number].recipients[index];
    for (unsigned i = 0; i < recipient->notice_count; i++) {
        if (recipient->notices[i] == known_by) {
            world->tally.notices_repeated++;
            if (world->crash_count == 0) {
                sim_fail(world->sim, "message %u: a notification came twice", number);
            }
            return;
        }
    }
    CHECK(recipient->notice_count < WORLD_NOTICES_MAX);
    recipient->notices[recipient->notice_count++] = known_by;
    world->tally.notices++;
    world->tally.notices_doubled += recipient->notice_count > 1;
}

static void content_end(struct notice_conn *conn)
{
    struct world *world = conn->world;
    unsigned long long known_by;
    unsigned count = 0;
    const char *id = strstr(conn->content, "\nMessage-ID: <");
    /* The end of an id is what its threads count. */
    if (id == NULL || sscanf(id + strlen("\nMessage-ID: <") + 16, "%16llx@mta.test>",
                             &known_by) != 1) {
        sim_fail(world->sim, "a notification without an id");
        return;
    }
    for (const char *at = strstr(conn->content, "\nFinal-Recipient: rfc822;r"); at != NULL;
         at = strstr(at + 1, "\nFinal-Recipient: rfc822;r")) {
        unsigned number;
        unsigned index;
        if (sscanf(at, "\nFinal-Recipient: rfc822;r%u.%u@d", &index, &number) != 2 ||
            number != conn->number || index >= world->messages[number].recipient_count) {
            sim_fail(world->sim, "message %u: a notification about another one", conn->number);
            return;
        }
        told(world, number, index, known_by);
        count++;
    }
    if (count == 0) {
        sim_fail(world->sim, "message %u: a notification about nobody", conn->number);
    }
}

static const char *command(struct notice_conn *conn, const char *line)
{
    struct world *world = conn->world;
    if (strncmp(line, "RCPT ", 5) == 0) {
        if (sscanf(line, "RCPT TO:<m%u@client.test>", &conn->number) != 1 ||
            conn->number >= world->message_count) {
            sim_fail(world->sim, "a notification for \"%s\"", line);
        }
    } else if (strncmp(line, "MAIL ", 5) == 0) {
        if (strncmp(line, "MAIL FROM:<>", 12) != 0) {
            sim_fail(world->sim, "a notification from \"%s\"", line);
        }
    } else if (strcmp(line, "DATA\r\n") == 0) {
        conn->in_data = true;
        conn->size = 0;
        return "354 go\r\n";
    }
    return strcmp(line, "QUIT\r\n") == 0 ? "221 bye\r\n" : "250 ok\r\n";
}

static void content_add(struct notice_conn *conn, const char *line)
{
    size_t size = strlen(line);
    conn->content = realloc(conn->content, conn->size + size + 1);
    CHECK(conn->content != NULL);
    memcpy(conn->content + conn->size, line, size + 1);
    conn->size += size;
}

static void line_take(struct notice_conn *conn, const char *line)
{
    const char *reply = NULL;
    if (!conn->in_data) {
        reply = command(conn, line);
    } else if (strcmp(line, ".\r\n") == 0) {
        conn->in_data = false;
        content_end(conn);
        reply = "250 taken\r\n";
    } else {
        content_add(conn, line);
    }
    if (reply != NULL) {
        sim_peer_send(conn->peer, slice_from_string(reply));
    }
}

/* --- connections ------------------------------------------------------------------------------ */

static void conn_close(struct notice_conn *conn)
{
    if (!conn->closed) {
        conn->closed = true;
        sim_peer_close(conn->peer);
        free(conn->content);
        conn->content = NULL;
    }
}

static struct notice_conn *conn_new(struct sim_peer *peer, struct world *world)
{
    struct notice_conn *conn = calloc(1, sizeof(*conn));
    CHECK(conn != NULL);
    conn->world = world;
    conn->peer = peer;
    list_push_back(&world->notice_conns, &conn->link);
    sim_peer_tag_set(peer, conn);
    sim_peer_send(peer, SLICE("220 client.test\r\n"));
    return conn;
}

static void notice_event(struct sim_peer *peer, void *context)
{
    struct notice_conn *conn = sim_peer_tag(peer);
    char line[LINE_BYTES];
    if (conn == NULL) {
        conn = conn_new(peer, context);
    }
    while (!conn->closed && !sim_failed(conn->world->sim)) {
        struct slice input = sim_peer_input(peer);
        size_t size = slice_find(input, '\n') + 1;
        if (size > input.size) {
            break;
        }
        CHECK(size < sizeof(line));
        memcpy(line, input.data, size);
        line[size] = '\0';
        sim_peer_consume(peer, size);
        line_take(conn, line);
    }
    if (!conn->closed && sim_peer_state(peer) >= SIM_PEER_EOF) {
        conn_close(conn);
    }
}

void world_notices_open(struct world *world)
{
    struct endpoint at = sim_endpoint(768 + WORLD_SINKS, 25);
    (void)sim_peer_listen(world->sim, &at, notice_event, world);
}

void world_notices_cut(struct world *world)
{
    for (struct list *link = world->notice_conns.next; link != &world->notice_conns;
         link = link->next) {
        conn_close(CONTAINER_OF(link, struct notice_conn, link));
    }
}

void world_notices_free(struct world *world)
{
    world_notices_cut(world);
    for (struct list *link = list_pop_front(&world->notice_conns); link != NULL;
         link = list_pop_front(&world->notice_conns)) {
        free(CONTAINER_OF(link, struct notice_conn, link));
    }
}

/* --- the verdict ------------------------------------------------------------------------------ */

/*
 * Each who asked is told of, and nobody else; no oftener than the sink gave a last word, which
 * happens again after a crash alone.
 */
static void recipient_judge(struct world *world, uint32_t number, unsigned index)
{
    const struct world_recipient *recipient = &world->messages[number].recipients[index];
    enum asked asked = asked_of(number, index);
    unsigned most = world->crash_count == 0 ? 1 : recipient->bounced;
    bool owed = false;
    switch (asked) {
    case ASKED_NOTHING:
    case ASKED_NEVER:
        most = 0;
        break;
    case ASKED_FAILURE:
        owed = recipient->bounced > 0 && recipient->delivered == 0;
        most = MIN_OF(most, recipient->bounced);
        break;
    case ASKED_BOTH:
        owed = recipient->bounced > 0 || recipient->delivered > 0;
        most += world->crash_count == 0 ? 0 : recipient->delivered;
        break;
    case ASKED_COUNT:
        CHECK(false);
    }
    owed = owed && world->messages[number].fate == FATE_TAKEN &&
           world->tally.notices_dropped + world_counter(world, COUNTER_reports_dropped) == 0;
    if (recipient->notice_count > most || (owed && recipient->notice_count == 0)) {
        sim_fail(world->sim,
                 "message %u, recipient %u, asked %d: taken %u times, refused %u times, and its "
                 "sender was told %u times",
                 number, index, (int)asked, recipient->delivered, recipient->bounced,
                 recipient->notice_count);
    }
}

void world_notices_judge(struct world *world)
{
    for (uint32_t i = 0; i < world->message_count; i++) {
        for (unsigned r = 0; r < world->messages[i].recipient_count; r++) {
            recipient_judge(world, i, r);
        }
    }
}
