#include "smtp/server.h"

#include <errno.h>

#include "core/check.h"
#include "smtp/server_report.h"

/* How many clients are told so each time, lest they wait for a banner until they give up. */
#define TURNED_AWAY_MAX 64
#define BACKLOG         4096
/* Once nothing can be stored: to who connects, and to who begins a message (F-03). */
#define SPOOL_FAILED_TEXT "4.3.0 The spool does not accept mail"
#define TICK_NS               NS_PER_S
/* Connections pressed in one tick; with more of them the others have their turn later. */
#define PRESSED_A_TICK 4096
/* Connections told in one turn to read or not to. */
#define READING_A_TURN 1024

/* --- stress --------------------------------------------------------------------------------- */

/* The connection whose turn it is; they take turns. Null when there is none. */
static struct server_conn *next_conn(struct server *server)
{
    struct list *link = list_pop_front(&server->open);
    if (link == NULL) {
        return NULL;
    }
    list_push_back(&server->open, link);
    return CONTAINER_OF(link, struct server_conn, link);
}

static void server_tick(struct timer *timer)
{
    struct server *server = CONTAINER_OF(timer, struct server, tick);
    server_balance_tick(server);
    uint32_t count = server->stressed ? MIN_OF(server->conns.used, PRESSED_A_TICK) : 0;
    for (uint32_t i = 0; i < count; i++) {
        struct server_conn *conn = next_conn(server);
        if (conn != NULL) {
            server_conn_press(conn);
        }
    }
    shard_timer_set(server->shard, &server->tick, TICK_NS);
}

static void server_reading(struct deferred *deferred)
{
    struct server *server = CONTAINER_OF(deferred, struct server, reading);
    bool reading = !overload_is(&server->overload, OVERLOAD_READING);
    uint32_t count = MIN_OF(server->reading_left, READING_A_TURN);
    server->reading_left -= count;
    for (uint32_t i = 0; i < count; i++) {
        struct server_conn *conn = next_conn(server);
        if (conn != NULL) {
            server_conn_set_reading(conn, reading);
        }
    }
    if (server->reading_left > 0) {
        shard_defer(server->shard, &server->reading);
    }
}

/* The listener of which most is in use. */
static void look_at_slots(struct server *server)
{
    uint64_t used = 0;
    uint64_t limit = 1;
    for (unsigned i = 0; i < server->listener_count; i++) {
        uint64_t open = atomic_load_explicit(&server->slots[i].used, memory_order_relaxed);
        uint64_t most = server->listeners[i].conf->connections_max;
        if (open * limit > used * most) {
            used = open;
            limit = most;
        }
    }
    (void)overload_set(&server->overload, OVERLOAD_SLOTS, used, limit);
}

/* Clients that another shard has accepted; those of one whose spool has failed are better off. */
static bool may_receive(const struct server *server)
{
    bool listens = server->listener_count == server->conf->smtp_listener_count;
    return listens && !server->stopping && !server->stressed &&
           spool_admission(server->intake->spool, 0) != SPOOL_FAILED;
}

void server_look(struct server *server)
{
    struct overload *overload = &server->overload;
    const struct account *account = &server->shard->memory;
    const struct ring *ring = server->shard->ring;
    uint64_t used = account_used(account);
    (void)overload_set(overload, OVERLOAD_CONNECTIONS, used, account->limit);
    (void)overload_set(overload, OVERLOAD_MAIL, used, account->limit);
    if (overload_set(overload, OVERLOAD_READING, used, account->limit)) {
        server->reading_left = server->conns.used;
        shard_defer(server->shard, &server->reading);
    }
    (void)overload_set(overload, OVERLOAD_BLOCKS, block_pool_used(server->blocks),
                       block_pool_size(server->blocks));
    (void)overload_set(overload, OVERLOAD_BUFFERS, ring_buffers_held(ring),
                       ring_buffer_count(ring));
    look_at_slots(server);
    server->stressed = overload_any(overload);
    server_balance_open(server, may_receive(server));
}

