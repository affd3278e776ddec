#include "tools/endpoint_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct endpoint_limits limits = {.connect_ms = 20000, .total_ms = 20000};

struct rig {
    int listener;
    pid_t server; /* a child; 0: none */
    char endpoint[64];
};

static void rig_init(struct rig *rig)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    *rig = (struct rig){.listener = socket(AF_INET, SOCK_STREAM, 0)};
    assert_true(rig->listener >= 0);
    assert_int_equal(bind(rig->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(rig->listener, 8), 0);
    assert_int_equal(getsockname(rig->listener, (struct sockaddr *)&address, &size), 0);
    snprintf(rig->endpoint, sizeof(rig->endpoint), "http://127.0.0.1:%u",
             (unsigned)ntohs(address.sin_port));
}

static void rig_fini(struct rig *rig)
{
    if (rig->server > 0) {
        (void)kill(rig->server, SIGKILL);
        assert_int_equal(waitpid(rig->server, NULL, 0), rig->server);
    }
    close(rig->listener);
}

/* Answers one request with these bytes, `repeat` times; null: with silence. */
static void serve(struct rig *rig, const char *answer, unsigned repeat)
{
    rig->server = fork();
    if (rig->server != 0) {
        assert_true(rig->server > 0);
        return;
    }
    char request[8192];
    size_t size = 0;
    int client = accept(rig->listener, NULL, NULL);
    while (size < sizeof(request) && memmem(request, size, "\r\n\r\n", 4) == NULL) {
        ssize_t got = recv(client, request + size, sizeof(request) - size, 0);
        if (got <= 0) {
            _exit(1);
        }
        size += (size_t)got;
    }
    for (unsigned i = 0; answer != NULL && i < repeat; i++) {
        (void)send(client, answer, strlen(answer), MSG_NOSIGNAL);
    }
    if (answer == NULL) {
        pause();
    }
    _exit(0);
}

static enum endpoint_state finish(struct endpoint_client *client)
{
    enum endpoint_state state;
    do {
        state = endpoint_client_turn(client, 100, -1);
    } while (state == ENDPOINT_PENDING);
    return state;
}

static void an_answer_has_its_status_and_its_bytes(void **state)
{
    struct rig rig;
    (void)state;
    rig_init(&rig);
    struct endpoint_client *client = endpoint_client_open(rig.endpoint, limits);
    assert_non_null(client);
    serve(&rig, "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnothing", 1);
    endpoint_client_start(client, "GET", "/x", NULL);
    assert_int_equal(finish(client), ENDPOINT_ANSWERED);
    assert_int_equal(endpoint_client_status(client), 404);
    assert_true(slice_equal(endpoint_client_answer(client), SLICE("nothing")));
    endpoint_client_close(client);
    rig_fini(&rig);
}

static void failures_are_told_in_a_line(void **state)
{
    static const struct {
        const char *answer;
        const char *said;
        unsigned repeat;
    } cases[] = {
        {"", "before its answer was whole", 1},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "before its answer was whole", 1},
        {"220 mta.test ESMTP\r\n", "does not speak HTTP", 1},
        {NULL, "has not answered in time", 1},
    };
    const struct endpoint_limits short_limits = {.connect_ms = 20000, .total_ms = 200};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rig rig;
        rig_init(&rig);
        struct endpoint_client *client =
            endpoint_client_open(rig.endpoint, cases[i].answer == NULL ? short_limits : limits);
        assert_non_null(client);
        serve(&rig, cases[i].answer, cases[i].repeat);
        endpoint_client_start(client, "GET", "/x", NULL);
        assert_int_equal(finish(client), ENDPOINT_FAILED);
        if (strstr(endpoint_client_reason(client), cases[i].said) == NULL) {
            fail_msg("%s", endpoint_client_reason(client));
        }
        assert_true(endpoint_client_was_sent(client));
        endpoint_client_close(client);
        rig_fini(&rig);
    }
}

static void an_answer_without_end_is_refused(void **state)
{
    enum { PIECE = 64 * 1024 };
    struct rig rig;
    char *piece = malloc(PIECE + 1);
    (void)state;
    assert_non_null(piece);
    rig_init(&rig);
    struct endpoint_client *client = endpoint_client_open(rig.endpoint, limits);
    assert_non_null(client);
    int head = snprintf(piece, PIECE, "HTTP/1.1 200 OK\r\n\r\n");
    memset(piece + head, 'x', (size_t)(PIECE - head));
    piece[PIECE] = 0;
    serve(&rig, piece, ENDPOINT_ANSWER_BYTES_MAX / PIECE + 10);
    endpoint_client_start(client, "GET", "/x", NULL);
    assert_int_equal(finish(client), ENDPOINT_FAILED);
    assert_non_null(strstr(endpoint_client_reason(client), "is larger than 32 MiB"));
    endpoint_client_close(client);
    rig_fini(&rig);
    free(piece);
}

static void a_server_that_is_not_there_is_said_to_be_so(void **state)
{
    struct rig rig;
    (void)state;
    rig_init(&rig);
    struct endpoint_client *client = endpoint_client_open(rig.endpoint, limits);
    assert_non_null(client);
    rig_fini(&rig);
    for (unsigned i = 0; i < 2; i++) { /* and asked again */
        endpoint_client_start(client, "GET", "/x", NULL);
        assert_int_equal(finish(client), ENDPOINT_FAILED);
        assert_non_null(strstr(endpoint_client_reason(client), "nobody listens on 127.0.0.1:"));
        assert_non_null(strstr(endpoint_client_reason(client), "is ringpostd running?"));
        assert_false(endpoint_client_was_sent(client));
    }
    endpoint_client_close(client);
}

static void waiting_ends_when_the_terminal_has_something(void **state)
{
    struct rig rig;
    int pipe_ends[2];
    (void)state;
    rig_init(&rig);
    assert_int_equal(pipe(pipe_ends), 0);
    struct endpoint_client *client = endpoint_client_open(rig.endpoint, limits);
    assert_non_null(client);
    serve(&rig, NULL, 1);
    endpoint_client_start(client, "GET", "/x", NULL);
    assert_int_equal(write(pipe_ends[1], "q", 1), 1);
    /* Were it not looked at, this would last longer than a test may. */
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(endpoint_client_turn(client, 10 * 60 * 1000, pipe_ends[0]),
                         ENDPOINT_PENDING);
    }
    endpoint_client_close(client); /* in the middle of it */
    rig_fini(&rig);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void parameters_are_encoded(void **state)
{
    uint8_t bytes[128];
    struct buf path;
    (void)state;
    buf_init(&path, bytes, sizeof(bytes));
    buf_put_string(&path, "/p");
    endpoint_put_parameter(&path, "queue", SLICE("c:t@b\xc3\xbc.test!r&x=1 #/"));
    endpoint_put_parameter(&path, "limit", SLICE("5"));
    assert_true(slice_equal(buf_slice(&path), SLICE("/p?queue=c%3at%40b%c3%bc.test%21r%26x%3d1%20"
                                                    "%23%2f&limit=5")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_its_status_and_its_bytes),
        cmocka_unit_test(failures_are_told_in_a_line),
        cmocka_unit_test(an_answer_without_end_is_refused),
        cmocka_unit_test(a_server_that_is_not_there_is_said_to_be_so),
        cmocka_unit_test(waiting_ends_when_the_terminal_has_something),
        cmocka_unit_test(parameters_are_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
