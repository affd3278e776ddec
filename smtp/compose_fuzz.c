/*
 * Whatever stands in the fields of a message: it is refused with a reason, or the message has just
 * the fields and parts that were asked for (tests/kit/compose_judge.h).
 *
 * Input: texts one after the other, each a byte of size (255: not given) and so many bytes; in the
 * order of struct compose, then a byte with the numbers of headers and attachments, and theirs.
 */
#include "smtp/compose.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/kit/compose_judge.h"

#define POOL_BYTES (8u * MIB)
#define PARTS_MAX  15

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t take_byte(struct slice *input)
{
    uint8_t byte = input->size == 0 ? 0 : input->data[0];
    *input = slice_skip(*input, MIN_OF(input->size, (size_t)1));
    return byte;
}

static struct slice take_text(struct slice *input)
{
    uint8_t size = take_byte(input);
    if (size == UINT8_MAX) {
        return SLICE_NONE;
    }
    struct slice text = slice_first(*input, MIN_OF(input->size, (size_t)size));
    *input = slice_skip(*input, text.size);
    return text;
}

static struct compose_mailbox take_mailbox(struct slice *input)
{
    struct slice address = take_text(input);
    return (struct compose_mailbox){.email = address, .name = take_text(input)};
}

static void check_mailbox(const struct compose_mailbox *mailbox)
{
    struct compose_problem problem;
    struct buf buf;
    size_t room = compose_mailbox_bytes_max(mailbox);
    uint8_t *memory = malloc(room);
    CHECK(memory != NULL);
    buf_init(&buf, memory, room);
    if (compose_put_mailbox(mailbox, "to", &buf, &problem)) {
        CHECK(!buf.overflow && buf.size >= mailbox->email.size);
        for (size_t i = 0; i < buf.size; i++) {
            CHECK(memory[i] >= ' ' && memory[i] != 0x7F);
        }
        CHECK(slice_is_ascii(buf_slice(&buf)) || !slice_is_ascii(mailbox->email));
    } else {
        CHECK(buf.size == 0 && problem.text[0] != '\0');
    }
    free(memory);
}

static void check_message(const struct compose *compose)
{
    struct compose_problem problem;
    struct buf buf;
    bool utf8;
    size_t room = compose_bytes_max(compose);
    uint8_t *memory = malloc(room);
    CHECK(memory != NULL);
    buf_init(&buf, memory, room);
    if (compose_put(compose, &buf, &utf8, &problem)) {
        struct block_pool *pool = block_pool_open(POOL_BYTES);
        CHECK(!buf.overflow && pool != NULL);
        compose_judge(compose, buf_slice(&buf), pool);
        block_pool_close(pool);
    } else {
        size_t size = strnlen(problem.text, sizeof(problem.text));
        CHECK(buf.size == 0 && size > 0 && size < sizeof(problem.text));
        for (size_t i = 0; i < size; i++) {
            CHECK(problem.text[i] >= ' ' && problem.text[i] < 0x7F);
        }
    }
    free(memory);
}

static struct compose_attachment take_attachment(struct slice *input)
{
    struct compose_attachment attachment = {.data = take_text(input)};
    attachment.content_type = take_text(input);
    attachment.content_id = take_text(input);
    attachment.file_name = take_text(input);
    attachment.is_base64 = take_byte(input) % 2 != 0;
    return attachment;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_make(data, size);
    struct compose_header headers[PARTS_MAX];
    struct compose_attachment attachments[PARTS_MAX];
    struct compose compose = {
        .headers = headers,
        .attachments = attachments,
        .id = SLICE("0190f3c2a7b84d5e8f000000000000ff"),
        .hostname = SLICE("mx.example.net"),
    };
    compose.from = take_mailbox(&input);
    compose.reply_to = take_mailbox(&input);
    compose.to = take_mailbox(&input);
    compose.subject = take_text(&input);
    compose.text_body = take_text(&input);
    compose.html_body = take_text(&input);
    compose.amp_html_body = take_text(&input);
    uint8_t counts = take_byte(&input);
    compose.header_count = counts & 15;
    compose.attachment_count = counts >> 4;
    for (uint32_t i = 0; i < compose.header_count; i++) {
        headers[i].name = take_text(&input);
        headers[i].value = take_text(&input);
    }
    for (uint32_t i = 0; i < compose.attachment_count; i++) {
        attachments[i] = take_attachment(&input);
    }
    check_message(&compose);
    check_mailbox(&compose.to);
    return 0;
}
