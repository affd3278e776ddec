/*
 * Connections that make way for others, and those that go from shard to shard with their slot; see
 * shard/queue/slots.h.
 */
#include "smtp/egress.h"

#include <string.h>

#include "smtp/egress_trace.h"

enum slot_class egress_class(const struct egress *egress)
{
    bool urgent = egress->pool->ready.rings[QUEUE_URGENT].weight > 0 ||
                  !list_empty(&egress->ahead[QUEUE_URGENT]);
    return urgent ? SLOT_URGENT : SLOT_BULK;
}

uint32_t egress_weight(const struct egress *egress)
{
    const struct flow_ring *rings = egress->pool->ready.rings;
    uint32_t weight = rings[QUEUE_URGENT].weight + rings[QUEUE_BULK].weight;
    return egress_due(egress) == 0 || egress->suspended ? 0 : MAX_OF(weight, 1);
}

bool egress_conn_yield(struct egress_conn *conn)
{
    struct egress *egress = conn->egress;
    enum egress_yield yield =
        egress_limits_yield(&egress->limits, egress_class(egress), egress_weight(egress));
    if (yield == EGRESS_KEEP) {
        return false;
    }
    list_remove(&conn->conn.link);
    list_push_back(&egress->conns, &conn->conn.link);
    if (yield == EGRESS_HAND_OVER && client_conn_may_detach(&conn->conn) &&
        conn->conn.transactions < egress->path->max_deliveries_per_connection) {
        client_conn_detach(&conn->conn);
    } else {
        client_conn_close(&conn->conn);
    }
    return true;
}

bool egress_yield_idle(struct egress *egress)
{
    return !list_empty(&egress->idle) &&
           egress_conn_yield(
               egress_conn_of(CONTAINER_OF(egress->idle.next, struct client_conn, link)));
}

bool egress_slot_asked(struct egress_limits *limits)
{
    return egress_yield_idle(CONTAINER_OF(limits, struct egress, limits));
}

/* --- there and back --------------------------------------------------------------------------- */

/* It found nobody. Who still waits is on this shard: another ready queue with the same cell, to
 * which no connection is passed; it gets the slot alone. */
static void stay_or_close(struct egress_conn *conn)
{
    struct egress *egress = conn->egress;
    enum egress_yield yield =
        egress_limits_yield(&egress->limits, egress_class(egress), egress_weight(egress));
    if (yield == EGRESS_KEEP) {
        egress_conn_idle(conn);
    } else {
        client_conn_close(&conn->conn);
    }
}

void egress_conn_detached(struct client_conn *client)
{
    struct egress_conn *conn = egress_conn_of(client);
    struct egress *egress = conn->egress;
    if (egress->delivery->stopping) {
        client_conn_attach(client);
        egress_conn_idle(conn);
        return;
    }
    if (!egress_limits_pass(&egress->limits, &conn->cargo)) {
        client_conn_attach(client);
        stay_or_close(conn);
        return;
    }
    list_remove(&client->link);
    egress->connections--;
    egress->away++;
    egress_kick(egress);
}

void egress_cargo_home(struct slot_cargo *cargo)
{
    struct egress_conn *conn = CONTAINER_OF(cargo, struct egress_conn, cargo);
    struct egress *egress = conn->egress;
    egress->away--;
    if (cargo->taken) {
        pool_give(&egress->delivery->conns, conn);
        egress_kick(egress);
        return;
    }
    egress_limits_passed_back(&egress->limits);
    egress->connections++;
    list_push_back(&egress->conns, &conn->conn.link);
    client_conn_attach(&conn->conn);
    if (egress->delivery->cut) {
        client_conn_cut(&conn->conn);
    } else {
        egress_conn_idle(conn);
    }
}

void egress_take_cargo(struct egress *egress)
{
    struct slot_cargo *cargo = egress_limits_take_cargo(&egress->limits);
    if (cargo == NULL) {
        return;
    }
    struct egress_conn *from = CONTAINER_OF(cargo, struct egress_conn, cargo);
    struct egress_conn *conn = egress_conn_take(egress);
    if (conn != NULL) {
        struct shard *shard = egress->delivery->shard;
        conn->tried = from->tried;
        conn->spin = from->spin;
        conn->name_bytes = from->name_bytes;
        memcpy(conn->name, from->name, from->name_bytes);
        client_conn_adopt(&conn->conn, shard, &egress_client_user, &egress->client, &from->conn);
        egress_trace_begin(conn);
        egress->connections++;
        counters_add(&shard->counters, COUNTER_connections_handed, 1);
        list_push_front(&egress->idle, &conn->conn.link);
    }
    egress_limits_unload(&egress->limits, cargo, conn != NULL);
}
