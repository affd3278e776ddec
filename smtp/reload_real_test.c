/*
 * Reloads on real threads while mail goes round: a node that is its own smart host, so that every
 * message comes back until it has too many Received fields. Under TSan this shows that nothing of a
 * configuration is read by one thread while another one frees it, and that what /metrics and the
 * largest queues are made of has one owner at a time.
 */
#include "smtp/reload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shard/thread.h"
#include "smtp/node.h"

#define SHARDS   2
#define MESSAGES 16
#define RELOADS  120
#define WAIT_MS  120000

struct rig {
    char folder[64];
    char file[96];
    struct conf *conf;
    struct node node;
    struct runner {
        struct rig *rig;
        unsigned index;
    } runners[SHARDS + 1];
    struct thread threads[SHARDS + 1];
};

static void put_line(void *context, struct slice line)
{
    (void)context;
    (void)line;
}

static void run(void *context)
{
    struct runner *runner = context;
    while (!node_finished(&runner->rig->node, runner->index)) {
        node_turn(&runner->rig->node, runner->index, false);
    }
}

/* Number `i`: another limit, banner and rate each time, other hosts of the same place, and every
 * third is a bad one. Without a port nothing is routed. */
static void write_file(const struct rig *rig, unsigned port, unsigned i)
{
    FILE *file = fopen(rig->file, "we");
    assert_non_null(file);
    fprintf(file,
            "node = { hostname = \"mta%u.test\", state_dir = \"state\", shards = %d }\n"
            "spool = { path = \"spool\", segment_size = \"2MiB\", min_free_space = 0 }\n"
            "memory = { staging = \"8MiB\", limit = \"512MiB\" }\nlog = { path = \"log\" }\n"
            "[[http_listener]]\nlisten = \"127.0.0.1:0\"\n"
            "[[smtp_listener]]\nlisten = \"127.0.0.1:0\"\nbanner = \"number %u\"\n"
            "[queues]\nclass_header = \"X-Class-%u\"\n"
            "[queues.queue.default]\nretry_interval = \"1s\"\nmax_message_rate = \"%u/s\"\n",
            i / 5, SHARDS, i, i, 100 + i / 7);
    if (port > 0) {
        fprintf(file, "protocol = { smtp = { mx_list = [{name = \"m%u.test\", "
                "addr = \"127.0.0.1:%u\"}] } }\n", i / 4 % 2, port);
    }
    fprintf(file, "[shaping.default]\nenable_tls = \"Disabled\"\nconnection_limit = %u\n"
            "[shaping.\"%s.test\"]\n%s\n", 1 + i % 5, i % 2 > 0 ? "a" : "b",
            i % 3 == 2 ? "connection_limt = 1" : "");
    fclose(file);
}

static void pause_ms(long ms)
{
    const struct timespec time = {.tv_nsec = ms * 1000000};
    nanosleep(&time, NULL);
}

