/* Files that are wrong: an error with its place for each, never a crash, never half a value. */
#include "core/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char said[65536];

static bool read_bytes(void *context, const char *path, struct slice *bytes_out,
                       struct buf *reason_out)
{
    if (strcmp(path, "t.toml") != 0) {
        buf_put_string(reason_out, "No such file or directory");
        return false;
    }
    *bytes_out = *(const struct slice *)context;
    return true;
}

/* True: it is good. Else every line of `said`, errors and notes, has its place. */
static bool load(struct slice bytes)
{
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .file = "t.toml", .hostname = SLICE("box.test"), .read = read_bytes,
        .read_context = &bytes};
    buf_init(&messages.text, said, sizeof(said) - 1);
    struct conf *conf = conf_load(&input, &messages);
    said[messages.text.size] = 0;
    bool good = conf != NULL;
    conf_free(conf);
    assert_int_equal(good, messages.errors == 0);
    for (const char *line = said; !good && *line != 0; line = strchr(line, '\n') + 1) {
        unsigned row = 0;
        unsigned column = 0;
        char kind[8];
        if (sscanf(line, "t.toml:%u:%u: %7[a-z]: ", &row, &column, kind) < 3) {
            fail_msg("no place: %s", line);
        }
        assert_true(row > 0 && column > 0);
    }
    return good;
}

static const char whole[] =
    "node = { hostname = \"mta.test\", state_dir = \"state\", shards = 2 }\n"
    "spool = { path = \"spool\", min_free_space = \"64MiB\" }\n"
    "[queues.queue.default]\n"
    "protocol = { smtp = { mx_list = [\"[127.0.0.1]:2626\"] } }\nretry_interval = \"1s\"\n"
    "[queues.tenant.\"a\"]\nmax_message_rate = \"100/s\"\n"
    "[shaping.\"default\"]\nenable_tls = \"Disabled\"\nconnection_limit = 50\n"
    "[[smtp_listener]]\nlisten = \"127.0.0.1:2525\"\nrelay_hosts = [\"10.0.0.0/8\", \"::1\"]\n"
    "[[http_listener]]\nlisten = \"127.0.0.1:0\"\n";

static void g01_a_file_cut_anywhere_is_good_or_names_a_place(void **state)
{
    (void)state;
    unsigned good = 0;
    for (size_t size = 0; size < sizeof(whole); size++) {
        good += load(slice_make(whole, size));
    }
    assert_in_range(good, 10, sizeof(whole) / 2);
}

/* Any one byte of it is another one. */
static void g01_a_file_with_a_byte_changed_is_good_or_names_a_place(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, '\r', '\n', '"', '[', ']', '.', '#', 0x80, 0xFF, '9', '-'};
    char text[sizeof(whole)];
    for (size_t i = 0; i < sizeof(whole) - 1; i++) {
        for (unsigned b = 0; b < COUNT_OF(bytes); b++) {
            memcpy(text, whole, sizeof(whole));
            text[i] = (char)bytes[b];
            (void)load(slice_make(text, sizeof(whole) - 1));
        }
    }
}

static char *repeat(const char *what, size_t count)
{
    size_t size = strlen(what);
    char *text = malloc(size * count + 8);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++) {
        memcpy(text + i * size, what, size);
    }
    text[size * count] = 0;
    return text;
}

static void g01_files_that_are_no_toml_or_too_much_are_errors(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        size_t count;
    } rows[] = {
        {"a = [", 1}, {"[", 100000}, {"a.", 100000}, {"x", 17u << 20}, {"\xEF\xBB\xBF\xEF", 1},
        {"a = \"\xC0\xAF\"\n", 1}, {"\x7F" "ELF\x02\x01\x01", 9}, {"a = {b = ", 5000},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        char *text = repeat(rows[i].what, rows[i].count);
        assert_false(load(slice_from_string(text)));
        free(text);
    }
    assert_false(load(SLICE("node = {}\n\0")));
    assert_true(load(SLICE("")));
    assert_true(load(SLICE("[node]\r\nhostname = \"a.test\"\r\n")));
    assert_true(load(SLICE("\xEF\xBB\xBF[node]\nhostname = \"a.test\"\n"))); /* a mark, once */
}

static void expect_error(const char *text)
{
    if (load(slice_from_string(text))) {
        fail_msg("taken: %s", text);
    }
}

