#include "tests/kit/name_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

#define ALIASES_MAX   20
#define MESSAGE_BYTES (64 * KIB - 1)
#define NO_TTL_S      60

enum {
    FLAG_RESPONSE = 0x8000,
    FLAG_TRUNCATED = 0x0200,
    FLAG_RECURSIVE = 0x0180,
    FLAG_SECURE = 0x20,
};
enum { RCODE_FORMERR = 1, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, RCODE_REFUSED = 5 };

/* A line of the zone. */
struct line {
    char name[256];
    unsigned ttl_s;
    enum dns_type type;
    char data[512];
};

/* What is being answered. */
struct query {
    struct slice message;
    uint16_t id;
    size_t question_bytes; /* from the head on */
    char name[256];
    enum dns_type type;
    bool plain;            /* without EDNS */
};

/* --- the zone --------------------------------------------------------------------------------- */

/* The next line, or null at the end. */
static const char *line_next(const char *at, struct line *line_out)
{
    char type[16];
    while (*at == '\n' || *at == ' ') {
        at += 1;
    }
    if (*at == '\0') {
        return NULL;
    }
    line_out->data[0] = '\0';
    int fields = sscanf(at, "%255s %u %15s %511[^\n]", line_out->name, &line_out->ttl_s, type,
                        line_out->data);
    CHECK(fields >= 3);
    CHECK(dns_type_parse(slice_from_string(type), &line_out->type));
    const char *end = strchr(at, '\n');
    return end == NULL ? at + strlen(at) : end;
}

