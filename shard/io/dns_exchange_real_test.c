/* Questions on io_uring, to a server on loopback that this thread plays between two turns. */
#include "shard/io/dns_exchange.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS_MAX  10000
#define ANSWER_TTL 60
#define PORT_TRIES 100u

struct rig {
    struct shard shard;
    struct shard *peers[1];
    struct metered metered;
    struct dns_servers table;
    struct dns_exchange exchange;
    int udp;
    int listener;
    int tcp; /* -1: nobody has connected */
    bool truncates;
    unsigned asked;
    unsigned asked_by_tcp;
    unsigned calls;
    enum dns_status status;
    struct endpoint address;
};

static void done(struct dns_exchange *exchange, const struct dns_answer *answer)
{
    struct rig *rig = CONTAINER_OF(exchange, struct rig, exchange);
    rig->calls += 1;
    rig->status = answer->status;
    if (answer->status == DNS_OK) {
        rig->address = answer->records[0].address;
    }
}

/* Sockets on one port for both; false: the port of the first is another's for the second. */
static bool same_port(struct rig *rig, struct sockaddr_in *at)
{
    socklen_t size = sizeof(*at);
    (void)close(rig->udp);
    (void)close(rig->listener);
    at->sin_port = 0;
    rig->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(rig->udp, (struct sockaddr *)at, size), 0);
    assert_int_equal(getsockname(rig->udp, (struct sockaddr *)at, &size), 0);
    rig->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return bind(rig->listener, (struct sockaddr *)at, size) == 0;
}

static void servers_open(struct rig *rig)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    rig->tcp = -1;
    rig->udp = -1;
    rig->listener = -1;
    for (unsigned tries = 0; !same_port(rig, &at); tries++) {
        assert_true(tries < PORT_TRIES);
    }
    assert_int_equal(listen(rig->listener, 4), 0);
    assert_true(endpoint_parse_address(SLICE("127.0.0.1"), &rig->table.servers[0]));
    rig->table.servers[0].port = ntohs(at.sin_port);
}

static void servers_close(struct rig *rig)
{
    close(rig->udp);
    close(rig->listener);
    if (rig->tcp >= 0) {
        close(rig->tcp);
    }
}

static struct rig *rig_open(void)
{
    static const struct ring_options ring_options = {
        .submit_entries = 64, .complete_entries = 256, .buffer_count = 16, .buffer_bytes = 1500};
    uint8_t text[256];
    struct buf reason;
    struct ring *ring = NULL;
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    buf_init(&reason, text, sizeof(text));
    assert_int_equal(ring_open(&ring_options, &ring, &reason), 0);
    rig->peers[0] = &rig->shard;
    struct shard_options options = {.count = 1, .ring = ring, .peers = rig->peers};
    assert_int_equal(shard_init(&rig->shard, &options), 0);
    metered_init(&rig->metered, MIB);
    rig->table = (struct dns_servers){.count = 1,
                                      .attempts = 2,
                                      .timeout_ns = 30 * NS_PER_S,
                                      .memory = malloc(DNS_ANSWER_BYTES_MAX),
                                      .metered = &rig->metered};
    assert_non_null(rig->table.memory);
    servers_open(rig);
    return rig;
}

static void rig_close(struct rig *rig)
{
    servers_close(rig);
    free(rig->table.memory);
    metered_fini(&rig->metered);
    shard_fini(&rig->shard);
    free(rig);
}

/* The query becomes its answer: the question stands, 192.0.2.7 behind it. Its size. */
static size_t answer_make(uint8_t *message, size_t size, bool truncated)
{
    static const uint8_t record[16] = {0xc0, 12,  0,   1,  0, 1, 0, 0,
                                       0,    ANSWER_TTL, 0, 4, 192, 0, 2, 7};
    size_t end = DNS_HEAD_BYTES;
    while (end < size && message[end] != 0) {
        end += 1u + message[end];
    }
    end += 5;
    assert_true(end <= size);
    message[2] = truncated ? 0x83 : 0x81;
    message[3] = 0x80;
    message[7] = truncated ? 0 : 1;
    message[11] = 0; /* what EDNS had said is not repeated */
    memcpy(message + end, record, sizeof(record));
    return truncated ? end : end + sizeof(record);
}

