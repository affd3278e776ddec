/* The clients that hand their messages in by injection over HTTP: one message, one request. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/world/world.h"

#define HEAD_BYTES_MAX 8192

static struct world_message *message_of(const struct world_client *client)
{
    return &client->world->messages[client->number];
}

/* --- saying ----------------------------------------------------------------------------------- */

static void put_escaped(struct buf *buf, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        switch (bytes[i]) {
        case '\r':
            buf_put_string(buf, "\\r");
            break;
        case '\n':
            buf_put_string(buf, "\\n");
            break;
        case '\t':
            buf_put_string(buf, "\\t");
            break;
        case '"':
            buf_put_string(buf, "\\\"");
            break;
        default:
            buf_put_byte(buf, bytes[i]);
            break;
        }
    }
}

static void put_request(struct buf *buf, struct world_client *client)
{
    struct world *world = client->world;
    const struct world_message *message = message_of(client);
    uint8_t *body = world_body(world, client->number);
    buf_printf(buf, "{\"envelope_sender\":\"m%u@client.test\",\"template_dialect\":\"%s\","
               "\"recipients\":[", client->number, message->apart ? "Jinja" : "Static");
    for (unsigned i = 0; i < message->recipient_count; i++) {
        buf_printf(buf,
                   "%s{\"email\":\"r%u.%u@d%u.test\",\"metadata\":{\"x_of\":[%u,\"\\u0001\"]}}",
                   i == 0 ? "" : ",", i, client->number, message->recipients[i].domain,
                   client->number);
    }
    buf_printf(buf, "],\"trace_headers\":{\"received_header\":%s},\"content\":\"",
               client->number % 2 == 0 ? "true" : "false");
    put_escaped(buf, (const uint8_t *)WORLD_INJECTED, strlen(WORLD_INJECTED));
    if (message->apart) { /* an expansion, so that none share a message */
        buf_put_string(buf, "{{ body }}\",\"substitutions\":{\"body\":\"");
    }
    put_escaped(buf, body, message->body_bytes);
    buf_put_string(buf, message->apart ? "\"}}" : "\"}");
    free(body);
}

