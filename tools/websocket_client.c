#include "tools/websocket_client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base64.h"

#define HEAD_BYTES_MAX 1024

static bool failed(struct websocket_client *client, const char *what, const char *why)
{
    snprintf(client->problem, sizeof(client->problem), "%.120s: %.120s", what, why);
    return false;
}

/* --- connecting ------------------------------------------------------------------------------- */

static bool connect_to(struct websocket_client *client, const struct server_url *url)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int error = getaddrinfo(url->host, url->port, &hints, &found);
    if (error != 0) {
        return failed(client, url->where, gai_strerror(error));
    }
    for (const struct addrinfo *at = found; at != NULL && client->fd < 0; at = at->ai_next) {
        client->fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (client->fd >= 0 && connect(client->fd, at->ai_addr, at->ai_addrlen) != 0) {
            error = errno;
            close(client->fd);
            client->fd = -1;
        }
    }
    freeaddrinfo(found);
    return client->fd >= 0 || failed(client, url->where, strerror(error));
}

static bool send_all(struct websocket_client *client, struct slice bytes)
{
    while (bytes.size > 0) {
        ssize_t sent = send(client->fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            return failed(client, "sending", strerror(errno));
        }
        bytes = slice_skip(bytes, sent > 0 ? (size_t)sent : 0);
    }
    return true;
}

/* More input, or a signal. */
static enum websocket_client_step receive(struct websocket_client *client)
{
    struct pollfd polls[] = {{.fd = client->signals, .events = POLLIN},
                             {.fd = client->fd, .events = POLLIN}};
    if (poll(polls, COUNT_OF(polls), -1) < 0) {
        (void)failed(client, "waiting", strerror(errno));
        return WEBSOCKET_CLIENT_FAILED;
    }
    if (polls[0].revents != 0) {
        return WEBSOCKET_CLIENT_SIGNAL;
    }
    ssize_t got = recv(client->fd, client->input + client->held, sizeof(client->input) -
                       client->held, 0);
    if (got > 0) {
        client->held += (size_t)got;
        return WEBSOCKET_CLIENT_TEXT;
    }
    (void)failed(client, "the connection", got == 0 ? "closed by the server" : strerror(errno));
    return WEBSOCKET_CLIENT_FAILED;
}

/* --- the handshake ---------------------------------------------------------------------------- */

/* The end of the head; 0: it is not whole yet. */
static size_t head_end(const struct websocket_client *client)
{
    const uint8_t *end = memmem(client->input, client->held, "\r\n\r\n", 4);
    return end != NULL ? (size_t)(end - client->input) + 4 : 0;
}

/* Instead of switching the server has said this. */
static bool refused(struct websocket_client *client, size_t body)
{
    struct slice line = slice_make(client->input, slice_find(slice_make(client->input,
                                                                        client->held), '\r'));
    struct slice text = slice_make(client->input + body, client->held - body);
    text = slice_first(text, MIN_OF(slice_find(text, '\n'), (size_t)160));
    snprintf(client->problem, sizeof(client->problem), "the server refused: %.*s %.*s",
             (int)MIN_OF(line.size, (size_t)64), (const char *)line.data, (int)text.size,
             (const char *)text.data);
    return false;
}

static bool read_answer(struct websocket_client *client, struct slice key)
{
    uint8_t accept[WEBSOCKET_ACCEPT_BYTES];
    size_t end = head_end(client);
    while (end == 0) {
        if (client->held >= HEAD_BYTES_MAX) {
            return failed(client, "the server", "no WebSocket");
        }
        if (receive(client) != WEBSOCKET_CLIENT_TEXT) {
            return false;
        }
        end = head_end(client);
    }
    websocket_accept(key, accept);
    if (!slice_starts_with(slice_make(client->input, end), SLICE("HTTP/1.1 101 "))) {
        return refused(client, end);
    }
    if (memmem(client->input, end, accept, sizeof(accept)) == NULL) {
        return failed(client, "the server", "it answers another handshake");
    }
    client->at = end;
    return true;
}

