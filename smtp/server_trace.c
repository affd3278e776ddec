#include "smtp/server_trace.h"

#include "core/check.h"
#include "smtp/limits.h"
#include "smtp/trace_tap.h"

/* What a line of replies and commands takes at most, and what masks add. */
#define LINE_BYTES_MAX (COMMAND_LINE_BYTES_MAX + 32)

static void put(struct server_conn *conn, enum trace_kind kind, struct slice text, uint64_t bytes)
{
    const struct trace_session session = {.peer = conn->peer, .local = conn->local};
    const struct trace_event event = {
        .side = TRACE_SERVER,
        .kind = kind,
        .text = text,
        .bytes = bytes,
        .id = &conn->session_id,
        .session = &session,
    };
    trace_tap_put(conn->server->trace, conn->traced, &event);
}

static uint8_t wanted(const struct server_conn *conn)
{
    const struct trace_session session = {.peer = conn->peer, .local = conn->local};
    const struct trace_tap *tap = conn->server->trace;
    return tap != NULL && tap->servers != 0
               ? trace_tap_wants(tap, TRACE_SERVER, &conn->session_id, &session)
               : 0;
}

void server_trace_begin(struct server_conn *conn, bool fresh)
{
    conn->traced = wanted(conn);
    conn->secret = false;
    if (conn->traced != 0 && fresh) {
        put(conn, TRACE_CONNECTED, SLICE_NONE, 0);
    }
}

void server_trace_end(struct server_conn *conn)
{
    put(conn, TRACE_CLOSED, SLICE_NONE, 0);
}

void server_trace_write(struct server_conn *conn, struct slice replies)
{
    put(conn, TRACE_WRITE, replies, 0);
}

/* The end of this line, or of all. */
static size_t line_end(struct slice input)
{
    return MIN_OF(slice_find(input, '\n') + 1, input.size);
}

/*
 * So much of the input that nothing behind it can be of another kind: one line; a chunk; content up
 * to its end mark, which may have begun before.
 */
static size_t piece_size(const struct server_conn *conn, struct slice input, bool first)
{
    const struct server_session *session = &conn->session;
    if (session->state == SERVER_BDAT) {
        return (size_t)MIN_OF(session->chunk.left, input.size);
    }
    if (session->state != SERVER_DATA) {
        return line_end(input);
    }
    size_t end = first ? line_end(input) : 0;
    if (end > 0 && end <= sizeof(".\r\n")) {
        return end; /* perhaps the rest of the mark */
    }
    while (end < input.size) {
        struct slice line = slice_skip(input, end);
        end += line_end(line);
        if (slice_starts_with(line, SLICE(".\r\n"))) {
            break;
        }
    }
    return end;
}

static void tell_content(struct server_conn *conn, struct slice bytes)
{
    struct slice snippet = slice_first(bytes, MIN_OF(bytes.size, (size_t)TRACE_SNIPPET_MAX));
    put(conn, TRACE_READ_CONTENT, slice_first(snippet, line_end(snippet)), bytes.size);
}

static void tell_line(struct server_conn *conn, struct slice line)
{
    uint8_t memory[LINE_BYTES_MAX];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    trace_put_line(&text, slice_first(line, MIN_OF(line.size, (size_t)COMMAND_LINE_BYTES_MAX)),
                   &conn->secret);
    put(conn, TRACE_READ, buf_slice(&text), 0);
}

enum want server_trace_feed(struct server_conn *conn, struct slice *input, struct buf *replies)
{
    enum want want = WANT_INPUT;
    size_t taken = 1;
    bool first = true;
    while (want == WANT_INPUT && taken > 0 && input->size > 0) {
        bool content = conn->session.state == SERVER_DATA || conn->session.state == SERVER_BDAT;
        struct slice piece = slice_first(*input, piece_size(conn, *input, first));
        struct slice rest = piece;
        want = server_session_feed(&conn->session, &rest, replies);
        taken = piece.size - rest.size;
        *input = slice_skip(*input, taken);
        first = false;
        if (taken > 0 && content) {
            tell_content(conn, slice_first(piece, taken));
        } else if (taken > 0) {
            tell_line(conn, slice_first(piece, taken));
        }
    }
    return want;
}

bool server_trace_mark(struct server *server, uint32_t *next, uint32_t end, uint8_t bit)
{
    for (; *next < MIN_OF(end, server->conns.fresh); ++*next) {
        if (!pool_is_taken(&server->conns, *next)) {
            continue;
        }
        struct server_conn *conn = pool_at(&server->conns, *next);
        if (conn->state != CONN_AWAY) { /* else it is looked at where it goes */
            conn->traced = (uint8_t)((conn->traced & ~bit) | (wanted(conn) & bit));
        }
    }
    return *next >= server->conns.fresh;
}