static void g02_what_nobody_knows_is_an_error(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[nod]\n", "[Node]\n", "nodes = 1\n", "node = 1\n", "[[node]]\n", "[node]\nHostname = 1\n",
        "[node]\nhostname = 1\n", "[node]\nhostname = \"a\"\nhostname = \"a\"\n",
        "[spool]\n[spool]\n", "[node]\nshards = \"2\"\n", "[node]\npin = 1\n",
        "[smtp_listener]\n", "smtp_listener = []\nx = 1\n", "[[smtp_listener]]\nListen = \"a\"\n",
        "[queues]\nqueue = 1\n", "[queues.queues.default]\n",
        "[queues.queue.\"a..b\"]\nweight = 0\n",
        "[queues.queue.default]\nretry = \"1s\"\n", "[shaping]\ndefault = 1\n",
        "[shaping.default]\nconnection_limit = 1.5\n", "[shaping.\"a b\"]\nmax_ready = 1\n",
        "[shaping.default]\nenable_tls = \"disabled\"\n", "include = \"a.toml\"\n",
    };
    for (unsigned i = 0; i < COUNT_OF(texts); i++) {
        expect_error(texts[i]);
    }
}

static void g03_numbers_and_quantities_out_of_range_are_errors(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[node]\nshards = -1\n", "[node]\nshards = 257\n", "[node]\nshards = 9223372036854775808\n",
        "[memory]\nmax_queued = 1e400\n", "[memory]\nmax_queued = -1\n",
        "[memory]\nlimit = \"99999999999999TiB\"\n", "[spool]\nsegment_size = 0\n",
        "[spool]\nsegment_size = \"1.5MiB\"\n", "[spool]\nmin_free_space = \"101%\"\n",
        "[spool]\nmin_free_space = \"-1%\"\n", "[spool]\nstore_deadline = \"5\"\n",
        "[spool]\nstore_deadline = \"5x\"\n", "[spool]\nstore_deadline = \"-5s\"\n",
        "[spool]\nstore_deadline = -5\n", "[spool]\nstore_deadline = 0\n",
        "[shaping.default]\nconnection_limit = 0\n", "[shaping.default]\nsmtp_port = 0\n",
        "[shaping.default]\nsmtp_port = 65536\n", "[shaping.default]\nmax_message_rate = \"10/\"\n",
        "[shaping.default]\nmax_message_rate = \"0/s\"\n",
        "[shaping.default]\nmax_message_rate = \"1/0\"\n",
        "[shaping.default]\nmax_message_rate = \"1/s,max_burst=0\"\n",
        "[shaping.default]\nmax_message_rate = \"99999999999999999999/s\"\n",
        "[queues.queue.default]\nweight = 0\n", "[queues.queue.default]\nweight = 1001\n",
        "[log]\ncompression_level = 20\n",
    };
    for (unsigned i = 0; i < COUNT_OF(texts); i++) {
        expect_error(texts[i]);
    }
}

#define HOSTS(text) "[[smtp_listener]]\nrelay_hosts = [\"" text "\"]\n"
#define LISTEN(text) "[[smtp_listener]]\nlisten = \"" text "\"\n"
#define MX(text) "[queues.queue.default]\nprotocol = {smtp = {mx_list = [\"" text "\"]}}\n"

static void g04_places_and_networks_that_are_none_are_errors(void **state)
{
    (void)state;
    static const char *const texts[] = {
        HOSTS("10.0.0.0/33"), HOSTS("::/129"), HOSTS("10.0.0.1/8"), HOSTS("2001:db8::1/32"),
        HOSTS("10.0.0"), HOSTS("10.0.0.0/-1"), HOSTS("10.0.0.0/8x"), HOSTS(""), HOSTS("a.test"),
        LISTEN("127.0.0.1:65536"), LISTEN("127.0.0.1"), LISTEN("127.0.0.1:"), LISTEN(":25"),
        LISTEN("256.0.0.1:25"), LISTEN("[::1:25"), LISTEN("/run/x"), MX("[127.0.0.1]:65536"),
        MX("[127.0.0.1"), MX("127.0.0.1:x"), MX(""),
        LISTEN("127.0.0.1:25") LISTEN("127.0.0.1:25"),
    };
    for (unsigned i = 0; i < COUNT_OF(texts); i++) {
        expect_error(texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(g01_a_file_cut_anywhere_is_good_or_names_a_place),
        cmocka_unit_test(g01_a_file_with_a_byte_changed_is_good_or_names_a_place),
        cmocka_unit_test(g01_files_that_are_no_toml_or_too_much_are_errors),
        cmocka_unit_test(g02_what_nobody_knows_is_an_error),
        cmocka_unit_test(g03_numbers_and_quantities_out_of_range_are_errors),
        cmocka_unit_test(g04_places_and_networks_that_are_none_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
