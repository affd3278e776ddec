#include "tests/kit/node_rig.h"

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

#define WAIT_MS 120000

static void put_line(void *context, struct slice line)
{
    (void)context;
    (void)line;
}

static void run(void *context)
{
    struct node_rig_runner *runner = context;
    while (!node_finished(&runner->rig->node, runner->index)) {
        node_turn(&runner->rig->node, runner->index, false);
    }
}

void node_rig_pause_ms(long ms)
{
    const struct timespec time = {.tv_nsec = ms * 1000000};
    nanosleep(&time, NULL);
}

void node_rig_init(struct node_rig *rig)
{
    snprintf(rig->folder, sizeof(rig->folder), "node_rig.XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    snprintf(rig->file, sizeof(rig->file), "%s/t.toml", rig->folder);
}

void node_rig_start(struct node_rig *rig)
{
    char text[4096];
    struct conf_messages messages = {0};
    buf_init(&messages.text, text, sizeof(text));
    rig->conf = conf_file_load(CONF_MTA, rig->file, NULL, 0, &messages);
    assert_non_null(rig->conf);
    const struct node_options options = {
        .conf = rig->conf,
        .conf_file = rig->file,
        .log = {.put = put_line},
        .shards = NODE_RIG_SHARDS,
        .memory_bytes = rig->conf->memory.limit_bytes,
    };
    assert_int_equal(node_open(&rig->node, &options), 0);
    for (unsigned i = 0; i < node_thread_count(&rig->node); i++) {
        const struct thread_options thread = {.name = "rig"};
        rig->runners[i] = (struct node_rig_runner){.rig = rig, .index = i};
        assert_int_equal(thread_start(&rig->threads[i], &thread, run, &rig->runners[i]), 0);
    }
    for (unsigned ms = 0; node_state(&rig->node) == NODE_STARTING && ms < WAIT_MS; ms += 10) {
        node_rig_pause_ms(10);
    }
    assert_int_equal(node_state(&rig->node), NODE_READY);
}

void node_rig_close(struct node_rig *rig)
{
    char command[128];
    node_stop(&rig->node, 1);
    node_rig_pause_ms(200);
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

int node_rig_connect(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

void node_rig_submit(unsigned port, const char *recipient)
{
    char reply[512];
    char rcpt[128];
    snprintf(rcpt, sizeof(rcpt), "RCPT TO:<%s>\r\n", recipient);
    const char *const lines[] = {"EHLO c.test\r\n", "MAIL FROM:<a@c.test>\r\n", rcpt, "DATA\r\n",
                                 "Subject: round\r\n\r\nand round\r\n.\r\n"};
    int fd = node_rig_connect(port);
    for (unsigned i = 0; i < COUNT_OF(lines); i++) {
        assert_true(recv(fd, reply, sizeof(reply), 0) > 0);
        assert_true(reply[0] == '2' || reply[0] == '3');
        assert_int_equal(send(fd, lines[i], strlen(lines[i]), 0), strlen(lines[i]));
    }
    assert_true(recv(fd, reply, sizeof(reply), 0) > 0);
    assert_int_equal(reply[0], '2');
    close(fd);
}
