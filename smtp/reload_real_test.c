/*
 * Reloads on real threads while mail goes round: a node that is its own smart host, so that every
 * message comes back until it has too many Received fields. Under TSan this shows that nothing of a
 * configuration is read by one thread while another one frees it, rules of automation and what they
 * set included, and that what /metrics and the largest queues are made of has one owner at a time.
 */
#include "smtp/reload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/kit/node_rig.h"

#define MESSAGES 16
#define RELOADS  120
#define WAIT_MS  120000

/* Number `i`: another limit, banner and rate each time, other hosts of the same place, and every
 * third is a bad one. Without a port nothing is routed. */
static void write_file(const struct node_rig *rig, unsigned port, unsigned i)
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
            i / 5, NODE_RIG_SHARDS, i, i, 100 + i / 7);
    if (port > 0) {
        fprintf(file, "protocol = { smtp = { mx_list = [{name = \"m%u.test\", "
                "addr = \"127.0.0.1:%u\"}] } }\n", i / 4 % 2, port);
    }
    fprintf(file, "[shaping.default]\nenable_tls = \"Disabled\"\nconnection_limit = %u\n"
            "[shaping.\"%s.test\"]\n%s\n", 1 + i % 5, i % 2 > 0 ? "a" : "b",
            i % 3 == 2 ? "connection_limt = 1" : "");
    fprintf(file, "[[shaping.default.automation]]\nregex = \"OK ids=|number %u\"\n"
            "action = [\"SuspendTenant\", {SetDomainConfig = {name = \"max_ready\", value = %u}}]\n"
            "duration = \"1s\"\n", i / 4, 500 + i / 4);
    fclose(file);
}

static uint64_t reloads_done(const struct node_rig *rig)
{
    return node_counter(&rig->node, COUNTER_reloads) +
           node_counter(&rig->node, COUNTER_reloads_refused);
}

static void reload(struct node_rig *rig, unsigned port, unsigned i)
{
    uint64_t before = reloads_done(rig);
    write_file(rig, port, i);
    node_reload(&rig->node);
    for (unsigned ms = 0; reloads_done(rig) == before && ms < WAIT_MS; ms++) {
        node_rig_pause_ms(1);
    }
    assert_int_equal(reloads_done(rig), before + 1);
}

/* Asks, and hears the answer to its end. */
static void ask(unsigned port, const char *path)
{
    char text[4096];
    char start[16] = "";
    size_t heard = 0;
    int fd = node_rig_connect(port);
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

static void reloads_and_questions_on_threads_while_mail_goes_round(void **state)
{
    static struct node_rig rig;
    (void)state;
    node_rig_init(&rig);
    write_file(&rig, 0, 0);
    node_rig_start(&rig);
    unsigned port = rig.node.bound[0].port;
    reload(&rig, port, 1); /* from here on there is a route */
    for (unsigned i = 0; i < MESSAGES; i++) {
        static const char *const names[] = {"u@a.test", "u@b.test", "u@c.test"};
        node_rig_submit(port, names[i % COUNT_OF(names)]);
    }
    for (unsigned i = 2; i < RELOADS; i++) {
        reload(&rig, port, i);
        ask(rig.node.http_bound[0].port, "/metrics");
        ask(rig.node.http_bound[0].port, "/api/admin/queues/v1?kind=ready");
        ask(rig.node.http_bound[0].port, "/api/admin/tsa/v1");
    }
    uint64_t rounds = node_counter(&rig.node, COUNTER_deliveries);
    printf("%llu deliveries meanwhile\n", (unsigned long long)rounds);
    assert_true(rounds > MESSAGES);
    assert_true(node_counter(&rig.node, COUNTER_automation_begun) > 0);
    assert_int_equal(node_counter(&rig.node, COUNTER_reloads_refused), RELOADS / 3);
    node_rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reloads_and_questions_on_threads_while_mail_goes_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
