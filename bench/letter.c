#include "bench/letter.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/json.h"

#define FIELD_BYTES (sizeof(BODY_FIELD) - 1 + BODY_VALUES_BYTES + 2)
#define NAME_DIGITS 10
/* The message once, and once as JSON, in which line ends take twice their bytes. */
#define TEXT_ROOM   512u

/* What every message has behind its bench field, the name left out; `size` with all of it. */
static void put_text(struct letter *letter, struct buf *buf)
{
    size_t begin = buf->size;
    buf_put_string(buf, "From: <bench@source.test>\r\nTo: <bench@sink.test>\r\n"
                        "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nSubject: ");
    size_t without = FIELD_BYTES + buf->size - begin + sizeof("\r\n\r\nDear ,\r\n") - 1 +
                     LETTER_NAME_BYTES;
    size_t padding = (letter->size - without - 1) % BODY_LINE_BYTES + 1;
    for (size_t i = 0; i < padding; i++) {
        buf_put_byte(buf, '-');
    }
    buf_put_string(buf, "\r\n\r\nDear ");
    letter->before = slice_make(buf->data + begin, buf->size - begin);
    begin = buf->size;
    buf_put_string(buf, ",\r\n");
    buf_put(buf, slice_make(letter->maker.text, letter->size - without - padding));
    letter->after = slice_make(buf->data + begin, buf->size - begin);
}

/* As a template in a request. */
static void put_request(struct letter *letter, struct buf *buf, struct buf *scratch)
{
    size_t begin = buf->size;
    buf_put_string(scratch, BODY_FIELD "{{ bench }}\r\n");
    buf_put(scratch, letter->before);
    buf_put_string(scratch, "{{ who }}");
    buf_put(scratch, letter->after);
    buf_put_string(buf, "{\"envelope_sender\":\"bench@source.test\",\"content\":");
    json_put_string(buf, buf_slice(scratch));
    buf_put_string(buf, ",\"recipients\":[");
    letter->request = slice_make(buf->data + begin, buf->size - begin);
}

bool letter_init(struct letter *letter, size_t size)
{
    *letter = (struct letter){.size = size};
    size_t room = 3 * size + 2 * TEXT_ROOM;
    uint8_t *scratch = malloc(size + TEXT_ROOM);
    letter->text = malloc(room);
    bool good = body_maker_init(&letter->maker, size) && letter->text != NULL && scratch != NULL;
    if (good) {
        struct buf buf;
        struct buf message;
        buf_init(&buf, letter->text, room);
        buf_init(&message, scratch, size + TEXT_ROOM);
        put_text(letter, &buf);
        put_request(letter, &buf, &message);
        CHECK(!buf.overflow && !message.overflow);
    } else {
        letter_fini(letter);
    }
    free(scratch);
    return good;
}

void letter_fini(struct letter *letter)
{
    body_maker_fini(&letter->maker);
    free(letter->text);
    *letter = (struct letter){0};
}

void letter_put_recipient(struct letter *letter, uint64_t number, struct buf *buf)
{
    uint8_t bytes[LETTER_NAME_BYTES];
    struct buf name;
    buf_init(&name, bytes, sizeof(bytes));
    buf_put_string(&name, "Recipient ");
    buf_put_padded(&name, number, NAME_DIGITS);
    CHECK(!name.overflow && name.size == LETTER_NAME_BYTES);
    XXH3_state_t *state = letter->maker.state;
    XXH3_64bits_reset_withSeed(state, number);
    XXH3_64bits_update(state, letter->before.data, letter->before.size);
    XXH3_64bits_update(state, name.data, name.size);
    XXH3_64bits_update(state, letter->after.data, letter->after.size);
    buf_put_string(buf, "{\"email\":\"r");
    buf_put_u64(buf, number);
    buf_put_string(buf, "@sink.test\",\"substitutions\":{\"bench\":\"");
    body_put_values(buf, number, letter->size, XXH3_64bits_digest(state));
    buf_put_string(buf, "\",\"who\":\"");
    buf_put(buf, buf_slice(&name));
    buf_put_string(buf, "\"}}");
}
