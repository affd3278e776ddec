#include "core/conf_zones.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#include "core/conf.h"
#include "tests/kit/tzif.h"

/* A database of three zones, the last of them no file of one; each file has been read so often. */
struct files {
    const char *text;
    const char *list; /* null: there is none */
    unsigned reads[3];
    uint8_t memory[512];
    struct slice zone;
};
static const char *const zone_names[] = {"Europe/Rome", "Etc/GMT-1", "Bad/Zone"};

static bool read_file(void *context, const char *path, struct slice *bytes_out,
                      struct buf *reason_out)
{
    struct files *files = context;
    const size_t folder = strlen(CONF_ZONES_FOLDER);
    if (strcmp(path, "t.toml") == 0) {
        *bytes_out = slice_from_string(files->text);
        return true;
    }
    bool known = strncmp(path, CONF_ZONES_FOLDER, folder) == 0;
    if (known && strcmp(path + folder, CONF_ZONES_LIST) == 0 && files->list != NULL) {
        *bytes_out = slice_from_string(files->list);
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(zone_names) && known; i++) {
        if (strcmp(path + folder, zone_names[i]) == 0) {
            files->reads[i]++;
            *bytes_out = i == 2 ? SLICE("TZif") : files->zone;
            return true;
        }
    }
    buf_put_string(reason_out, "gone");
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
    struct buf buf;
    buf_init(&buf, files->memory, sizeof(files->memory));
    tzif_put(&buf, 3600, NULL, 0, "CET-1CEST,M3.5.0,M10.5.0/3");
    files->zone = buf_slice(&buf);
    buf_init(&messages.text, said, capacity - 1);
    struct conf *conf = conf_load(&input, &messages);
    said[messages.text.size] = '\0';
    assert_non_null(conf);
    return conf;
}

#define LIST                                                                                       \
    "# version 2026a\nR E 1977 o - Ap Su>=1 1s 1 S\nZ Europe/Rome 0:49:56 - LMT 1866 D 12\n"       \
    "0:49:56 - RMT 1893 O 31 23u\nZ Etc/GMT-1 1 - +01\nZ Bad/Zone 0 - X\nZ Gone/Zone 0 - X\n"      \
    "Z ../../../etc/passwd 0 - X\nZ\nL Europe/Rome Europe/Vatican\nL Gone/Zone Gone/Link\n"        \
    "L Europe/Rome Europe/San_Marino"
#define HOURS                                                                                      \
    "[queues.queue.default]\ndow = \"Mon\"\ntz = \"Europe/Rome\"\nstart = \"09:00\"\n"             \
    "end = \"10:00\"\n"

static void messages_may_name_every_zone_that_there_is(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool known;
    } rows[] = {
        {"UTC", true},           {"Europe/Rome", true},       {"Etc/GMT-1", true},
        {"Europe/Vatican", true}, {"Europe/San_Marino", true}, {"Gone/Zone", false},
        {"Gone/Link", false},    {"Bad/Zone", false},         {"Europe/Rom", false},
        {"europe/rome", false},  {"", false},                 {"../../../etc/passwd", false},
    };
    struct files files = {.text = "[queues]\nscheduling_header = \"X-S\"\n" HOURS, .list = LIST};
    char said[1024];
    int64_t until_s;
    struct conf *conf = load(&files, said, sizeof(said));
    assert_string_equal(said, "");
    assert_int_equal(conf->zones.count, 4);
    assert_int_equal(files.reads[0], 1); /* as a zone, of links and of a queue */
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct time_zone *zone = conf_zone(conf, slice_from_string(rows[i].name));
        if ((zone != NULL) != rows[i].known) {
            fail_msg("%s", rows[i].name);
        }
    }
    const struct time_zone *linked = conf_zone(conf, SLICE("Europe/Vatican"));
    assert_int_equal(time_zone_offset(linked, 1785000000, &until_s), 2 * 3600);
    conf_free(conf);
}

static void without_a_list_those_of_queues_are_known(void **state)
{
    (void)state;
    struct files files = {.text = "[queues]\nscheduling_header = \"X-S\"\n" HOURS};
    char said[1024];
    struct conf *conf = load(&files, said, sizeof(said));
    assert_string_equal(said, "t.toml:2:1: note: cannot read /usr/share/zoneinfo/tzdata.zi: gone: "
                              "messages may name UTC and the zones of queues alone\n");
    assert_non_null(conf_zone(conf, SLICE("Europe/Rome")));
    assert_null(conf_zone(conf, SLICE("Etc/GMT-1")));
    assert_ptr_equal(conf_zone(conf, SLICE("UTC")), &time_zone_utc);
    conf_free(conf);
}

static void where_messages_name_none_none_is_read(void **state)
{
    (void)state;
    struct files files = {.text = "[queues]\nscheduling_header = \"\"\n", .list = LIST};
    char said[1024];
    struct conf *conf = load(&files, said, sizeof(said));
    assert_string_equal(said, "");
    assert_int_equal(conf->zones.count + files.reads[0], 0);
    assert_null(conf_zone(conf, SLICE("Europe/Rome")));
    assert_non_null(conf_zone(conf, SLICE("UTC")));
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_may_name_every_zone_that_there_is),
        cmocka_unit_test(without_a_list_those_of_queues_are_known),
        cmocka_unit_test(where_messages_name_none_none_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
