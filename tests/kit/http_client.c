#include "tests/kit/http_client.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

#define WAIT_NS (60 * NS_PER_S)

void http_client_open(struct http_client *client, struct sim *sim, unsigned from,
                      const struct endpoint *to)
{
    struct endpoint endpoint = sim_endpoint(from, 0);
    client->sim = sim;
    client->peer = sim_peer_connect(sim, &endpoint, to, NULL, NULL);
}

void http_client_close(struct http_client *client)
{
    sim_peer_close(client->peer);
}

void http_client_say(struct http_client *client, const char *text)
{
    sim_peer_send(client->peer, slice_from_string(text));
}

static bool has_ended(void *context)
{
    return sim_peer_state(((struct http_client *)context)->peer) >= SIM_PEER_EOF;
}

static bool has_input(void *context)
{
    return has_ended(context) || sim_peer_input(((struct http_client *)context)->peer).size > 0;
}

void http_client_say_slowly(struct http_client *client, const char *text, uint64_t every_ns)
{
    for (const char *at = text; *at != '\0' && !has_input(client); at++) {
        sim_peer_send(client->peer, slice_make(at, 1));
        if (!sim_run_for(client->sim, every_ns)) {
            return;
        }
    }
}

bool http_client_take(struct http_client *client, size_t count, char *into)
{
    for (size_t at = 0; at < count;) {
        (void)sim_run_until(client->sim, has_input, client, WAIT_NS);
        struct slice input = sim_peer_input(client->peer);
        size_t size = MIN_OF(input.size, count - at);
        if (size == 0) {
            sim_fail(client->sim, "%zu bytes of %zu have come", at, count);
            return false;
        }
        memcpy(into + at, input.data, size);
        sim_peer_consume(client->peer, size);
        at += size;
    }
    return true;
}

/* Byte by byte: what is not taken may leave no window for the rest. */
unsigned http_client_head(struct http_client *client)
{
    size_t size = 0;
    client->status = 0;
    client->bytes = 0;
    client->said[0] = '\0';
    client->head[0] = '\0';
    do {
        (void)sim_run_until(client->sim, has_input, client, WAIT_NS);
        struct slice input = sim_peer_input(client->peer);
        if (input.size == 0) {
            return 0;
        }
        client->head[size++] = (char)input.data[0];
        client->head[size] = '\0';
        sim_peer_consume(client->peer, 1);
        CHECK(size < sizeof(client->head) - 1);
    } while (size < 4 || strcmp(client->head + size - 4, "\r\n\r\n") != 0);
    if (strncmp(client->head, "HTTP/1.1 ", 9) != 0) {
        sim_fail(client->sim, "no head of an answer: %s", client->head);
        return 0;
    }
    client->status = (unsigned)strtoul(client->head + 9, NULL, 10);
    return client->status;
}

/* One chunk; false: it was the last, or nothing that is one. */
static bool take_chunk(struct http_client *client)
{
    char line[16] = {0};
    char end[2] = {0};
    size_t at = 0;
    do {
        if (at == sizeof(line) - 1 || !http_client_take(client, 1, &line[at])) {
            return false;
        }
    } while (line[at++] != '\n');
    size_t size = strtoul(line, NULL, 16);
    CHECK(client->bytes + size < sizeof(client->said));
    if (!http_client_take(client, size, client->said + client->bytes) ||
        !http_client_take(client, 2, end) || memcmp(end, "\r\n", 2) != 0) {
        sim_fail(client->sim, "a chunk without its end");
        return false;
    }
    client->bytes += size;
    return size > 0;
}

unsigned http_client_hear(struct http_client *client)
{
    const char *length_name = "\r\nContent-Length: ";
    if (http_client_head(client) < 200) {
        return client->status;
    }
    const char *length = strstr(client->head, length_name);
    if (strstr(client->head, "\r\nTransfer-Encoding: chunked\r\n") != NULL) {
        while (take_chunk(client)) {
        }
    } else if (length != NULL) {
        client->bytes = strtoul(length + strlen(length_name), NULL, 10);
        CHECK(client->bytes < sizeof(client->said));
        (void)http_client_take(client, client->bytes, client->said);
    }
    client->said[client->bytes] = '\0';
    return client->status;
}

bool http_client_hears(struct http_client *client, unsigned status, const char *said)
{
    if (http_client_hear(client) != status || strcmp(client->said, said) != 0) {
        sim_fail(client->sim, "heard %u %.100s, not %u %.100s", client->status, client->said,
                 status, said);
    }
    return !sim_failed(client->sim);
}

bool http_client_closed(struct http_client *client, uint64_t within_ns)
{
    return sim_run_until(client->sim, has_ended, client, within_ns) &&
           sim_peer_input(client->peer).size == 0;
}