void world_http_begin(struct world_client *client)
{
    struct world *world = client->world;
    struct world_message *message = message_of(client);
    size_t capacity = 2u * message->body_bytes + 4096;
    uint8_t *memory = malloc(2 * capacity);
    struct buf body;
    struct buf request;
    CHECK(memory != NULL);
    buf_init(&body, memory, capacity);
    buf_init(&request, memory + capacity, capacity);
    if (message->fate == FATE_NONE && world->keyed > 0) {
        message->keyed = sim_chance(world->sim, world->keyed);
        message->apart = message->keyed && client->number % 2 == 1;
    }
    world->tally.asked_again += message->keyed && message->fate == FATE_SENT;
    put_request(&body, client);
    buf_printf(&request, "POST /api/inject/v1 HTTP/1.1\r\nHost: 10.0.0.1\r\n"
               "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.size);
    if (message->keyed) {
        buf_printf(&request, "Idempotency-Key: message %u\r\n", client->number);
    }
    buf_put_string(&request, "\r\n");
    buf_put(&request, buf_slice(&body));
    CHECK(!body.overflow && !request.overflow);
    bool leaving = message->fate != FATE_SENT && sim_chance(world->sim, world->aborts);
    size_t size = leaving ? (size_t)sim_below(world->sim, request.size) : request.size;
    for (unsigned i = 0; i < message->recipient_count && !leaving; i++) {
        message->recipients[i].accepted = WORD_YES;
    }
    message->fate = leaving ? FATE_PARTIAL : FATE_SENT;
    sim_peer_send(client->peer, slice_make(request.data, size));
    client->progress_ns = sim_now_ns(world->sim);
    free(memory);
    if (leaving) {
        world_client_gone(client);
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Where `word` ends in the text; null when it is not in it. */
static const char *behind(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    return at == NULL ? NULL : at + strlen(word);
}

/* Bytes of the answer at the start of `text`, which NUL ends; 0: it is not whole. */
static size_t answer_size(const char *text)
{
    const char *body = behind(text, "\r\n\r\n");
    const char *length = behind(text, "Content-Length: ");
    if (body == NULL) {
        return 0;
    }
    if (length != NULL && length < body) {
        size_t size = (size_t)(body - text) + strtoul(length, NULL, 10);
        return size <= strlen(text) ? size : 0;
    }
    const char *end = behind(body - 2, "\r\n0\r\n\r\n");
    return end == NULL ? 0 : (size_t)(end - text);
}

static void taken(struct world_client *client, const char *text)
{
    struct world_message *message = message_of(client);
    const char *id = behind(text, "\"id\":\"");
    message->fate = FATE_TAKEN;
    client->world->taken_recipients += message->recipient_count;
    if (id == NULL || strlen(id) < ID_TEXT_BYTES ||
        !id_parse(slice_make(id, ID_TEXT_BYTES), &message->id)) {
        sim_fail(client->world->sim, "message %u: an odd answer: %s", client->number, text);
    }
}

/* A request with a key goes on until it has an answer that says what became of it. */
static bool asks_again(const struct world_client *client, const char *text)
{
    return message_of(client)->keyed && (strstr(text, "HTTP/1.1 503 ") == text ||
                                         strstr(text, "HTTP/1.1 409 ") == text);
}

static void answered(struct world_client *client, const char *text)
{
    struct world_message *message = message_of(client);
    const char *successes = behind(text, "\"success_count\":");
    unsigned long count = successes == NULL ? 0 : strtoul(successes, NULL, 10);
    if (successes != NULL && count == message->recipient_count) {
        taken(client, text);
        return;
    }
    bool refused = successes == NULL ? strstr(text, "HTTP/1.1 503 ") == text : count == 0;
    if (!refused) {
        sim_fail(client->world->sim, "message %u: an odd answer: %s", client->number, text);
    }
    message->late = strstr(text, "451 4.3.0 Storing took too long") != NULL;
    client->world->tally.no_room += strstr(text, "452 ") != NULL || successes == NULL;
    world_refused(client->world, message, client->life);
}

void world_http_event(struct world_client *client)
{
    char text[HEAD_BYTES_MAX];
    struct slice input = sim_peer_input(client->peer);
    CHECK(input.size < sizeof(text));
    if (input.size > 0) {
        memcpy(text, input.data, input.size);
    }
    text[input.size] = '\0';
    size_t size = answer_size(text);
    if (size == 0) {
        return;
    }
    text[size] = '\0';
    sim_peer_consume(client->peer, size);
    if (!client->talking) {
        sim_fail(client->world->sim, "client %u: an answer to nothing: %s", client->index, text);
        return;
    }
    if (asks_again(client, text)) {
        world_client_gone(client);
        return;
    }
    answered(client, text);
    world_client_over(client);
}

/* --- a request of its own --------------------------------------------------------------------- */

static void ask_event(struct sim_peer *peer, void *context)
{
    bool *over = context;
    *over = sim_peer_state(peer) >= SIM_PEER_EOF;
}

static bool ask_over(void *context)
{
    return *(bool *)context;
}

void world_inject(struct world *world, const char *json, char *text, size_t capacity)
{
    char head[256];
    bool over = false;
    struct endpoint from = sim_endpoint(300, 0);
    struct endpoint to = sim_node_endpoint(world->process, 8000);
    struct sim_peer *peer = sim_peer_connect(world->sim, &from, &to, ask_event, &over);
    snprintf(head, sizeof(head),
             "POST /api/inject/v1 HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", strlen(json));
    sim_peer_send(peer, slice_from_string(head));
    sim_peer_send(peer, slice_from_string(json));
    (void)sim_run_until(world->sim, ask_over, &over, 60 * NS_PER_S);
    struct slice input = sim_peer_input(peer);
    CHECK(input.size < capacity);
    if (input.size > 0) {
        memcpy(text, input.data, input.size);
    }
    text[input.size] = '\0';
    sim_peer_close(peer);
}