static void rig_open(struct rig *rig)
{
    char text[4096];
    struct conf_messages messages = {0};
    buf_init(&messages.text, text, sizeof(text));
    snprintf(rig->folder, sizeof(rig->folder), "reload_real.XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    snprintf(rig->file, sizeof(rig->file), "%s/t.toml", rig->folder);
    write_file(rig, 0, 0);
    rig->conf = conf_file_load(rig->file, NULL, 0, &messages);
    assert_non_null(rig->conf);
    const struct node_options options = {
        .conf = rig->conf,
        .conf_file = rig->file,
        .log = {.put = put_line},
        .shards = SHARDS,
        .memory_bytes = rig->conf->memory.limit_bytes,
    };
    assert_int_equal(node_open(&rig->node, &options), 0);
    for (unsigned i = 0; i < node_thread_count(&rig->node); i++) {
        const struct thread_options thread = {.name = "reload"};
        rig->runners[i] = (struct runner){.rig = rig, .index = i};
        assert_int_equal(thread_start(&rig->threads[i], &thread, run, &rig->runners[i]), 0);
    }
    for (unsigned ms = 0; node_state(&rig->node) == NODE_STARTING && ms < WAIT_MS; ms += 10) {
        pause_ms(10);
    }
    assert_int_equal(node_state(&rig->node), NODE_READY);
}

static void rig_close(struct rig *rig)
{
    char command[128];
    node_stop(&rig->node, 1);
    pause_ms(200);
    node_stop(&rig->node, 2);
    for (unsigned i = 0; i < node_thread_count(&rig->node); i++) {
        thread_join(&rig->threads[i]);
    }
    assert_int_equal(node_state(&rig->node), NODE_STOPPED);
    node_close(&rig->node);
    conf_free(rig->conf);
    snprintf(command, sizeof(command), "rm -r %s", rig->folder);
    assert_int_equal(system(command), 0);
}

static uint64_t reloads_done(const struct rig *rig)
{
    return node_counter(&rig->node, COUNTER_reloads) +
           node_counter(&rig->node, COUNTER_reloads_refused);
}

static void reload(struct rig *rig, unsigned port, unsigned i)
{
    uint64_t before = reloads_done(rig);
    write_file(rig, port, i);
    node_reload(&rig->node);
    for (unsigned ms = 0; reloads_done(rig) == before && ms < WAIT_MS; ms++) {
        pause_ms(1);
    }
    assert_int_equal(reloads_done(rig), before + 1);
}

static int connect_to(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* Asks, and hears the answer to its end. */
static void ask(unsigned port, const char *path)
{
    char text[4096];
    char start[16] = "";
    size_t heard = 0;
    int fd = connect_to(port);
    int size = snprintf(text, sizeof(text),
                        "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(send(fd, text, (size_t)size, 0), size);
    for (ssize_t count = 1; count > 0; heard += (size_t)count) {
        count = recv(fd, text, sizeof(text), 0);
        assert_true(count >= 0);
        if (heard < sizeof(start) - 1) {
            memcpy(start + heard, text, MIN_OF((size_t)count, sizeof(start) - 1 - heard));
        }
    }
    assert_int_equal(strncmp(start, "HTTP/1.1 200 ", 13), 0);
    close(fd);
}

/* Says the lines, each after the reply to the one before. */
static void submit(unsigned port, unsigned number)
{
    char reply[512];
    char recipient[64];
    snprintf(recipient, sizeof(recipient), "RCPT TO:<u@%c.test>\r\n", "abc"[number % 3]);
    const char *const lines[] = {"EHLO c.test\r\n", "MAIL FROM:<a@c.test>\r\n", recipient,
                                 "DATA\r\n", "Subject: round\r\n\r\nand round\r\n.\r\n"};
    int fd = connect_to(port);
    for (unsigned i = 0; i < COUNT_OF(lines); i++) {
        assert_true(recv(fd, reply, sizeof(reply), 0) > 0);
        assert_true(reply[0] == '2' || reply[0] == '3');
        assert_int_equal(send(fd, lines[i], strlen(lines[i]), 0), strlen(lines[i]));
    }
    assert_true(recv(fd, reply, sizeof(reply), 0) > 0);
    assert_int_equal(reply[0], '2');
    close(fd);
}

static void reloads_and_questions_on_threads_while_mail_goes_round(void **state)
{
    static struct rig rig;
    (void)state;
    rig_open(&rig);
    unsigned port = rig.node.bound[0].port;
    reload(&rig, port, 1); /* from here on there is a route */
    for (unsigned i = 0; i < MESSAGES; i++) {
        submit(port, i);
    }
    for (unsigned i = 2; i < RELOADS; i++) {
        reload(&rig, port, i);
        ask(rig.node.http_bound[0].port, "/metrics");
        ask(rig.node.http_bound[0].port, "/api/admin/queues/v1?kind=ready");
    }
    uint64_t rounds = node_counter(&rig.node, COUNTER_deliveries);
    printf("%llu deliveries meanwhile\n", (unsigned long long)rounds);
    assert_true(rounds > MESSAGES);
    assert_int_equal(node_counter(&rig.node, COUNTER_reloads_refused), RELOADS / 3);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reloads_and_questions_on_threads_while_mail_goes_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