static void serve(struct rig *rig)
{
    uint8_t bytes[1024];
    struct sockaddr_in from;
    socklen_t from_size = sizeof(from);
    ssize_t size =
        recvfrom(rig->udp, bytes, 512, 0, (struct sockaddr *)&from, &from_size);
    if (size > 0) {
        size_t answer = answer_make(bytes, (size_t)size, rig->truncates);
        rig->asked += 1;
        assert_int_equal(
            sendto(rig->udp, bytes, answer, 0, (struct sockaddr *)&from, from_size), answer);
    }
    if (rig->tcp < 0) {
        rig->tcp = accept4(rig->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    size = rig->tcp < 0 ? -1 : recv(rig->tcp, bytes, 512, 0);
    if (size > 2) {
        size_t answer = answer_make(bytes + 2, (size_t)size - 2, false);
        rig->asked_by_tcp += 1;
        bytes[0] = (uint8_t)(answer >> 8);
        bytes[1] = (uint8_t)answer;
        /* In two pieces. */
        assert_int_equal(send(rig->tcp, bytes, 1, 0), 1);
        assert_int_equal(send(rig->tcp, bytes + 1, answer + 1, 0), answer + 1);
    }
}

static void ask(struct rig *rig)
{
    struct dns_question question = {.name = SLICE("a.test"), .type = DNS_A};
    rig->calls = 0;
    dns_exchange_start(&rig->exchange, &rig->shard, &rig->table, &question, done);
    for (unsigned i = 0; i < TURNS_MAX && rig->calls == 0; i += 1) {
        serve(rig);
        ring_wake(rig->shard.ring);
        shard_turn(&rig->shard, false);
    }
    assert_int_equal(rig->calls, 1);
}

static void f17_answers_come_by_udp_and_what_was_cut_off_by_tcp(void **state)
{
    (void)state;
    struct rig *rig = rig_open();
    struct endpoint address;
    assert_true(endpoint_parse_address(SLICE("192.0.2.7"), &address));
    ask(rig);
    assert_int_equal(rig->status, DNS_OK);
    assert_true(endpoint_equal(&rig->address, &address));
    assert_int_equal(rig->asked, 1);
    rig->truncates = true;
    memset(&rig->address, 0, sizeof(rig->address));
    ask(rig);
    assert_int_equal(rig->status, DNS_OK);
    assert_true(endpoint_equal(&rig->address, &address));
    assert_int_equal(rig->asked, 2);
    assert_int_equal(rig->asked_by_tcp, 1);
    rig_close(rig);
}

static void f17_where_nobody_is_it_ends_without_waiting(void **state)
{
    (void)state;
    struct rig *rig = rig_open();
    close(rig->udp);
    rig->udp = -1;
    uint64_t begin_ns = rig->shard.now_ns;
    ask(rig);
    assert_int_equal(rig->status, DNS_FAILED);
    assert_int_equal(rig->table.counts.timeouts, 0);
    assert_true(rig->shard.now_ns - begin_ns < rig->table.timeout_ns);
    rig_close(rig);
}

static void f23_without_a_descriptor_it_is_busy_and_goes_on_after(void **state)
{
    (void)state;
    struct rig *rig = rig_open();
    struct rlimit before;
    int lowest = dup(0);
    assert_true(lowest >= 0);
    close(lowest);
    ask(rig); /* what the first one needs once is there */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    ask(rig);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(rig->status, DNS_BUSY);
    ask(rig);
    assert_int_equal(rig->status, DNS_OK);
    int now_lowest = dup(0);
    assert_int_equal(now_lowest, lowest); /* none was left open */
    close(now_lowest);
    rig_close(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f17_answers_come_by_udp_and_what_was_cut_off_by_tcp),
        cmocka_unit_test(f17_where_nobody_is_it_ends_without_waiting),
        cmocka_unit_test(f23_without_a_descriptor_it_is_busy_and_goes_on_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
