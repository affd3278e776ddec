#include "shard/io/http_server.h"

#include <errno.h>

#include "core/check.h"
#include "shard/io/http_conn.h"

#define BACKLOG 1024
/* Connections that are closing already, beside connections_max. */
#define CLOSING_MAX 64
/* Connections on their way to other shards. */
#define TRANSFERS_MAX 256
/* Strangers are told that they are; but a part of the connections is beyond them. */
#define STRANGERS_PERCENT 25
/* Who is in the middle of something for so long may have to make room; of so many that is asked. */
#define SLOW_NS           NS_PER_S
#define SLOW_LOOKS        256u

void http_server_init(struct http_server *server, const struct http_options *options)
{
    uint32_t conns = options->connections_max + CLOSING_MAX;
    struct boot_pages *pages = options->pages;
    CHECK(options->route_count <= HTTP_ROUTES_MAX);
    *server = (struct http_server){
        .options = *options,
        .shard = options->shard,
    };
    metered_init(&server->memory, options->memory_max);
    void *memory = boot_pages_take(pages, pool_memory(sizeof(struct http_conn), conns));
    pool_init(&server->conns, memory, sizeof(struct http_conn), conns);
    memory = boot_pages_take(pages, pool_memory(sizeof(struct http_transfer), TRANSFERS_MAX));
    pool_init(&server->transfers, memory, sizeof(struct http_transfer), TRANSFERS_MAX);
    list_init(&server->idle);
    list_init(&server->busy);
    atomic_store_explicit(&server->takes, false, memory_order_relaxed);
}

/* --- connections ---------------------------------------------------------------------------- */

void http_server_sort(struct http_conn *conn, bool idle)
{
    list_remove(&conn->link);
    conn->sorted_ns = conn->server->shard->now_ns;
    list_push_back(idle ? &conn->server->idle : &conn->server->busy, &conn->link);
}

void http_server_gone(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    list_remove(&conn->link);
    server->strangers -= !conn->trusted;
    pool_give(&server->conns, conn);
}

static bool waits_for_client(const struct http_conn *conn)
{
    switch ((enum http_conn_state)conn->state) {
    case HTTP_CONN_HEAD:
    case HTTP_CONN_BODY:
    case HTTP_CONN_ANSWERING:
    case HTTP_CONN_ENDING:
        return true;
    case HTTP_CONN_HANDLED:
    case HTTP_CONN_STREAMING: /* it is meant to last */
    case HTTP_CONN_LEAVING:
    case HTTP_CONN_CLOSED:
        return false;
    }
    CHECK(false);
}

/* Who has let us wait for longest in the middle of a request or an answer; null: nobody does. */
static struct http_conn *find_slowest(struct http_server *server)
{
    uint64_t now_ns = server->shard->now_ns;
    struct list *link = server->busy.next;
    for (unsigned i = 0; i < SLOW_LOOKS && link != &server->busy; i++, link = link->next) {
        struct http_conn *conn = CONTAINER_OF(link, struct http_conn, link);
        if (now_ns - conn->sorted_ns < SLOW_NS) {
            return NULL; /* as is everyone behind */
        }
        if (waits_for_client(conn)) {
            return conn;
        }
    }
    return NULL;
}

static bool is_full(const struct http_server *server)
{
    return server->conns.used >= server->options.connections_max;
}

/* One place is wanted: who has been idle longest gives up his, at once or in one of the next turns.
 */
static struct http_conn *conn_take(struct http_server *server)
{
    if (is_full(server) && !list_empty(&server->idle)) {
        http_conn_close(CONTAINER_OF(server->idle.next, struct http_conn, link));
        counters_add(&server->shard->counters, COUNTER_http_idle_closed, 1);
    }
    return pool_take(&server->conns);
}

/* For who comes from outside: when nobody is idle, who has been slow gives up his place. */
static struct http_conn *conn_take_new(struct http_server *server)
{
    struct http_conn *slowest =
        is_full(server) && list_empty(&server->idle) ? find_slowest(server) : NULL;
    if (slowest != NULL) {
        http_conn_close(slowest);
        counters_add(&server->shard->counters, COUNTER_http_slow_closed, 1);
    }
    return conn_take(server);
}

static void admit(struct http_listener *listener, int fd)
{
    struct http_server *server = listener->server;
    struct counters *counters = &server->shard->counters;
    struct http_conn *conn = server->stopping ? NULL : conn_take_new(server);
    counters_add(counters, conn == NULL ? COUNTER_http_turned_away : COUNTER_http_connections, 1);
    if (conn == NULL) {
        ring_discard(server->shard->ring, fd);
        return;
    }
    http_conn_open(conn, server, (unsigned)(listener - server->listeners), fd);
    server->strangers += !conn->trusted;
    if (server->strangers > server->options.connections_max * STRANGERS_PERCENT / 100) {
        http_conn_close(conn);
    }
}

/* --- other shards --------------------------------------------------------------------------- */

static bool server_takes(struct http_server *server)
{
    return atomic_load_explicit(&server->takes, memory_order_relaxed);
}

void http_server_set_takes(struct http_server *server, bool takes)
{
    atomic_store_explicit(&server->takes, takes && !server->stopping, memory_order_relaxed);
}

