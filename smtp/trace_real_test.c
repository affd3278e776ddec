/*
 * Tracers on real threads while mail goes round: a node that is its own smart host. They come, read
 * or do not, close or break off, and some are there when the node stops, with batches on their way.
 * Under TSan this shows that parts and batches have one owner at a time.
 */
#include "smtp/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/kit/node_rig.h"

#define MESSAGES 16
#define WATCHERS 5 /* places of those that have just gone may not be free yet */
#define ROUNDS   200

struct watcher {
    int fd;
    bool reads;
    uint64_t heard; /* bytes, with the answer to its request */
};

/* A port that nobody has now. */
static unsigned free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static void write_file(const struct node_rig *rig, unsigned port)
{
    FILE *file = fopen(rig->file, "we");
    assert_non_null(file);
    fprintf(file,
            "node = { hostname = \"mta.test\", state_dir = \"state\", shards = %d }\n"
            "spool = { path = \"spool\", segment_size = \"2MiB\", min_free_space = 0 }\n"
            "memory = { staging = \"8MiB\", limit = \"512MiB\" }\nlog = { path = \"log\" }\n"
            "[[http_listener]]\nlisten = \"127.0.0.1:0\"\n"
            "[[smtp_listener]]\nlisten = \"127.0.0.1:%u\"\n"
            "[queues.queue.default]\nprotocol.smtp.mx_list = [\"[127.0.0.1]:%u\"]\n"
            "[shaping.default]\nenable_tls = \"Disabled\"\nconnection_limit = 5\n",
            NODE_RIG_SHARDS, port, port);
    fclose(file);
}

/* The request, and behind it at once what it wants: a masked frame of text, "{}". */
static void watcher_open(struct watcher *watcher, unsigned port, unsigned number)
{
    static const uint8_t filter[] = {0x81, 0x82, 0, 0, 0, 0, '{', '}'};
    char text[512];
    int size = snprintf(text, sizeof(text),
                        "GET /api/admin/trace-smtp-%s/v1 HTTP/1.1\r\nHost: localhost\r\n"
                        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                        number % 2 == 0 ? "server" : "client");
    *watcher = (struct watcher){.fd = node_rig_connect(port), .reads = number % 3 != 0};
    assert_int_equal(send(watcher->fd, text, (size_t)size, 0), size);
    assert_int_equal(send(watcher->fd, filter, sizeof(filter), 0), sizeof(filter));
}

static void watcher_read(struct watcher *watcher)
{
    static char text[64 * KIB];
    ssize_t count = 1;
    while (watcher->reads && count > 0) {
        count = recv(watcher->fd, text, sizeof(text), MSG_DONTWAIT);
        watcher->heard += count > 0 ? (uint64_t)count : 0;
    }
}

/* Closed, or broken off by a reset. */
static void watcher_close(struct watcher *watcher, bool reset)
{
    const struct linger linger = {.l_onoff = 1};
    if (reset) {
        assert_int_equal(
            setsockopt(watcher->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    }
    close(watcher->fd);
}

static void tracers_on_threads_come_and_go_and_are_there_at_a_stop(void **state)
{
    static struct node_rig rig;
    struct watcher watchers[WATCHERS];
    uint64_t heard = 0;
    unsigned port = free_port();
    (void)state;
    node_rig_init(&rig);
    write_file(&rig, port);
    node_rig_start(&rig);
    unsigned http = rig.node.http_bound[0].port;
    for (unsigned i = 0; i < WATCHERS; i++) {
        watcher_open(&watchers[i], http, i);
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        node_rig_submit(port, "u@a.test");
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct watcher *next = &watchers[i % WATCHERS];
        for (unsigned k = 0; k < WATCHERS; k++) {
            watcher_read(&watchers[k]);
        }
        heard += next->heard;
        watcher_close(next, i % 4 == 0);
        watcher_open(next, http, i);
        if (i % (ROUNDS / MESSAGES) == 0) {
            node_rig_submit(port, "u@b.test");
        }
        node_rig_pause_ms(5);
    }
    printf("%llu bytes heard, %llu deliveries\n", (unsigned long long)heard,
           (unsigned long long)node_counter(&rig.node, COUNTER_deliveries));
    assert_true(heard > ROUNDS * 1000);
    assert_true(node_counter(&rig.node, COUNTER_deliveries) > MESSAGES);
    node_rig_close(&rig);
    for (unsigned i = 0; i < WATCHERS; i++) {
        watcher_close(&watchers[i], false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tracers_on_threads_come_and_go_and_are_there_at_a_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