static bool shake_hands(struct websocket_client *client, const struct server_url *url,
                        const char *path)
{
    uint8_t random[16];
    uint8_t key[WEBSOCKET_KEY_BYTES];
    char text[HEAD_BYTES_MAX];
    struct buf buf;
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        return failed(client, "random bytes", strerror(errno));
    }
    buf_init(&buf, key, sizeof(key));
    base64_put(&buf, slice_make(random, sizeof(random)));
    buf_init(&buf, text, sizeof(text));
    buf_printf(&buf,
               "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %.*s\r\n\r\n",
               path, url->where, (int)sizeof(key), (const char *)key);
    return !buf.overflow && send_all(client, buf_slice(&buf)) &&
           read_answer(client, slice_make(key, sizeof(key)));
}

static bool open_signals(struct websocket_client *client)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    client->signals = signalfd(-1, &set, SFD_CLOEXEC);
    return client->signals >= 0 || failed(client, "signals", strerror(errno));
}

bool websocket_client_open(struct websocket_client *client, const struct server_url *url,
                           const char *path)
{
    uint64_t seed;
    *client = (struct websocket_client){.fd = -1, .signals = -1};
    if (url->tls) {
        return failed(client, url->where, "dialogues are traced over plain HTTP");
    }
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed) ||
        !websocket_init(&client->websocket, WEBSOCKET_CLIENT, client->message,
                        sizeof(client->message), seed)) {
        return failed(client, "memory", strerror(errno));
    }
    /* Signals last: until there is a dialogue to end they end the program. */
    return connect_to(client, url) && shake_hands(client, url, path) && open_signals(client);
}

/* --- the dialogue ----------------------------------------------------------------------------- */

bool websocket_client_say(struct websocket_client *client, struct slice text)
{
    uint8_t memory[16 * KIB];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    return (websocket_put_text(&client->websocket, &buf, text) ||
            failed(client, "the message", "too long")) &&
           send_all(client, buf_slice(&buf));
}

static bool pong(struct websocket_client *client)
{
    uint8_t memory[WEBSOCKET_CONTROL_MAX + WEBSOCKET_OVERHEAD];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    return websocket_put_pong(&client->websocket, &buf, websocket_control(&client->websocket)) &&
           send_all(client, buf_slice(&buf));
}

/* Code and words of a close; a normal one is no failure. */
static enum websocket_client_step closed(struct websocket_client *client)
{
    struct slice words = websocket_control(&client->websocket);
    words = slice_skip(words, MIN_OF(words.size, (size_t)2));
    if (client->websocket.code == WEBSOCKET_CODE_NORMAL) {
        return WEBSOCKET_CLIENT_END;
    }
    snprintf(client->problem, sizeof(client->problem), "the server has ended it: %u %.*s",
             client->websocket.code, (int)words.size, (const char *)words.data);
    return WEBSOCKET_CLIENT_FAILED;
}

enum websocket_client_step websocket_client_hear(struct websocket_client *client,
                                                 struct slice *text_out)
{
    for (;;) {
        struct slice input = slice_make(client->input + client->at, client->held - client->at);
        enum websocket_step step = websocket_feed(&client->websocket, &input);
        client->at = client->held - input.size;
        enum websocket_client_step result = WEBSOCKET_CLIENT_TEXT;
        switch (step) {
        case WEBSOCKET_TEXT:
            *text_out = websocket_message(&client->websocket);
            return WEBSOCKET_CLIENT_TEXT;
        case WEBSOCKET_PING:
            result = pong(client) ? result : WEBSOCKET_CLIENT_FAILED;
            break;
        case WEBSOCKET_PONG:
            break;
        case WEBSOCKET_CLOSE:
            return closed(client);
        case WEBSOCKET_BAD:
            (void)failed(client, "the server", "it breaks the rules of WebSockets");
            return WEBSOCKET_CLIENT_FAILED;
        case WEBSOCKET_MORE:
            client->held = 0;
            client->at = 0;
            result = receive(client);
            break;
        }
        if (result != WEBSOCKET_CLIENT_TEXT) {
            return result;
        }
    }
}

void websocket_client_close(struct websocket_client *client)
{
    uint8_t memory[64];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    if (client->fd >= 0) {
        if (websocket_put_close(&client->websocket, &buf, WEBSOCKET_CODE_NORMAL, SLICE_NONE)) {
            (void)send_all(client, buf_slice(&buf));
        }
        close(client->fd);
    }
    if (client->signals >= 0) {
        close(client->signals);
    }
    websocket_fini(&client->websocket);
}