void server_fini(struct server *server)
{
    shard_timer_clear(server->shard, &server->tick);
    deferred_cancel(&server->reading);
}

void server_init(struct server *server, struct boot_pages *pages)
{
    uint32_t count = SERVER_REFUSALS_MAX + SERVER_AWAY_MAX;
    for (size_t i = 0; i < server->conf->smtp_listener_count; i++) {
        count += server->conf->smtp_listeners[i].connections_max;
    }
    void *memory = boot_pages_take(pages, pool_memory(sizeof(struct server_conn), count));
    pool_init(&server->conns, memory, sizeof(struct server_conn), count);
    memory = boot_pages_take(pages, pool_memory(sizeof(struct server_buffers), count));
    pool_init(&server->buffers, memory, sizeof(struct server_buffers), count);
    memory = boot_pages_take(pages, pool_memory(sizeof(struct report_ticket), SERVER_REPORTS_MAX));
    pool_init(&server->reports, memory, sizeof(struct report_ticket), SERVER_REPORTS_MAX);
    server->hashes = boot_pages_take(pages, (uint64_t)count * sizeof(XXH3_state_t));
    list_init(&server->open);
    server->spare = -1;
    timer_init(&server->tick, server_tick);
    deferred_init(&server->reading, server_reading);
    server_balance_init(server);
    shard_timer_set(server->shard, &server->tick, TICK_NS);
}

/* --- hosts ---------------------------------------------------------------------------------- */

static uint64_t host_index(const struct server_hosts *hosts, const struct endpoint *peer)
{
    /* The whole mapped IPv4 address, or the network half of an IPv6 one. */
    size_t bytes = endpoint_is_v4(peer) ? sizeof(peer->address) : 8;
    uint64_t hash = XXH3_64bits_withSeed(peer->address, bytes, hosts->seed);
    return hash % SERVER_HOSTS;
}

