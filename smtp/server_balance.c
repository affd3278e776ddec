#include "smtp/server_balance.h"

#include "core/check.h"
#include "smtp/server_conn.h"

/* --- who has how many ------------------------------------------------------------------------- */

static struct server_load *own_load(const struct server *server)
{
    return &server->balance.loads[server->shard->index];
}

static uint32_t clients_of(const struct server_load *load)
{
    return atomic_load_explicit(&load->clients, memory_order_relaxed);
}

static uint32_t busy_of(const struct server_load *load)
{
    return atomic_load_explicit(&load->busy, memory_order_relaxed);
}

static void clients_add(struct server_load *load, int by)
{
    atomic_fetch_add_explicit(&load->clients, (uint32_t)by, memory_order_relaxed);
}

static bool is_open(const struct server_load *load)
{
    return atomic_load_explicit(&load->open, memory_order_relaxed);
}

void server_balance_init(struct server *server)
{
    own_load(server)->server = server;
    server->balance.measured_ns = server->shard->now_ns;
}

void server_balance_open(struct server *server, bool open)
{
    struct server_load *load = own_load(server);
    if (is_open(load) != open) { /* others look at this line all the time */
        atomic_store_explicit(&load->open, open, memory_order_relaxed);
    }
}

void server_balance_count(struct server *server, int by)
{
    clients_add(own_load(server), by);
}

/* The shard of which this is least, of several the next after this one; null: there is no other
 * that takes clients. */
static struct server_load *least(const struct server *server,
                                 uint32_t (*of)(const struct server_load *load))
{
    const struct server_balance *balance = &server->balance;
    struct server_load *found = NULL;
    for (unsigned i = 1; i < balance->shards; i++) {
        unsigned at = (server->shard->index + i) % balance->shards;
        struct server_load *load = &balance->loads[at];
        if (is_open(load) && (found == NULL || of(load) < of(found))) {
            found = load;
        }
    }
    return found;
}

/* --- on the way ------------------------------------------------------------------------------- */

/* On the giver's shard again. Not taken: it is a client of this shard, as if it had never left. */
static void conn_home(struct shard *shard, struct mail *mail)
{
    struct server_conn *conn = CONTAINER_OF(mail, struct server_conn, mail);
    struct server *server = conn->server;
    CHECK(server->shard == shard && server->balance.away > 0);
    server->balance.away--;
    if (conn->taken) {
        server_conn_left(conn);
        return;
    }
    server_balance_count(server, 1);
    server_conn_return(conn);
    list_push_back(&server->open, &conn->link);
}

/* On the shard that it was sent to. */
static void conn_arrive(struct shard *shard, struct mail *mail)
{
    struct server_conn *from = CONTAINER_OF(mail, struct server_conn, mail);
    struct server_load *load = &from->server->balance.loads[shard->index];
    struct server *server = load->server;
    server_look(server); /* much may have happened since its turn began */
    bool taken = is_open(load);
    struct server_conn *conn = taken ? pool_take(&server->conns) : NULL;
    from->taken = conn != NULL;
    if (conn != NULL) {
        server_conn_receive(conn, server, from);
        list_push_back(&server->open, &conn->link);
    } else {
        clients_add(load, -1);
    }
    from->mail.arrive = conn_home;
    shard_send(shard, from->server->shard->index, mail);
}

static void conn_send(struct server_conn *conn, struct server_load *to)
{
    struct server *server = conn->server;
    server->balance.away++;
    clients_add(to, 1);
    conn->mail.arrive = conn_arrive;
    shard_send(server->shard, to->server->shard->index, &conn->mail);
}

bool server_balance_place(struct server_listener *listener, int fd)
{
    struct server *server = listener->server;
    struct server_load *to = least(server, clients_of);
    if (to == NULL || server->balance.away == SERVER_AWAY_MAX) {
        return false;
    }
    uint32_t few = clients_of(to);
    if (clients_of(own_load(server)) < few + 1 + few * SERVER_MORE_PERCENT / 100) {
        return false;
    }
    struct server_conn *conn = pool_take(&server->conns);
    if (conn == NULL) {
        return false;
    }
    server_conn_carry(conn, server, listener, fd);
    conn_send(conn, to);
    return true;
}

/* --- sessions --------------------------------------------------------------------------------- */

static void share_turn(struct server_share *share, uint32_t second)
{
    if (share->second != second) {
        share->before = share->second + 1 == second ? share->now : 0;
        share->now = 0;
        share->second = second;
    }
}

void server_balance_spent(struct server_conn *conn, uint64_t bytes)
{
    struct server_balance *balance = &conn->server->balance;
    share_turn(&conn->share, balance->all.second);
    conn->share.now += bytes;
    balance->all.now += bytes;
}

static uint32_t measure(struct server *server)
{
    struct server_balance *balance = &server->balance;
    const struct shard *shard = server->shard;
    uint64_t passed_ns = shard->now_ns - balance->measured_ns;
    uint64_t slept_ns = MIN_OF(shard->slept_ns - balance->slept_ns, passed_ns);
    balance->measured_ns = shard->now_ns;
    balance->slept_ns = shard->slept_ns;
    return passed_ns == 0 ? 0 : (uint32_t)((passed_ns - slept_ns) * SERVER_LOAD_ONE / passed_ns);
}

void server_balance_tick(struct server *server)
{
    struct server_balance *balance = &server->balance;
    uint32_t busy = measure(server);
    atomic_store_explicit(&own_load(server)->busy, busy, memory_order_relaxed);
    share_turn(&balance->all, balance->all.second + 1);
    balance->moves = 0;
    balance->full = busy < SERVER_LOAD_FULL ? 0 : balance->full + 1;
    if (balance->rest > 0) {
        balance->rest--;
        return;
    }
    balance->to = least(server, busy_of);
    if (balance->full < SERVER_LOAD_SECONDS || balance->to == NULL ||
        busy_of(balance->to) > SERVER_LOAD_ROOM) {
        return;
    }
    balance->gap = busy - busy_of(balance->to);
    balance->moves = SERVER_MOVES_MAX;
}

bool server_balance_choose(struct server_conn *conn)
{
    struct server_balance *balance = &conn->server->balance;
    if (LIKELY(balance->moves == 0) || balance->all.before == 0 ||
        balance->away == SERVER_AWAY_MAX) {
        return false;
    }
    share_turn(&conn->share, balance->all.second);
    uint64_t load = conn->share.before * busy_of(own_load(conn->server)) / balance->all.before;
    if (load == 0 || load + SERVER_LOAD_GAIN > balance->gap) {
        return false;
    }
    balance->moves--;
    balance->rest = SERVER_MOVES_REST;
    balance->gap -= (uint32_t)MIN_OF(2 * load, balance->gap);
    return true;
}

bool server_balance_send(struct server_conn *conn)
{
    struct server *server = conn->server;
    struct server_load *to = server->balance.to;
    bool stands = to != NULL && is_open(to) && !server->stopping;
    if (!stands || server->balance.away == SERVER_AWAY_MAX) {
        return false;
    }
    list_remove(&conn->link);
    server_balance_count(server, -1);
    conn_send(conn, to);
    return true;
}
