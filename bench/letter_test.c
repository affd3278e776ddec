#include "bench/letter.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const size_t sizes[] = {320, 321, 383, 384, 1024, 4096, 51200};

/* What a server makes of the letter for `number`, without being one; its size. */
static size_t fill(struct letter *letter, uint64_t number, uint8_t *room, size_t capacity)
{
    uint8_t bytes[LETTER_RECIPIENT_BYTES_MAX];
    struct buf recipient;
    buf_init(&recipient, bytes, sizeof(bytes));
    letter_put_recipient(letter, number, &recipient);
    assert_false(recipient.overflow);
    recipient.data[recipient.size - 1] = '\0'; /* its brace: the text ends with "…"} now */
    const char *values = strstr((char *)bytes, "\"bench\":\"") + strlen("\"bench\":\"");
    const char *who = strstr((char *)bytes, "\"who\":\"") + strlen("\"who\":\"");
    struct buf message;
    buf_init(&message, room, capacity);
    buf_put_string(&message, BODY_FIELD);
    buf_put(&message, slice_make(values, BODY_VALUES_BYTES));
    buf_put_string(&message, "\r\n");
    buf_put(&message, letter->before);
    buf_put(&message, slice_make(who, LETTER_NAME_BYTES));
    buf_put(&message, letter->after);
    assert_false(message.overflow);
    return message.size;
}

static void a_filled_letter_is_a_bench_body_of_its_number_and_size(void **state)
{
    (void)state;
    struct body_check check;
    assert_true(body_check_init(&check));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct letter letter;
        uint8_t *room = malloc(sizes[i] + 64);
        assert_non_null(room);
        assert_true(letter_init(&letter, sizes[i]));
        for (uint64_t number = 0; number < 300000000; number = 3 * number + 7) {
            size_t size = fill(&letter, number, room, sizes[i] + 64);
            assert_int_equal(size, sizes[i]);
            body_check_begin(&check);
            body_check_feed(&check, slice_make(room, size));
            assert_int_equal(body_check_end(&check), BODY_GOOD);
            assert_int_equal(check.number, number);
        }
        letter_fini(&letter);
        free(room);
    }
    body_check_fini(&check);
}

static void two_letters_of_one_request_differ_in_their_text(void **state)
{
    (void)state;
    struct letter letter;
    uint8_t one[1024];
    uint8_t other[1024];
    struct body_check check;
    assert_true(body_check_init(&check));
    assert_true(letter_init(&letter, 1024));
    size_t size = fill(&letter, 1, one, sizeof(one));
    assert_int_equal(fill(&letter, 2, other, sizeof(other)), size);
    size_t line = sizeof(BODY_FIELD) - 1 + BODY_VALUES_BYTES + 2;
    assert_memory_not_equal(one + line, other + line, size - line);
    /* The values of the one over the text of the other: what a mixed-up server would send. */
    memcpy(other, one, line);
    body_check_begin(&check);
    body_check_feed(&check, slice_make(other, size));
    assert_int_equal(body_check_end(&check), BODY_DIFFERS);
    letter_fini(&letter);
    body_check_fini(&check);
}

static void a_request_says_its_text_as_json(void **state)
{
    (void)state;
    struct letter letter;
    assert_true(letter_init(&letter, 400));
    assert_true(slice_starts_with(letter.request,
                                  SLICE("{\"envelope_sender\":\"bench@source.test\",\"content\":"
                                        "\"" BODY_FIELD "{{ bench }}\\r\\nFrom: ")));
    assert_true(slice_ends_with(letter.request, SLICE("\\r\\n\",\"recipients\":[")));
    letter_fini(&letter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filled_letter_is_a_bench_body_of_its_number_and_size),
        cmocka_unit_test(two_letters_of_one_request_differ_in_their_text),
        cmocka_unit_test(a_request_says_its_text_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