/* Pays for one connection; false when too many are unpaid for. */
static bool rate_take(_Atomic uint64_t *rate, uint64_t now_ns)
{
    const uint64_t price_ns = NS_PER_S / SERVER_HOST_RATE;
    uint64_t paid_ns = atomic_load_explicit(rate, memory_order_relaxed);
    uint64_t next_ns;
    do {
        if (paid_ns > now_ns && paid_ns - now_ns > (SERVER_HOST_BURST - 1) * price_ns) {
            return false;
        }
        next_ns = MAX_OF(paid_ns, now_ns) + price_ns;
    } while (!atomic_compare_exchange_weak_explicit(rate, &paid_ns, next_ns, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

enum server_host server_host_take(struct server_hosts *hosts, const struct endpoint *peer,
                                  uint32_t limit, uint64_t now_ns)
{
    uint64_t index = host_index(hosts, peer);
    _Atomic uint32_t *count = &hosts->counts[index];
    if (atomic_fetch_add_explicit(count, 1, memory_order_relaxed) >= limit) {
        atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
        return SERVER_HOST_MANY;
    }
    if (!rate_take(&hosts->rates[index], now_ns)) {
        atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
        return SERVER_HOST_FAST;
    }
    return SERVER_HOST_TAKEN;
}

void server_host_give(struct server_hosts *hosts, const struct endpoint *peer)
{
    _Atomic uint32_t *count = &hosts->counts[host_index(hosts, peer)];
    uint32_t before = atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
    CHECK(before > 0);
}

/* --- connections ---------------------------------------------------------------------------- */

/* Why this connection is refused; empty when it is not, and has a slot then. */
static struct slice refusal_of(const struct server_listener *listener)
{
    const struct server *server = listener->server;
    struct counters *counters = &server->shard->counters;
    if (server->stopping) {
        return SLICE("421 4.3.2 Shutting down");
    }
    if (overload_is(&server->overload, OVERLOAD_CONNECTIONS)) {
        counters_add(counters, COUNTER_refused_memory, 1);
        return SLICE("421 4.3.2 Insufficient memory");
    }
    if (spool_admission(server->intake->spool, 0) == SPOOL_FAILED) {
        return SLICE("421 " SPOOL_FAILED_TEXT);
    }
    if (!cell_take(listener->slots, listener->conf->connections_max)) {
        counters_add(counters, COUNTER_refused_total, 1);
        return SLICE("421 4.3.2 Too many connections");
    }
    return SLICE_NONE;
}

static void admit(struct server_listener *listener, int fd)
{
    struct server *server = listener->server;
    struct slice refusal = refusal_of(listener);
    bool full = refusal.size > 0;
    struct server_conn *conn = NULL;
    if (!full && server_balance_place(listener, fd)) {
        counters_add(&server->shard->counters, COUNTER_connections_in, 1);
        return;
    }
    if (!full || server->refusals < SERVER_REFUSALS_MAX) {
        conn = pool_take(&server->conns);
    }
    counters_add(&server->shard->counters,
                 full || conn == NULL ? COUNTER_connections_refused : COUNTER_connections_in, 1);
    if (conn == NULL) {
        CHECK(full); /* the pool has room for every slot, and for what is away */
        ring_discard(server->shard->ring, fd);
        return;
    }
    if (full) {
        server->refusals++;
        server_conn_refuse(conn, server, listener, fd, refusal);
    } else {
        server_balance_count(server, 1);
        server_conn_open(conn, server, listener, fd);
    }
    list_push_back(&server->open, &conn->link);
}

void server_set_conf(struct server *server, struct conf_lease *lease)
{
    const struct conf *conf = lease->conf;
    CHECK(conf->smtp_listener_count >= server->listener_count);
    server->conf = conf;
    server->lease = lease;
    for (unsigned i = 0; i < server->listener_count; i++) {
        server->listeners[i].conf = &conf->smtp_listeners[i];
    }
    for (struct list *link = server->open.next; link != &server->open; link = link->next) {
        server_conn_renew(CONTAINER_OF(link, struct server_conn, link));
    }
}

void server_conn_gone(struct server_conn *conn)
{
    struct server *server = conn->server;
    list_remove(&conn->link);
    if (conn->refusal) {
        server->refusals--;
    } else {
        cell_give(conn->listener->slots);
        server_balance_count(server, -1);
    }
    pool_give(&server->conns, conn);
}

struct verdict server_sender_verdict(struct server *server, uint64_t size_bytes)
{
    if (server->stopping) {
        return (struct verdict){421, "4.3.2 Shutting down"};
    }
    if (overload_is(&server->overload, OVERLOAD_MAIL) ||
        !queues_room(server->intake->queues, 1)) {
        counters_add(&server->shard->counters, COUNTER_mail_refused, 1);
        return (struct verdict){452, "4.3.1 Insufficient memory"};
    }
    if (event_tap_behind_too_far(server->events)) {
        return (struct verdict){452, "4.3.1 The event log is behind"};
    }
    switch (spool_admission(server->intake->spool, size_bytes)) {
    case SPOOL_STORED:
        return VERDICT_ACCEPT;
    case SPOOL_FULL:
        return (struct verdict){452, "4.3.1 Insufficient system storage"};
    case SPOOL_FAILED:
    case SPOOL_LATE:
        return (struct verdict){421, SPOOL_FAILED_TEXT};
    }
    CHECK(false);
}

/* --- listeners ------------------------------------------------------------------------------ */

static void spare_take(struct server *server)
{
    if (server->spare < 0 && !server->stopping) {
        int spare = ring_spare(server->shard->ring);
        server->spare = spare < 0 ? -1 : spare;
    }
}

/* No descriptor is left: who waits is told so. */
static void turn_away(struct listener *socket, int error)
{
    struct server *server = CONTAINER_OF(socket, struct server_listener, socket)->server;
    int result = error == -EMFILE || error == -ENFILE ? 0 : error;
    for (unsigned i = 0; i < TURNED_AWAY_MAX && result == 0; i++) {
        result = ring_turn_away(server->shard->ring, socket->fd,
                                SLICE("421 4.3.2 Too many open files\r\n"), &server->spare);
        counters_add(&server->shard->counters, COUNTER_connections_refused, result == 0);
    }
}

static void accepted(struct listener *socket, int fd)
{
    struct server_listener *listener = CONTAINER_OF(socket, struct server_listener, socket);
    spare_take(listener->server);
    admit(listener, fd);
}

/*
 * SO_REUSEPORT lets another server of the same user share a port without a word, and half the mail
 * goes there. So each port is bound once alone, before any shard shares it.
 */
static int ports_probe(struct server *server, struct buf *reason_out)
{
    const struct socket_options alone = {.congestion = "", .backlog = 1};
    for (size_t i = 0; i < server->conf->smtp_listener_count; i++) {
        const struct endpoint *endpoint = &server->conf->smtp_listeners[i].listen;
        struct endpoint bound;
        int fd = ring_listen(server->shard->ring, endpoint, &alone, &bound);
        if (fd < 0) {
            endpoint_put(reason_out, endpoint);
            return fd;
        }
        ring_discard(server->shard->ring, fd);
    }
    return 0;
}

int server_start(struct server *server, struct endpoint *bound, struct buf *reason_out)
{
    const struct socket_options sockets = {
        .congestion = server->conf->node.congestion,
        .reuse_port = true,
        .backlog = BACKLOG,
    };
    CHECK(server->conf->smtp_listener_count <= SERVER_LISTENERS_MAX);
    int error = server->shard->index == 0 ? ports_probe(server, reason_out) : 0;
    if (error != 0) {
        return error;
    }
    for (size_t i = 0; i < server->conf->smtp_listener_count; i++) {
        struct server_listener *listener = &server->listeners[i];
        struct endpoint endpoint = server->conf->smtp_listeners[i].listen;
        if (endpoint.port == 0) {
            endpoint.port = bound[i].port;
        }
        *listener = (struct server_listener){
            .server = server,
            .conf = &server->conf->smtp_listeners[i],
            .slots = &server->slots[i],
            .socket = {.accepted = accepted, .failed = turn_away},
        };
        error = listener_open(&listener->socket, server->shard, &endpoint, &sockets);
        if (error != 0) {
            endpoint_put(reason_out, &endpoint);
            return error;
        }
        bound[i] = listener->socket.bound;
        server->listener_count++;
    }
    spare_take(server);
    server_balance_open(server, true); /* not a sleep later */
    return 0;
}

/* --- the end -------------------------------------------------------------------------------- */

void server_stop(struct server *server)
{
    server->stopping = true;
    server_balance_open(server, false);
    if (server->spare >= 0) {
        ring_discard(server->shard->ring, server->spare);
        server->spare = -1;
    }
    for (unsigned i = 0; i < server->listener_count; i++) {
        listener_close(&server->listeners[i].socket);
    }
    struct list *link = server->open.next;
    while (link != &server->open) {
        struct server_conn *conn = CONTAINER_OF(link, struct server_conn, link);
        link = link->next;
        server_conn_stop(conn);
    }
}

void server_cut(struct server *server)
{
    server->cut = true;
    struct list *link = server->open.next;
    while (link != &server->open) {
        struct server_conn *conn = CONTAINER_OF(link, struct server_conn, link);
        link = link->next;
        server_conn_close(conn);
    }
}

uint64_t server_memory(const struct server *server)
{
    return server->conns.used * (sizeof(struct server_conn) + sizeof(*server->hashes)) +
           server->buffers.used * sizeof(struct server_buffers) +
           server->reports.used * sizeof(struct report_ticket);
}

uint32_t server_open(const struct server *server)
{
    uint32_t open = server->conns.used;
    for (unsigned i = 0; i < server->listener_count; i++) {
        open += !listener_is_closed(&server->listeners[i].socket);
    }
    return open;
}
