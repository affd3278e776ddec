#include "tests/kit/echo.h"

#include <errno.h>

#include "core/check.h"

#define IDLE_NS         (300 * NS_PER_S)
#define ACCEPT_AGAIN_NS (10 * NS_PER_MS)
#define NAP_NS_MAX      (200 * NS_PER_MS)

/* --- server ----------------------------------------------------------------------------------- */

static void server_check_stopped(struct echo_server *server)
{
    server->stopped = server->listener < 0 && server->used == 0 && op_idle(&server->cancel_op);
}

static void connection_close(struct echo_connection *connection)
{
    struct shard *shard = connection->server->shard;
    shard_timer_clear(shard, &connection->idle_timer);
    shard_timer_clear(shard, &connection->nap_timer);
    stream_close(&connection->stream);
}

static void connection_drive(struct echo_connection *connection)
{
    struct stream *stream = &connection->stream;
    if (stream_sending(stream) || timer_is_set(&connection->nap_timer)) {
        return;
    }
    struct slice input = stream_input(stream);
    if (input.size > 0) {
        struct iovec iovec = {.iov_base = (void *)(uintptr_t)input.data, .iov_len = input.size};
        connection->sending = input.size;
        stream_send(stream, &iovec, 1);
    } else if (stream->end != STREAM_OPEN) {
        connection_close(connection);
    }
}

static void connection_input(struct stream *stream)
{
    struct echo_connection *connection = CONTAINER_OF(stream, struct echo_connection, stream);
    struct shard *shard = connection->server->shard;
    shard_timer_set(shard, &connection->idle_timer, IDLE_NS);
    if (prng_chance(&shard->prng, connection->server->nap_per_mille)) {
        shard_timer_set(shard, &connection->nap_timer, prng_below(&shard->prng, NAP_NS_MAX) + 1);
    }
    if (prng_chance(&shard->prng, connection->server->quit_per_mille)) {
        connection_close(connection);
        return;
    }
    connection_drive(connection);
}

static void connection_sent(struct stream *stream, enum stream_end end)
{
    struct echo_connection *connection = CONTAINER_OF(stream, struct echo_connection, stream);
    if (end != STREAM_OPEN) {
        connection_close(connection);
        return;
    }
    stream_consume(stream, connection->sending);
    connection_drive(connection);
}

static void connection_connected(struct stream *stream, enum stream_end end)
{
    (void)end;
    CHECK(stream == NULL); /* accepted streams do not connect */
}

static void connection_released(struct stream *stream)
{
    struct echo_connection *connection = CONTAINER_OF(stream, struct echo_connection, stream);
    connection->used = false;
    connection->server->used -= 1;
    server_check_stopped(connection->server);
}

static void connection_idle(struct timer *timer)
{
    connection_close(CONTAINER_OF(timer, struct echo_connection, idle_timer));
}

static void connection_nap_over(struct timer *timer)
{
    connection_drive(CONTAINER_OF(timer, struct echo_connection, nap_timer));
}

static const struct stream_user connection_user = {.connected = connection_connected,
                                                   .input = connection_input,
                                                   .sent = connection_sent,
                                                   .released = connection_released};

static void server_take(struct echo_server *server, int fd)
{
    unsigned i = 0;
    while (i < ECHO_CONNECTIONS_MAX && server->connections[i].used) {
        i += 1;
    }
    CHECK(i < ECHO_CONNECTIONS_MAX);
    struct echo_connection *connection = &server->connections[i];
    connection->used = true;
    connection->server = server;
    server->used += 1;
    server->accepted += 1;
    timer_init(&connection->idle_timer, connection_idle);
    timer_init(&connection->nap_timer, connection_nap_over);
    stream_accept(&connection->stream, server->shard, &connection_user, fd);
    if (server->stopping) {
        connection_close(connection);
        return;
    }
    shard_timer_set(server->shard, &connection->idle_timer, IDLE_NS);
}

static void server_listener_closed(struct op *op)
{
    struct echo_server *server = CONTAINER_OF(op, struct echo_server, close_op);
    server->listener = -1;
    server_check_stopped(server);
}

static void server_join(struct echo_server *server)
{
    if (op_idle(&server->accept_op) && op_idle(&server->cancel_op) && op_idle(&server->close_op)) {
        ring_close_fd(server->shard->ring, &server->close_op, server->listener);
    }
}

static void server_accepted(struct op *op)
{
    struct echo_server *server = CONTAINER_OF(op, struct echo_server, accept_op);
    bool last = (op->flags & OP_MORE) == 0;
    int32_t result = op->result;
    if (result >= 0) {
        server_take(server, result);
    }
    if (!last) {
        return;
    }
    if (server->stopping) {
        server_join(server);
    } else if (result == -EMFILE || result == -ENFILE) {
        shard_timer_set(server->shard, &server->accept_timer, ACCEPT_AGAIN_NS);
    } else {
        ring_accept(server->shard->ring, &server->accept_op, server->listener);
    }
}

static void server_accept_again(struct timer *timer)
{
    struct echo_server *server = CONTAINER_OF(timer, struct echo_server, accept_timer);
    ring_accept(server->shard->ring, &server->accept_op, server->listener);
}

static void server_cancelled(struct op *op)
{
    server_join(CONTAINER_OF(op, struct echo_server, cancel_op));
}

