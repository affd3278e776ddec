#include "core/conf_hours.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/conf.h"
#include "core/conf_zones.h"
#include "tests/kit/tzif.h"

#define ZONE "America/New_York"

struct files {
    const char *text;
    struct slice zone;
    unsigned reads; /* of the zone */
};

static bool read_file(void *context, const char *path, struct slice *bytes_out,
                      struct buf *reason_out)
{
    struct files *files = context;
    if (strcmp(path, "t.toml") == 0) {
        *bytes_out = slice_from_string(files->text);
        return true;
    }
    if (strcmp(path, CONF_ZONES_FOLDER ZONE) == 0) {
        *bytes_out = files->zone;
        files->reads++;
        return true;
    }
    buf_put_string(reason_out, strcmp(path, CONF_ZONES_FOLDER "Mars/Noon") == 0 ? "gone" : "?");
    return false;
}

static struct conf *load(struct files *files, char *said, size_t capacity)
{
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .file = "t.toml",
        .hostname = SLICE("box.test"),
        .read = read_file,
        .read_context = files,
    };
    buf_init(&messages.text, said, capacity - 1);
    struct conf *conf = conf_load(&input, &messages);
    said[messages.text.size] = '\0';
    return conf;
}

static void make_zone(struct files *files, uint8_t *memory, size_t capacity)
{
    struct buf buf;
    buf_init(&buf, memory, capacity);
    tzif_put(&buf, -5 * 3600, NULL, 0, "EST5EDT,M3.2.0,M11.1.0");
    files->zone = buf_slice(&buf);
}

static const struct hours *hours_of(const struct conf *conf, const char *tenant,
                                    const char *domain)
{
    struct queue_options options;
    const struct conf_queue_key key = {SLICE_NONE, slice_from_string(tenant),
                                       slice_from_string(domain)};
    conf_queue(conf, &key, &options);
    return options.hours;
}

#define REST "start = \"09:00:00\"\nend = \"17:00:00\"\n"

static void the_innermost_block_with_hours_says_them_all(void **state)
{
    (void)state;
    uint8_t memory[1024];
    char said[1024];
    int64_t until_s;
    struct files files = {
        .text = "[queues.tenant.t]\ndow = \"Mon,Wed\"\ntz = \"" ZONE "\"\n" REST
                "[queues.tenant.u]\ndow = \"Sat\"\ntz = \"" ZONE "\"\n" REST
                "[queues.queue.\"a.test\".t]\ndow = \"sunday\"\ntz = \"UTC\"\n"
                "start = \"22:00\"\nend = \"06:00\"\n"
                "[queues.queue.\"b.test\".t]\nweight = 5\n"};
    make_zone(&files, memory, sizeof(memory));
    struct conf *conf = load(&files, said, sizeof(said));
    assert_string_equal(said, "");
    assert_int_equal(files.reads, 1);
    assert_null(hours_of(conf, "", "a.test"));
    const struct hours *hours = hours_of(conf, "t", "b.test");
    assert_int_equal(hours->days, 1 << 1 | 1 << 3);
    assert_int_equal(hours->start_s, 9 * 3600);
    assert_int_equal(hours->end_s, 17 * 3600);
    assert_int_equal(time_zone_offset(hours->zone, 1785000000, &until_s), -4 * 3600);
    assert_ptr_equal(hours_of(conf, "u", "b.test")->zone, hours->zone);
    hours = hours_of(conf, "t", "a.test");
    assert_int_equal(hours->days, 1 << 0);
    assert_int_equal(hours->start_s, 22 * 3600);
    assert_int_equal(hours->end_s, 6 * 3600);
    assert_ptr_equal(hours->zone, &time_zone_utc);
    conf_free(conf);
}

static void what_are_no_hours_is_told_with_its_place(void **state)
{
    (void)state;
#define ALL(dow, tz, start, end)                                                                   \
    "[queues.queue.default]\ndow = " dow "\ntz = " tz "\nstart = " start "\nend = " end "\n"
    static const struct {
        const char *text;
        const char *said;
    } rows[] = {
        {"[queues.tenant.t]\ndow = \"Mon\"\ntz = \"UTC\"\nstart = \"09:00\"\n",
         "t.toml:1:16: error: end is missing: dow, tz, start and end are said together"},
        {"[queues.queue.default]\ntz = \"UTC\"\n" REST, "t.toml:1:15: error: dow is missing"},
        {ALL("5", "\"UTC\"", "\"09:00\"", "\"17:00\""), "t.toml:2:1: error: dow wants a string"},
        {ALL("\"Mo\"", "\"UTC\"", "\"09:00\"", "\"17:00\""),
         "t.toml:2:1: error: dow wants days, as \"Mon,Wed\""},
        {ALL("\"Mon\"", "\"UTC\"", "\"24:00\"", "\"17:00\""),
         "t.toml:4:1: error: start wants a time of the day, as \"09:00:00\""},
        {ALL("\"Mon\"", "\"UTC\"", "\"09:00\"", "\"17\""),
         "t.toml:5:1: error: end wants a time of the day, as \"17:00:00\""},
        {ALL("\"Mon\"", "\"UTC\"", "\"09:00\"", "\"09:00:00\""),
         "t.toml:1:15: error: start and end are the same"},
        {ALL("\"Mon\"", "\"Mars/Noon\"", "\"09:00\"", "\"17:00\""),
         "t.toml:3:1: error: tz: cannot read /usr/share/zoneinfo/Mars/Noon: gone"},
        {ALL("\"Mon\"", "\"../../../etc/passwd\"", "\"09:00\"", "\"17:00\""),
         "t.toml:3:1: error: tz wants the name of a time zone"},
        {ALL("\"Mon\"", "\"/etc/passwd\"", "\"09:00\"", "\"17:00\""),
         "t.toml:3:1: error: tz wants the name"},
        {ALL("\"Mon\"", "\"\"", "\"09:00\"", "\"17:00\""), "t.toml:3:1: error: tz wants the name"},
        {ALL("\"Mon\"", "\"" ZONE "\"", "\"09:00\"", "\"17:00\""),
         "t.toml:3:1: error: tz: /usr/share/zoneinfo/" ZONE " is no file of a time zone"},
    };
#undef ALL
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char said[1024];
        struct files files = {.text = rows[i].text, .zone = SLICE("TZif")};
        assert_null(load(&files, said, sizeof(said)));
        if (strncmp(said, rows[i].said, strlen(rows[i].said)) != 0) {
            fail_msg("row %zu: %s", i, said);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_innermost_block_with_hours_says_them_all),
        cmocka_unit_test(what_are_no_hours_is_told_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