static bool zone_has(const struct name_server *server, const char *name)
{
    struct line line;
    for (const char *at = server->zone; (at = line_next(at, &line)) != NULL;) {
        if (strcmp(line.name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void put_u16(struct buf *buf, unsigned value)
{
    buf_put_byte(buf, (uint8_t)(value >> 8));
    buf_put_byte(buf, (uint8_t)value);
}

static void put_name(struct buf *buf, const char *name)
{
    while (*name != '\0' && strcmp(name, ".") != 0) {
        size_t size = strcspn(name, ".");
        buf_put_byte(buf, (uint8_t)size);
        buf_put(buf, slice_make(name, size));
        name += size + (name[size] == '.');
    }
    buf_put_byte(buf, 0);
}

static void put_data(struct buf *buf, const struct line *line)
{
    struct endpoint endpoint;
    char name[256];
    unsigned preference = 0;
    switch (line->type) {
    case DNS_A:
    case DNS_AAAA:
        CHECK(endpoint_parse_address(slice_from_string(line->data), &endpoint));
        buf_put(buf, line->type == DNS_A ? slice_make(endpoint.address + 12, 4)
                                         : slice_make(endpoint.address, 16));
        break;
    case DNS_MX:
        CHECK(sscanf(line->data, "%u %255s", &preference, name) == 2);
        put_u16(buf, preference);
        put_name(buf, name);
        break;
    case DNS_CNAME:
    case DNS_PTR:
        put_name(buf, line->data);
        break;
    case DNS_TXT:
        buf_put_byte(buf, (uint8_t)strlen(line->data));
        buf_put_string(buf, line->data);
        break;
    case DNS_SOA:
    case DNS_TLSA:
        CHECK(false);
        break;
    }
}

static void put_record(struct buf *buf, const struct line *line)
{
    put_name(buf, line->name);
    put_u16(buf, line->type);
    put_u16(buf, 1);
    put_u16(buf, line->ttl_s >> 16);
    put_u16(buf, line->ttl_s);
    size_t at = buf->size;
    put_u16(buf, 0);
    put_data(buf, line);
    size_t size = buf->size - at - 2;
    buf->data[at] = (uint8_t)(size >> 8);
    buf->data[at + 1] = (uint8_t)size;
}

/* The authority of a no (RFC 2308 2). */
static void put_authority(struct buf *buf)
{
    put_name(buf, "test");
    put_u16(buf, DNS_SOA);
    put_u16(buf, 1);
    put_u16(buf, 0);
    put_u16(buf, NO_TTL_S);
    put_u16(buf, 1 + 1 + 20);
    put_name(buf, "");
    put_name(buf, "");
    for (unsigned i = 0; i < 5; i += 1) {
        put_u16(buf, 0);
        put_u16(buf, NO_TTL_S);
    }
}

/* Records of the name, through its aliases; their count. `rcode_out` is that of the last name. */
static unsigned put_answers(const struct name_server *server, struct buf *buf,
                            const struct query *query, unsigned *rcode_out)
{
    char name[512];
    unsigned count = 0;
    snprintf(name, sizeof(name), "%s", query->name);
    for (unsigned i = 0; i < ALIASES_MAX; i += 1) {
        struct line line;
        char alias[512] = "";
        for (const char *at = server->zone; (at = line_next(at, &line)) != NULL;) {
            bool is_alias = line.type == DNS_CNAME;
            if (strcmp(line.name, name) == 0 && (is_alias || line.type == query->type)) {
                put_record(buf, &line);
                count += 1;
                snprintf(alias, sizeof(alias), "%s", is_alias ? line.data : "");
            }
        }
        *rcode_out = zone_has(server, name) ? 0 : RCODE_NXDOMAIN;
        if (alias[0] == '\0') {
            break;
        }
        snprintf(name, sizeof(name), "%s", alias);
    }
    return count;
}

static void put_head(struct buf *buf, unsigned id, unsigned flags, unsigned questions,
                     unsigned answers)
{
    put_u16(buf, id);
    put_u16(buf, FLAG_RESPONSE | FLAG_RECURSIVE | flags);
    put_u16(buf, questions);
    put_u16(buf, answers);
    put_u16(buf, 0);
    put_u16(buf, 0);
}

static struct slice question_of(const struct query *query)
{
    return slice_make(query->message.data + DNS_HEAD_BYTES, query->question_bytes);
}

static void put_question(struct buf *buf, const struct query *query)
{
    buf_put(buf, question_of(query));
}

static void put_flags(struct buf *buf, unsigned flags)
{
    buf->data[3] |= (uint8_t)flags;
}

/* The truth. */
static void put_answer(const struct name_server *server, struct buf *buf,
                       const struct query *query)
{
    unsigned rcode = 0;
    put_head(buf, query->id, server->secure ? FLAG_SECURE : 0, 1, 0);
    put_question(buf, query);
    unsigned count = put_answers(server, buf, query, &rcode);
    buf->data[6] = (uint8_t)(count >> 8);
    buf->data[7] = (uint8_t)count;
    put_flags(buf, rcode);
    if (count == 0 || rcode != 0) {
        buf->data[9] = 1;
        put_authority(buf);
    }
    CHECK(!buf->overflow);
}

/* --- hearing ---------------------------------------------------------------------------------- */

static bool query_read(struct slice message, struct query *query)
{
    struct buf name;
    *query = (struct query){.message = message};
    buf_init(&name, query->name, sizeof(query->name) - 1);
    if (message.size < DNS_HEAD_BYTES + 5) {
        return false;
    }
    query->id = (uint16_t)(message.data[0] << 8 | message.data[1]);
    size_t at = DNS_HEAD_BYTES;
    while (at < message.size && message.data[at] != 0) {
        size_t size = message.data[at];
        if (at + 1 + size >= message.size) {
            return false;
        }
        if (name.size > 0) {
            buf_put_byte(&name, '.');
        }
        buf_put(&name, slice_make(message.data + at + 1, size));
        at += 1 + size;
    }
    if (at + 5 > message.size || name.overflow) {
        return false;
    }
    query->name[name.size] = '\0';
    query->type = (enum dns_type)(message.data[at + 1] << 8 | message.data[at + 2]);
    query->question_bytes = at + 5 - DNS_HEAD_BYTES;
    query->plain = message.data[10] == 0 && message.data[11] == 0;
    return true;
}

/* An answer by UDP that waits. */
struct delayed {
    struct name_server *server;
    struct endpoint to;
    size_t size;
    uint8_t bytes[];
};

static void delayed_send(void *context)
{
    struct delayed *delayed = context;
    sim_udp_send(delayed->server->sim, &delayed->server->endpoint, &delayed->to,
                 slice_make(delayed->bytes, delayed->size));
    free(delayed);
}

static void say(struct name_server *server, const struct endpoint *to, struct slice bytes)
{
    if (server->delay_ns == 0) {
        sim_udp_send(server->sim, &server->endpoint, to, bytes);
        return;
    }
    struct delayed *delayed = malloc(sizeof(*delayed) + bytes.size);
    CHECK(delayed != NULL);
    *delayed = (struct delayed){.server = server, .to = *to, .size = bytes.size};
    if (bytes.size > 0) {
        memcpy(delayed->bytes, bytes.data, bytes.size);
    }
    sim_after(server->sim, server->delay_ns, delayed_send, delayed);
}

/* Another id; the name of the question with another letter; no response; nothing at all. */
static void lie(struct name_server *server, const struct query *query, const struct endpoint *to)
{
    uint8_t memory[1024];
    struct buf buf;
    for (unsigned i = 0; i < 4; i += 1) {
        buf_init(&buf, memory, sizeof(memory));
        put_head(&buf, query->id + (i == 0 ? 1u : 0u), 0, 1, 0);
        put_question(&buf, query);
        if (i == 1) {
            memory[DNS_HEAD_BYTES + 1] ^= 1;
        } else if (i == 2) {
            memory[2] &= 0x7f;
        }
        say(server, to, i == 3 ? SLICE_NONE : buf_slice(&buf));
    }
}

static void answer_udp(struct name_server *server, const struct query *query,
                       const struct endpoint *to)
{
    static uint8_t memory[MESSAGE_BYTES];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    switch (server->mood) {
    case NAME_SERVER_DEAD:
        return;
    case NAME_SERVER_LIES:
        lie(server, query, to);
        return;
    case NAME_SERVER_JESTS:
        lie(server, query, to);
        put_answer(server, &buf, query);
        break;
    case NAME_SERVER_WORKS:
        put_answer(server, &buf, query);
        break;
    case NAME_SERVER_PLAIN:
    case NAME_SERVER_PUZZLED:
        if (query->plain && server->mood == NAME_SERVER_PLAIN) {
            put_answer(server, &buf, query);
        } else { /* some give the question back, others have understood nothing */
            put_head(&buf, query->id, RCODE_FORMERR, server->asked % 2, 0);
            buf_put(&buf, server->asked % 2 == 0 ? SLICE_NONE : question_of(query));
        }
        break;
    case NAME_SERVER_FAILS:
        put_head(&buf, query->id, RCODE_SERVFAIL, 1, 0);
        put_question(&buf, query);
        break;
    case NAME_SERVER_REFUSES:
        put_head(&buf, query->id, RCODE_REFUSED, 0, 0);
        break;
    case NAME_SERVER_BABBLES:
        put_head(&buf, query->id, 0, 1, 7);
        put_question(&buf, query);
        buf_put_string(&buf, "\xc0\x0c and so on");
        break;
    case NAME_SERVER_TRUNCATES:
    case NAME_SERVER_HANGS_UP:
        put_head(&buf, query->id, FLAG_TRUNCATED, 1, 0);
        put_question(&buf, query);
        break;
    }
    say(server, to, buf_slice(&buf));
}

static void heard(struct sim_udp *udp, const struct endpoint *from, struct slice bytes,
                  void *context)
{
    struct name_server *server = context;
    struct query query;
    (void)udp;
    server->asked += 1;
    server->last_port = from->port;
    if (!query_read(bytes, &query)) {
        sim_fail(server->sim, "a query that cannot be read");
        return;
    }
    server->last_id = query.id;
    server->asked_plainly += query.plain;
    answer_udp(server, &query, from);
}

static void answer_tcp(struct name_server *server, struct sim_peer *peer, struct slice bytes)
{
    static uint8_t memory[2 + MESSAGE_BYTES];
    struct query query;
    struct buf buf;
    if (!query_read(bytes, &query)) {
        sim_fail(server->sim, "a query that cannot be read");
        return;
    }
    server->asked += 1;
    server->asked_by_tcp += 1;
    buf_init(&buf, memory + 2, MESSAGE_BYTES);
    put_answer(server, &buf, &query);
    memory[0] = (uint8_t)(buf.size >> 8);
    memory[1] = (uint8_t)buf.size;
    size_t size = 2 + buf.size;
    if (server->mood == NAME_SERVER_HANGS_UP) {
        sim_peer_send(peer, slice_make(memory, size / 2));
        sim_peer_close(peer);
    } else {
        sim_peer_send(peer, slice_make(memory, size));
    }
}

static void peer_event(struct sim_peer *peer, void *context)
{
    struct name_server *server = context;
    struct slice input = sim_peer_input(peer);
    size_t size = input.size < 2 ? 0 : (size_t)(input.data[0] << 8 | input.data[1]);
    if (input.size >= 2 && input.size >= 2 + size) {
        uint8_t bytes[512];
        CHECK(size <= sizeof(bytes));
        memcpy(bytes, input.data + 2, size);
        sim_peer_consume(peer, 2 + size);
        answer_tcp(server, peer, slice_make(bytes, size));
    } else if (sim_peer_state(peer) == SIM_PEER_EOF) {
        sim_peer_close(peer);
    }
}

void name_server_open(struct name_server *server, struct sim *sim,
                      const struct endpoint *endpoint, const char *zone)
{
    *server = (struct name_server){.sim = sim, .endpoint = *endpoint, .zone = zone};
    server->udp = sim_udp_open(sim, endpoint, heard, server);
    server->listener = sim_peer_listen(sim, endpoint, peer_event, server);
}