int echo_server_start(struct echo_server *server, struct shard *shard,
                      const struct endpoint *endpoint, struct endpoint *bound_out)
{
    server->shard = shard;
    server->stopping = false;
    server->stopped = false;
    server->used = 0;
    server->accepted = 0;
    for (unsigned i = 0; i < ECHO_CONNECTIONS_MAX; i += 1) {
        server->connections[i].used = false;
    }
    op_init(&server->accept_op, server_accepted);
    op_init(&server->cancel_op, server_cancelled);
    op_init(&server->close_op, server_listener_closed);
    timer_init(&server->accept_timer, server_accept_again);
    struct socket_options options = {.congestion = "", .backlog = 64};
    server->listener = ring_listen(shard->ring, endpoint, &options, bound_out);
    if (server->listener < 0) {
        return server->listener;
    }
    ring_accept(shard->ring, &server->accept_op, server->listener);
    return 0;
}

void echo_server_stop(struct echo_server *server)
{
    server->stopping = true;
    shard_timer_clear(server->shard, &server->accept_timer);
    ring_cancel(server->shard->ring, &server->cancel_op, server->listener);
    for (unsigned i = 0; i < ECHO_CONNECTIONS_MAX; i += 1) {
        if (server->connections[i].used) {
            connection_close(&server->connections[i]);
        }
    }
}

/* --- client ----------------------------------------------------------------------------------- */

static uint8_t pattern(const struct echo_client *client, uint64_t position)
{
    return (uint8_t)((position * 167 >> 3) + position + client->salt);
}

static void client_close(struct echo_client *client, enum echo_result result)
{
    if (client->result == ECHO_RUNNING) {
        client->result = result;
        client->end = client->stream.end;
    }
    shard_timer_clear(client->shard, &client->deadline_timer);
    shard_timer_clear(client->shard, &client->nap_timer);
    stream_close(&client->stream);
}

static bool client_check(struct echo_client *client)
{
    struct slice input = stream_input(&client->stream);
    while (input.size > 0) {
        for (size_t i = 0; i < input.size; i += 1) {
            if (input.data[i] != pattern(client, client->checked + i)) {
                return false;
            }
        }
        client->checked += input.size;
        stream_consume(&client->stream, input.size);
        input = stream_input(&client->stream);
    }
    return client->checked <= client->sent;
}

static void client_send(struct echo_client *client)
{
    uint64_t left = client->size - client->sent;
    if (left == 0 || stream_sending(&client->stream) || client->stream.end != STREAM_OPEN) {
        return;
    }
    size_t size = 1 + (size_t)prng_below(&client->shard->prng, ECHO_CHUNK_MAX);
    size = (size_t)MIN_OF((uint64_t)size, left);
    for (size_t i = 0; i < size; i += 1) {
        client->chunk[i] = pattern(client, client->sent + i);
    }
    size_t cut = (size_t)prng_below(&client->shard->prng, size + 1);
    struct iovec iovecs[2] = {{.iov_base = client->chunk, .iov_len = cut},
                              {.iov_base = client->chunk + cut, .iov_len = size - cut}};
    client->sent += size; /* the echo may come before the send is done */
    stream_send(&client->stream, iovecs, 2);
}

static void client_drive(struct echo_client *client)
{
    if (timer_is_set(&client->nap_timer)) {
        return;
    }
    if (!client_check(client)) {
        client_close(client, ECHO_WRONG);
    } else if (client->checked == client->size) {
        client_close(client, ECHO_WHOLE);
    } else if (client->quit_at != 0 && client->checked >= client->quit_at) {
        client_close(client, ECHO_GONE);
    } else if (client->stream.end != STREAM_OPEN) {
        client_close(client, ECHO_ENDED);
    } else {
        client_send(client);
    }
}

static void client_connected(struct stream *stream, enum stream_end end)
{
    struct echo_client *client = CONTAINER_OF(stream, struct echo_client, stream);
    if (end != STREAM_OPEN) {
        client_close(client, ECHO_ENDED);
        return;
    }
    client_drive(client);
}

static void client_input(struct stream *stream)
{
    struct echo_client *client = CONTAINER_OF(stream, struct echo_client, stream);
    struct shard *shard = client->shard;
    if (prng_chance(&shard->prng, client->nap_per_mille)) {
        shard_timer_set(shard, &client->nap_timer, prng_below(&shard->prng, NAP_NS_MAX) + 1);
    }
    client_drive(client);
}

static void client_sent(struct stream *stream, enum stream_end end)
{
    struct echo_client *client = CONTAINER_OF(stream, struct echo_client, stream);
    if (end != STREAM_OPEN) {
        client_close(client, ECHO_ENDED);
        client->end = end;
        return;
    }
    client_drive(client);
}

static void client_released(struct stream *stream)
{
    struct echo_client *client = CONTAINER_OF(stream, struct echo_client, stream);
    client->done(client);
}

static void client_late(struct timer *timer)
{
    client_close(CONTAINER_OF(timer, struct echo_client, deadline_timer), ECHO_TIMED_OUT);
}

static void client_nap_over(struct timer *timer)
{
    client_drive(CONTAINER_OF(timer, struct echo_client, nap_timer));
}

static const struct stream_user client_user = {.connected = client_connected,
                                               .input = client_input,
                                               .sent = client_sent,
                                               .released = client_released};

void echo_client_start(struct echo_client *client, struct shard *shard,
                       const struct endpoint *server)
{
    static const struct endpoint any = {0};
    struct socket_options options = {.congestion = ""};
    client->shard = shard;
    client->sent = 0;
    client->checked = 0;
    client->salt = (uint8_t)prng_next(&shard->prng);
    client->result = ECHO_RUNNING;
    client->end = STREAM_OPEN;
    timer_init(&client->deadline_timer, client_late);
    timer_init(&client->nap_timer, client_nap_over);
    shard_timer_set(shard, &client->deadline_timer, client->deadline_ns);
    stream_connect(&client->stream, shard, &client_user, server, &any, &options);
}
