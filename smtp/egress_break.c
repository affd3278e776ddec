/*
 * What a connection does when its dialogue broke in a transaction: 421, silence, a reset, a reply
 * that makes no sense. It has a slot and a plan, the hosts of its site that it has not tried yet.
 *
 *   reconnect_strategy   ConnectNextHost    the next of its plan; none left: it ends
 *                        ReconnectSameHost  where it was
 *                        TerminateSession   it ends
 *   try_next_host_on_transport_error        who has no answer is no failure, and it goes to the
 *                                           next of its plan; none left: it is one
 *
 * One that ends gives up its slot; for what is due another begins, with the first host. No message
 * is offered without end: a plan only grows shorter, and what breaks at its last host counts as an
 * attempt.
 */
#include "smtp/egress.h"

#include "smtp/transfer.h"

static bool is_transport_error(enum client_end end)
{
    return end == CLIENT_END_TIMEOUT || end == CLIENT_END_BROKEN;
}

static bool is_broken(enum client_end end)
{
    return is_transport_error(end) || end == CLIENT_END_421 || end == CLIENT_END_PROTOCOL ||
           end == CLIENT_END_RSET;
}

static bool has_next(const struct egress_conn *conn)
{
    return conn->tried + 1 < egress_host_count(conn->egress);
}

static bool may_send(const struct egress *egress)
{
    return egress->path != NULL && egress->pool->ready.queues > 0 && !egress->suspended &&
           !egress_is_left_out(egress) && delivery_may_start(egress->delivery);
}

/* False: the rate of connections allows none now. */
static bool take_token(struct egress *egress)
{
    uint64_t until_ns;
    struct rates *connects = &egress->limits.connects;
    if (rates_ready(connects, egress->delivery->shard->now_ns, 1, &until_ns) == 0) {
        return false;
    }
    rates_use(connects, 1);
    return true;
}

/* Nobody of whom it is uncertain: the next host would most likely send it twice. */
static bool is_spared(const struct client_recipient *recipient)
{
    return recipient->disposition == CLIENT_DEFERRED && recipient->broken && !recipient->uncertain;
}

void egress_break_spare(struct egress_conn *conn, struct transfer *transfer)
{
    struct egress *egress = conn->egress;
    unsigned spared = 0;
    if (!is_transport_error(conn->conn.session.end) || !may_send(egress) ||
        !egress->path->try_next_host_on_transport_error || !has_next(conn)) {
        return;
    }
    for (unsigned i = 0; i < transfer->count; i++) {
        spared += is_spared(&transfer->recipients[i]);
    }
    if (spared == 0 || !take_token(egress)) {
        return;
    }
    conn->again = AGAIN_NEXT_HOST;
    for (unsigned i = 0; i < transfer->count; i++) {
        if (is_spared(&transfer->recipients[i])) {
            transfer->recipients[i].disposition = CLIENT_RETRY_NOW;
        }
    }
}

void egress_break_judge(struct egress_conn *conn)
{
    struct egress *egress = conn->egress;
    enum egress_again again = AGAIN_NO;
    if (conn->again != AGAIN_NO || !is_broken(conn->conn.session.end) || !may_send(egress) ||
        egress_due(egress) == 0) {
        return;
    }
    switch (egress->path->reconnect_strategy) {
    case PATH_CONNECT_NEXT_HOST:
        again = has_next(conn) ? AGAIN_NEXT_HOST : AGAIN_NO;
        break;
    case PATH_RECONNECT_SAME_HOST:
        again = AGAIN_SAME_HOST;
        break;
    case PATH_TERMINATE_SESSION:
        break;
    }
    /* Others who wait for the slot have it first. */
    if (again != AGAIN_NO &&
        egress_limits_yield(&egress->limits, egress_class(egress), egress_weight(egress)) ==
            EGRESS_KEEP &&
        take_token(egress)) {
        conn->again = (uint8_t)again;
    }
}

/* Where DNS says something else now, that host may have no place any more. */
static bool is_there(const struct egress_conn *conn)
{
    const struct egress *egress = conn->egress;
    const struct egress_hosts *hosts = &egress->pool->hosts;
    if (conn->tried >= egress_host_count(egress)) {
        return false;
    }
    unsigned host = egress_hosts_pick(hosts, egress->reach, conn->tried, conn->spin);
    return endpoint_equal_address(&hosts->at[host], &conn->conn.peer);
}

bool egress_break_goes_on(struct egress_conn *conn)
{
    struct egress *egress = conn->egress;
    enum egress_again again = (enum egress_again)conn->again;
    conn->again = AGAIN_NO;
    if (again == AGAIN_NO || !may_send(egress)) {
        return false;
    }
    if (again == AGAIN_NEXT_HOST ? !has_next(conn) : !is_there(conn)) {
        return false;
    }
    conn->tried += again == AGAIN_NEXT_HOST;
    conn->used = false;
    counters_add(&egress->delivery->shard->counters, COUNTER_connections_out, 1);
    return true;
}