struct http_server *http_server_choose(struct http_server *server,
                                       const struct http_route *route)
{
    const struct http_options *options = &server->options;
    bool ours = server == options->tsa;
    switch ((enum http_where)route->where) {
    case HTTP_ON_TSA_SHARD:
        return ours || server_takes(options->tsa) ? options->tsa : NULL;
    case HTTP_ON_MAIL_SHARD:
        if (!ours) {
            return server;
        }
        for (unsigned i = 0; i < options->mail_count; i++) {
            struct http_server *mail = options->mails[server->turn++ % options->mail_count];
            if (server_takes(mail)) {
                return mail;
            }
        }
        return NULL;
    }
    CHECK(false);
}

struct http_transfer *http_server_transfer(struct http_server *server)
{
    return pool_take(&server->transfers);
}

static void transfer_home(struct shard *receiver, struct mail *mail)
{
    struct http_transfer *transfer = CONTAINER_OF(mail, struct http_transfer, mail);
    struct http_server *server = transfer->from;
    (void)receiver;
    metered_give(&server->memory, transfer->bytes);
    pool_give(&server->transfers, transfer);
}

void http_server_send_home(struct http_transfer *transfer, struct shard *shard)
{
    transfer->mail.arrive = transfer_home;
    shard_send(shard, transfer->from->shard->index, &transfer->mail);
}

static void transfer_arrives(struct shard *receiver, struct mail *mail)
{
    struct http_transfer *transfer = CONTAINER_OF(mail, struct http_transfer, mail);
    struct http_server *server = transfer->to;
    struct http_conn *conn = server->stopping ? NULL : conn_take(server);
    if (conn == NULL) {
        counters_add(&receiver->counters, COUNTER_http_turned_away, 1);
        ring_discard(receiver->ring, transfer->fd);
        http_server_send_home(transfer, receiver);
        return;
    }
    http_conn_receive(conn, server, transfer);
    server->strangers += !conn->trusted;
}

static void renew(struct http_server *server, const struct list *conns)
{
    for (struct list *link = conns->next; link != conns; link = link->next) {
        struct http_conn *conn = CONTAINER_OF(link, struct http_conn, link);
        server->strangers -= !conn->trusted;
        http_conn_renew(conn);
        server->strangers += !conn->trusted;
    }
}

void http_server_set_conf(struct http_server *server, const struct conf *conf)
{
    CHECK(conf->http_listener_count >= server->listener_count);
    server->options.conf = conf;
    renew(server, &server->idle);
    renew(server, &server->busy);
}

void http_server_send(struct http_transfer *transfer)
{
    counters_add(&transfer->from->shard->counters, COUNTER_http_handed, 1);
    transfer->mail.arrive = transfer_arrives;
    shard_send(transfer->from->shard, transfer->to->shard->index, &transfer->mail);
}

/* --- listeners ------------------------------------------------------------------------------ */

static void accepted(struct listener *socket, int fd)
{
    admit(CONTAINER_OF(socket, struct http_listener, socket), fd);
}

int http_server_start(struct http_server *server, struct endpoint *bound_out,
                      struct buf *reason_out)
{
    const struct socket_options sockets = {.congestion = "", .backlog = BACKLOG};
    const struct conf *conf = server->options.conf;
    CHECK(conf->http_listener_count <= HTTP_LISTENERS_MAX);
    for (size_t i = server->listener_count; i < conf->http_listener_count; i++) {
        struct http_listener *listener = &server->listeners[i];
        *listener = (struct http_listener){
            .server = server,
            .socket = {.accepted = accepted},
        };
        int error =
            listener_open(&listener->socket, server->shard, &conf->http_listeners[i].listen,
                          &sockets);
        if (error != 0) {
            endpoint_put(reason_out, &conf->http_listeners[i].listen);
            return error;
        }
        bound_out[i] = listener->socket.bound;
        server->listener_count++;
    }
    return 0;
}

/* --- the end -------------------------------------------------------------------------------- */

static void for_all(struct http_server *server, void (*act)(struct http_conn *conn))
{
    struct list *const lists[] = {&server->idle, &server->busy};
    for (unsigned i = 0; i < COUNT_OF(lists); i++) {
        struct list *link = lists[i]->next;
        while (link != lists[i]) {
            struct http_conn *conn = CONTAINER_OF(link, struct http_conn, link);
            link = link->next;
            act(conn);
        }
    }
}

void http_server_stop(struct http_server *server)
{
    server->stopping = true;
    http_server_set_takes(server, false);
    for (unsigned i = 0; i < server->listener_count; i++) {
        listener_close(&server->listeners[i].socket);
    }
    for_all(server, http_conn_stop);
}

void http_server_cut(struct http_server *server)
{
    for_all(server, http_conn_close);
}

void http_server_fini(struct http_server *server)
{
    for_all(server, http_conn_forget); /* decoders */
    metered_fini(&server->memory);
}

uint64_t http_server_memory(const struct http_server *server)
{
    return server->conns.used * sizeof(struct http_conn) +
           server->transfers.used * sizeof(struct http_transfer) + server->memory.used;
}

uint32_t http_server_open(const struct http_server *server)
{
    uint32_t open = server->conns.used + server->transfers.used;
    for (unsigned i = 0; i < server->listener_count; i++) {
        open += !listener_is_closed(&server->listeners[i].socket);
    }
    return open;
}
