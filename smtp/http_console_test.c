/* The files of the console, as a whole node in the simulator serves them. */
#include "smtp/http_console.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "shard/queue/hold.h"
#include "smtp/http_routes.h"
#include "tests/kit/http_client.h"
#include "tests/kit/stage.h"

#define PLAIN_BYTES (256 * KIB)
#define GZIP        "Accept-Encoding: gzip, deflate, br\r\n"

static struct stage stage;
/* Too large for a stack. */
static struct http_client client;
static char unpacked[PLAIN_BYTES];

static int set_up(void **state)
{
    const struct endpoint http = sim_endpoint(1, 8000);
    (void)state;
    stage_open(&stage, 1);
    stage_start(&stage);
    http_client_open(&client, stage.sim, STAGE_CLIENT, &http);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_client_close(&client);
    return stage_close(&stage) ? 0 : 1;
}

static void say(const char *method, const char *path, const char *fields)
{
    char request[512];
    (void)snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: 10.0.0.1\r\n%s\r\n", method,
                   path, fields);
    http_client_say(&client, request);
}

static unsigned ask(const char *path, const char *fields)
{
    say("GET", path, fields);
    return http_client_hear(&client);
}

static void assert_field(const char *line)
{
    char whole[512];
    (void)snprintf(whole, sizeof(whole), "\r\n%s\r\n", line);
    if (strstr(client.head, whole) == NULL) {
        fail_msg("no \"%s\" in:\n%s", line, client.head);
    }
}

static void assert_no_field(const char *name)
{
    char begin[64];
    (void)snprintf(begin, sizeof(begin), "\r\n%s:", name);
    assert_null(strstr(client.head, begin));
}

static struct slice said(void)
{
    return slice_make(client.said, client.bytes);
}

