/*
 * HTTP on real rings and threads: connections that go to and fro between the TSA shard and two mail
 * shards with every request, some broken off in the middle. Every request is answered by a thread
 * that it belongs to; afterwards no descriptor, memory or wake is lost.
 */
#include "shard/io/http_server.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#include "shard/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define MAILS   2
#define TSA     MAILS
#define PARTIES (MAILS + 1)
#define CLIENTS 16
#define ROUNDS  300
#define H       "Host: localhost\r\n"
#define J       "Content-Type: application/json\r\n"

struct party {
    struct shard shard;
    struct thread thread;
    struct http_server server;
    struct boot_pages pages;
    bool stopped;
    _Atomic bool over;
    unsigned handled; /* of this thread alone, until it has ended */
};

static struct party parties[PARTIES];
static struct shard *peers[PARTIES];
static struct http_server *mails[MAILS];
static _Atomic bool stopping;

/* Who answers: 't' or 'm'. */
static void handle(struct http_exchange *exchange)
{
    struct party *party = exchange->context;
    party->handled++;
    bool tsa = exchange->shard->index == TSA;
    http_answer(exchange, 200, SLICE("text/plain"), tsa ? SLICE("t") : SLICE("m"));
}

static const struct http_route routes[] = {
    {"/tsa", HTTP_METHOD_GET, HTTP_ON_TSA_SHARD, HTTP_CARRIES_NOTHING, 0, false, handle},
    {"/mail", HTTP_METHOD_POST, HTTP_ON_MAIL_SHARD, HTTP_CARRIES_JSON, 0, false, handle},
};

static bool all_over(void)
{
    bool over = true;
    for (unsigned i = 0; i < PARTIES; i++) {
        over = over && atomic_load(&parties[i].over);
    }
    return over;
}

static void party_run(void *context)
{
    struct party *party = context;
    do {
        shard_turn(&party->shard, false);
        http_server_set_takes(&party->server, true);
        if (atomic_load(&stopping) && !party->stopped) {
            party->stopped = true;
            http_server_stop(&party->server);
            http_server_cut(&party->server);
        }
        atomic_store(&party->over, party->stopped && http_server_open(&party->server) == 0);
    } while (!all_over());
}

static void party_open(unsigned index, const struct conf *conf)
{
    static const struct ring_options rings = {
        .submit_entries = 64, .complete_entries = 1024, .buffer_count = 32, .buffer_bytes = 512};
    struct party *party = &parties[index];
    struct shard_options shard = {.index = index, .count = PARTIES, .peers = peers};
    char text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    peers[index] = &party->shard;
    assert_int_equal(ring_open(&rings, &shard.ring, &reason), 0);
    assert_int_equal(shard_init(&party->shard, &shard), 0);
    const struct http_options options = {
        .shard = &party->shard,
        .conf = conf,
        .routes = routes,
        .route_count = COUNT_OF(routes),
        .context = party,
        .tsa = &parties[TSA].server,
        .mails = mails,
        .mail_count = MAILS,
        .connections_max = 8 * CLIENTS, /* those whose clients have gone are noticed later */
        .memory_max = MIB,
        .pages = &party->pages,
    };
    http_server_init(&party->server, &options);
    http_server_set_takes(&party->server, true);
    if (index < MAILS) {
        mails[index] = &party->server;
    }
}

/* --- clients, all of them this thread --------------------------------------------------------- */

static int client_open(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_sec = 60};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static void client_say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The next answer says who made it. */
static void client_hears(int fd, char who)
{
    char text[1024];
    size_t size = 0;
    do {
        assert_int_equal(recv(fd, text + size, 1, 0), 1);
        text[++size] = '\0';
        assert_true(size < sizeof(text) - 1);
    } while (size < 4 || strcmp(text + size - 4, "\r\n\r\n") != 0);
    assert_memory_equal(text, "HTTP/1.1 200 ", 13);
    assert_int_equal(recv(fd, text, 1, 0), 1);
    assert_int_equal(text[0], who);
}

static const char to_tsa[] = "GET /tsa HTTP/1.1\r\n" H "\r\n";
static const char to_mail[] = "POST /mail HTTP/1.1\r\n" H J "Content-Length: 2\r\n\r\n{}";

/* Requests sent ahead for both kinds of thread; one client in eight goes away instead. */
static void clients_run(uint16_t port)
{
    int clients[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(port);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < CLIENTS; i++) {
            client_say(clients[i], to_tsa);
            client_say(clients[i], to_mail);
            client_say(clients[i], (round + i) % 2 == 0 ? to_mail : to_tsa);
        }
        for (unsigned i = 0; i < CLIENTS; i++) {
            if ((round + i) % 8 == 7) {
                assert_int_equal(close(clients[i]), 0);
                clients[i] = client_open(port);
                continue;
            }
            client_hears(clients[i], 't');
            client_hears(clients[i], 'm');
            client_hears(clients[i], (round + i) % 2 == 0 ? 'm' : 't');
        }
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(close(clients[i]), 0);
    }
}

static unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

static void party_check(struct party *party)
{
    const struct counters *counters = &party->shard.counters;
    assert_int_equal(http_server_memory(&party->server), 0);
    assert_int_equal(counters_get(counters, COUNTER_lost_wakeups), 0);
    /* Only one whose client has gone may meet the stop on its way between threads. */
    assert_true(counters_get(counters, COUNTER_http_turned_away) <= CLIENTS);
    assert_int_equal(ring_buffers_held(party->shard.ring), 0);
    assert_int_equal(party->shard.timers.count, 0);
    assert_true(party->handled > ROUNDS);
}

static void connections_go_to_and_fro_between_threads_and_nothing_is_left(void **state)
{
    (void)state;
    struct network loopback;
    struct conf_http_listener listener = {.trusted_hosts = &loopback, .trusted_host_count = 1};
    struct conf conf = {.http_listeners = &listener, .http_listener_count = 1};
    struct endpoint bound;
    char text[64];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    assert_true(network_parse(SLICE("127.0.0.1"), &loopback));
    assert_true(endpoint_parse(SLICE("127.0.0.1:0"), 0, &listener.listen));
    listener.request_body_limit = KIB;
    unsigned before = descriptors();
    for (unsigned i = 0; i < PARTIES; i++) {
        party_open(i, &conf);
    }
    unsigned open = descriptors();
    assert_int_equal(http_server_start(&parties[TSA].server, &bound, &reason), 0);
    for (unsigned i = 0; i < PARTIES; i++) {
        const struct thread_options options = {.name = "party"};
        assert_int_equal(thread_start(&parties[i].thread, &options, party_run, &parties[i]), 0);
    }
    clients_run(bound.port);
    atomic_store(&stopping, true);
    for (unsigned i = 0; i < PARTIES; i++) {
        thread_join(&parties[i].thread);
    }
    assert_int_equal(descriptors(), open);
    for (unsigned i = 0; i < PARTIES; i++) {
        party_check(&parties[i]);
        shard_fini(&parties[i].shard);
        boot_pages_give(&parties[i].pages);
    }
    assert_int_equal(descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_go_to_and_fro_between_threads_and_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
