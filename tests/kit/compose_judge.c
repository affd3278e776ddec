#include "tests/kit/compose_judge.h"

#include <string.h>

#include "core/check.h"
#include "smtp/content.h"

static bool is_given(struct slice text)
{
    return text.data != NULL;
}

static uint32_t count_given(const struct compose *compose, const char *name)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < compose->header_count; i++) {
        count += slice_equal_nocase(compose->headers[i].name, slice_from_string(name));
    }
    return count;
}

static uint32_t body_count(const struct compose *compose)
{
    return (uint32_t)is_given(compose->text_body) + (uint32_t)is_given(compose->html_body) +
           (uint32_t)is_given(compose->amp_html_body);
}

static uint32_t fields_wanted(const struct compose *compose)
{
    bool is_whole = compose->attachment_count == 0 && body_count(compose) == 1;
    uint32_t count = 2 + (uint32_t)is_whole; /* MIME-Version, Content-Type, its encoding */
    count += compose->header_count;
    count += (uint32_t)is_given(compose->from.email) + (uint32_t)is_given(compose->reply_to.email);
    count += (uint32_t)is_given(compose->subject);
    count += count_given(compose, "Date") == 0;
    count += count_given(compose, "Message-ID") == 0;
    count += is_given(compose->to.email) && count_given(compose, "To") == 0;
    return count;
}

/* Of each level as many as it has parts, and one at its end. */
static uint32_t delimiters_wanted(const struct compose *compose)
{
    uint32_t inline_count = 0;
    for (uint32_t i = 0; i < compose->attachment_count; i++) {
        inline_count += is_given(compose->attachments[i].content_id);
    }
    uint32_t others = compose->attachment_count - inline_count;
    uint32_t bodies = body_count(compose);
    return (others > 0 ? others + 2 : 0) + (inline_count > 0 ? inline_count + 2 : 0) +
           (bodies > 1 ? bodies + 1 : 0);
}

static uint32_t count_delimiters(struct slice message)
{
    uint32_t count = 0;
    for (size_t at = 0; at < message.size; at += slice_find(slice_skip(message, at), '\n') + 1) {
        count += slice_starts_with(slice_skip(message, at), SLICE("--=_"));
    }
    return count;
}

void compose_judge(const struct compose *compose, struct slice message, struct block_pool *pool)
{
    XXH3_state_t hash;
    struct content content;
    memset(&hash, 0, sizeof(hash));
    content_begin(&content, pool, &hash, UINT32_MAX, 0, NULL);
    content_bdat(&content, message);
    content_bdat_end(&content);
    CHECK(content.fault == CONTENT_OK);
    CHECK(content.size == message.size);
    CHECK(content.header.ended);
    CHECK(content.header.field_count == fields_wanted(compose));
    CHECK(content.header.received_count == 0);
    content_drop(&content);
    CHECK(slice_ends_with(message, SLICE("\r\n")));
    CHECK(slice_find(message, 0) == message.size);
    CHECK(count_delimiters(message) == delimiters_wanted(compose));
}