static struct slice unpack(struct slice gzip)
{
    z_stream stream = {.next_in = (Bytef *)gzip.data,
                       .avail_in = (uInt)gzip.size,
                       .next_out = (Bytef *)unpacked,
                       .avail_out = sizeof(unpacked)};
    assert_int_equal(inflateInit2(&stream, 16 + MAX_WBITS), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(inflateEnd(&stream), Z_OK);
    return slice_make(unpacked, stream.total_out);
}

static const struct console_file *file_of(const char *path)
{
    for (size_t i = 0; i < console_file_count; i++) {
        if (strcmp(console_files[i].path, path) == 0) {
            return &console_files[i];
        }
    }
    return NULL;
}

static void every_file_has_a_route_and_every_route_a_file(void **state)
{
    (void)state;
    size_t count;
    size_t pages = 0;
    const struct http_route *routes = http_routes(&count);
    for (size_t i = 0; i < count; i++) {
        if (routes[i].handle == http_console) {
            assert_int_equal(routes[i].where, HTTP_ON_TSA_SHARD);
            assert_non_null(file_of(routes[i].path));
            pages++;
        }
    }
    assert_int_equal(pages, console_file_count);
}

static void each_file_is_served_with_its_type_and_under_a_strict_policy(void **state)
{
    (void)state;
    char line[128];
    for (size_t i = 0; i < console_file_count; i++) {
        const struct console_file *file = &console_files[i];
        assert_int_equal(ask(file->path, ""), 200);
        assert_true(slice_equal(said(), file->plain));
        (void)snprintf(line, sizeof(line), "Content-Type: %s", file->type);
        assert_field(line);
        (void)snprintf(line, sizeof(line), "ETag: \"%s\"", file->tag);
        assert_field(line);
        assert_field("X-Content-Type-Options: nosniff");
        assert_field("Cache-Control: no-cache");
        assert_field("Vary: Accept-Encoding");
        assert_no_field("Content-Encoding");
        assert_non_null(strstr(client.head, "\r\nContent-Security-Policy: default-src 'none'; "));
        assert_null(strstr(client.head, "unsafe"));
    }
    assert_string_equal(file_of("/")->type, "text/html; charset=utf-8");
    assert_string_equal(file_of("/console/main.js")->type, "text/javascript; charset=utf-8");
    assert_string_equal(file_of("/console/style.css")->type, "text/css; charset=utf-8");
    assert_string_equal(file_of("/console/icon.svg")->type, "image/svg+xml");
}

static void a_client_that_takes_gzip_gets_less(void **state)
{
    (void)state;
    for (size_t i = 0; i < console_file_count; i++) {
        const struct console_file *file = &console_files[i];
        assert_int_equal(ask(file->path, GZIP), 200);
        assert_field("Content-Encoding: gzip");
        assert_true(slice_equal(unpack(said()), file->plain));
        assert_true(file->plain.size < 1024 || client.bytes < file->plain.size * 3 / 4);
    }
}

static void gzip_is_for_those_who_say_so(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        bool gzip;
    } rows[] = {
        {"", false},
        {"Accept-Encoding: \r\n", false},
        {"Accept-Encoding: identity\r\n", false},
        {"Accept-Encoding: *\r\n", false},
        {"Accept-Encoding: gzipped\r\n", false},
        {"Accept-Encoding: gzip\r\n", true},
        {"Accept-Encoding: GZIP\r\n", true},
        {"Accept-Encoding: br,gzip\r\n", true},
        {"Accept-Encoding: br , gzip ;q=0.5, *;q=0\r\n", true},
        {"Accept-Encoding: gzip;q=1\r\n", true},
        {"Accept-Encoding: gzip;q=0\r\n", false},
        {"Accept-Encoding: gzip; Q=0.000\r\n", false},
        {"Accept-Encoding: gzip;q=0.001\r\n", true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(ask("/console/style.css", rows[i].fields), 200);
        bool gzip = strstr(client.head, "\r\nContent-Encoding: gzip\r\n") != NULL;
        if (gzip != rows[i].gzip) {
            fail_msg("%s", rows[i].fields);
        }
    }
}

static void what_a_client_has_is_not_sent_again(void **state)
{
    (void)state;
    const struct console_file *file = file_of("/");
    const struct {
        const char *match; /* %s: the tag */
        bool gzip;
        unsigned status;
    } rows[] = {
        {"\"%s\"", false, 304},
        {"\"%s-gzip\"", true, 304},
        {"W/\"%s\"", false, 304},
        {"\"other\", \"%s\"", false, 304},
        {"*", false, 304},
        {"\"%s\"", true, 200}, /* it has the other one */
        {"\"%s-gzip\"", false, 200},
        {"%s", false, 200},
        {"\"other\"", false, 200},
        {"", false, 200},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char match[96];
        char fields[256];
        (void)snprintf(match, sizeof(match), "%s", rows[i].match);
        char *place = strstr(match, "%s");
        if (place != NULL) {
            char behind[32];
            (void)snprintf(behind, sizeof(behind), "%s", place + 2);
            (void)snprintf(place, sizeof(match) - (size_t)(place - match), "%s%s", file->tag,
                           behind);
        }
        (void)snprintf(fields, sizeof(fields), "%sIf-None-Match: %s\r\n",
                       rows[i].gzip ? GZIP : "", match);
        assert_int_equal(ask("/", fields), rows[i].status);
        assert_non_null(strstr(client.head, "\r\nETag: \""));
        assert_field("Vary: Accept-Encoding");
        assert_int_equal(client.bytes == 0, rows[i].status == 304);
        if (rows[i].status == 304) {
            assert_no_field("Content-Length");
            assert_no_field("Content-Type");
        }
    }
}

static void head_is_the_head_of_get_and_other_methods_are_refused(void **state)
{
    (void)state;
    char line[64];
    say("HEAD", "/", GZIP);
    assert_int_equal(http_client_head(&client), 200);
    (void)snprintf(line, sizeof(line), "Content-Length: %zu", file_of("/")->gzip.size);
    assert_field(line);
    assert_field("Content-Encoding: gzip");
    assert_int_equal(ask("/console/", ""), 404); /* nothing of a body came before it */
    assert_int_equal(ask("/console/../", ""), 404);
    assert_int_equal(ask("/index.html", ""), 404);
    say("POST", "/", "Content-Length: 0\r\n");
    assert_int_equal(http_client_hear(&client), 405);
    assert_field("Allow: GET, HEAD, OPTIONS");
}

static void every_reason_to_wait_has_words(void **state)
{
    (void)state;
    const struct slice words = file_of("/console/words.js")->plain;
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        char row[64];
        (void)snprintf(row, sizeof(row), "\n    %s: [\"", hold_name((enum hold_reason)i));
        if (memmem(words.data, words.size, row, strlen(row)) == NULL) {
            fail_msg("no words for %s", hold_name((enum hold_reason)i));
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_has_a_route_and_every_route_a_file),
        TEST(each_file_is_served_with_its_type_and_under_a_strict_policy),
        TEST(a_client_that_takes_gzip_gets_less),
        TEST(gzip_is_for_those_who_say_so),
        TEST(what_a_client_has_is_not_sent_again),
        TEST(head_is_the_head_of_get_and_other_methods_are_refused),
        cmocka_unit_test(every_reason_to_wait_has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
