#include "shard/secret_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE 32

static char folder[64];
static char path[128];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/secret-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/x.key", folder);
    return 0;
}

static int tear_down(void **state)
{
    char fresh[160];
    (void)state;
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    unlink(fresh);
    unlink(path);
    return rmdir(folder);
}

static void write_file(const char *text, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void it_is_made_once_for_its_owner_alone(void **state)
{
    uint8_t first[SIZE] = {0};
    uint8_t again[SIZE] = {0};
    static const uint8_t nothing[SIZE];
    struct stat info;
    (void)state;
    assert_null(secret_file_load(path, first, SIZE));
    assert_memory_not_equal(first, nothing, SIZE);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(info.st_size, 2 * SIZE + 1);
    assert_null(secret_file_load(path, again, SIZE));
    assert_memory_equal(first, again, SIZE);
    unlink(path);
    assert_null(secret_file_load(path, again, SIZE));
    assert_memory_not_equal(first, again, SIZE);
}

/* What a crash left of a first start is in nobody's way. */
static void half_of_one_is_none(void **state)
{
    uint8_t bytes[SIZE];
    char fresh[160];
    (void)state;
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, "00", 2), 2);
    close(fd);
    assert_null(secret_file_load(path, bytes, SIZE));
    assert_int_equal(access(fresh, F_OK), -1);
}

#define HEX16 "00112233445566778899aabbccddeeff"

static void what_is_damaged_or_open_to_others_is_refused_and_stays(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        const char *fault; /* null: none */
    } rows[] = {
        {HEX16 HEX16 "\n", 0600, NULL},
        {HEX16 HEX16, 0400, NULL},
        {HEX16 HEX16 "\n", 0640, NULL},
        {HEX16 HEX16 "\n", 0644, "others"},
        {HEX16 HEX16 "\n", 0602, "others"},
        {HEX16 HEX16 "\n", 0620, "others"},
        {"", 0600, "damaged"},
        {HEX16, 0600, "damaged"},
        {HEX16 HEX16 "0", 0600, "damaged"},
        {HEX16 HEX16 "\n\n", 0600, "damaged"},
        {HEX16 HEX16 HEX16 HEX16 HEX16, 0600, "damaged"},
        {HEX16 "00112233445566778899aabbccddeefg\n", 0600, "damaged"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        uint8_t bytes[SIZE] = {0};
        struct stat info;
        write_file(rows[i].text, rows[i].mode);
        const char *fault = secret_file_load(path, bytes, SIZE);
        if ((fault == NULL) != (rows[i].fault == NULL) ||
            (fault != NULL && strstr(fault, rows[i].fault) == NULL)) {
            fail_msg("%zu: %s", i, fault == NULL ? "taken" : fault);
        }
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_size, strlen(rows[i].text));
        assert_true(fault != NULL || (bytes[1] == 0x11 && bytes[SIZE - 1] == 0xff));
    }
}

static void without_its_folder_there_is_none(void **state)
{
    uint8_t bytes[SIZE];
    (void)state;
    assert_non_null(secret_file_load("/tmp/no-such-folder-of-ringpost/x", bytes, SIZE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_made_once_for_its_owner_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_of_one_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_damaged_or_open_to_others_is_refused_and_stays,
                                        set_up, tear_down),
        cmocka_unit_test(without_its_folder_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
