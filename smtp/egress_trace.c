#include "smtp/egress_trace.h"

#include "smtp/transfer.h"

static struct trace_session session_of(const struct egress_conn *conn)
{
    const struct egress *egress = conn->egress;
    return (struct trace_session){
        .peer = conn->conn.peer,
        .local = conn->conn.source,
        .mx_host = egress_conn_host(conn),
        .ready_queue = slice_make(egress->name, egress->name_bytes),
        .egress_source = egress_source_name(egress),
    };
}

/* From its first command on. */
static struct trace_transaction transaction_of(const struct egress_conn *conn)
{
    const struct client_transaction *sent = conn->conn.session.transaction;
    const struct transfer *transfer = conn->transfer;
    struct queues *queues = conn->egress->delivery->queues;
    if (sent == NULL || transfer == NULL) {
        return (struct trace_transaction){0};
    }
    const struct row *row = row_at(&queues->rows, transfer->rows[0]);
    return (struct trace_transaction){
        .queue = sched_queue_name(queues, queues_at(queues, row->queue)),
        .sender = sent->sender,
        .recipients = sent->recipients,
        .count = sent->count,
    };
}

/* Lines without what is secret in them. */
static struct slice masked(struct slice text, struct buf *buf)
{
    bool secret = false;
    while (text.size > 0) {
        size_t end = MIN_OF(slice_find(text, '\n') + 1, text.size);
        trace_put_line(buf, slice_first(text, end), &secret);
        text = slice_skip(text, end);
    }
    return buf_slice(buf);
}

void egress_trace_said(struct client_conn *client, enum trace_kind kind, struct slice text,
                       uint64_t bytes)
{
    const struct egress_conn *conn = egress_conn_of(client);
    const struct trace_session session = session_of(conn);
    const struct trace_transaction transaction = transaction_of(conn);
    uint8_t memory[2 * CLIENT_OUT_BYTES];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    const struct trace_event event = {
        .side = TRACE_CLIENT,
        .kind = kind,
        .text = kind == TRACE_WRITE ? masked(text, &buf) : text,
        .bytes = bytes,
        .id = &client->id,
        .session = &session,
        .transaction = &transaction,
    };
    trace_tap_put(conn->egress->delivery->trace, client->traced, &event);
}

static uint8_t wanted(const struct egress_conn *conn)
{
    const struct trace_tap *tap = conn->egress->delivery->trace;
    if (tap == NULL || tap->clients == 0) {
        return 0;
    }
    const struct trace_session session = session_of(conn);
    return trace_tap_wants(tap, TRACE_CLIENT, &conn->conn.id, &session);
}

void egress_trace_begin(struct egress_conn *conn)
{
    conn->conn.traced = wanted(conn);
}

bool egress_trace_mark(struct delivery *delivery, uint32_t *next, uint32_t end, uint8_t bit)
{
    for (; *next < MIN_OF(end, delivery->conns.fresh); ++*next) {
        if (pool_is_taken(&delivery->conns, *next)) {
            struct egress_conn *conn = pool_at(&delivery->conns, *next);
            conn->conn.traced = (uint8_t)((conn->conn.traced & ~bit) | (wanted(conn) & bit));
        }
    }
    return *next >= delivery->conns.fresh;
}
