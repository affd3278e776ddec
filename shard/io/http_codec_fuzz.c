/*
 * Requests of a client: read whole and in two parts, they are the same requests; all that is found
 * lies inside what was given; no more of a body comes than was allowed.
 */
#include "shard/io/http_codec.h"

#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "shard/io/http_query.h"
#include "shard/io/http_route.h"

#define BODY_MAX     1000
#define REQUESTS_MAX 100

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reader {
    struct http_codec codec;
    struct http_head *head;
    XXH3_state_t *hash; /* of all that has been found */
    bool refused;
    unsigned requests;
};

static void check_inside(struct slice part, const uint8_t *data, size_t size)
{
    CHECK(part.size == 0 || (part.data >= data && part.data + part.size <= data + size));
}

/* What is asked of every head and query never looks beyond them, and says the same each time. */
static void check_questions(const struct http_head *head)
{
    uint8_t memory[32];
    struct buf value;
    buf_init(&value, memory, sizeof(memory));
    enum http_query found = http_query_find(head->query, SLICE("a"), &value);
    CHECK(found != HTTP_QUERY_FOUND || value.size <= head->query.size);
    CHECK(found != HTTP_QUERY_NONE || value.size == 0);
    CHECK(head->host.size == 0 || http_head_count(head, SLICE("Host")) == 1);
    bool foreign = !http_host_is_ours(head, SLICE("a"));
    CHECK(!foreign || http_head_count(head, SLICE("Origin")) > 0 || head->host.size > 0);
}

static void check_head(struct reader *reader)
{
    const struct http_head *head = reader->head;
    CHECK(head->size <= head->capacity && head->field_count <= HTTP_FIELDS_MAX);
    CHECK(head->minor <= 1 && http_method_name(head->method) != NULL);
    check_inside(head->query, head->bytes, head->size);
    check_inside(head->host, head->bytes, head->size);
    CHECK(head->path.size > 0 && (head->path.data[0] == '/' || head->path.data[0] == '*'));
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http_field *field = &head->fields[i];
        CHECK(field->name_bytes > 0 && field->name + field->name_bytes <= head->size);
        CHECK(field->value + field->value_bytes <= head->size);
    }
    check_questions(head);
    XXH3_64bits_update(reader->hash, head->bytes, head->size);
    reader->refused = !http_codec_limit(&reader->codec, BODY_MAX);
}

static void read_step(struct reader *reader, enum http_step step, struct slice piece)
{
    switch (step) {
    case HTTP_STEP_MORE:
        return;
    case HTTP_STEP_ROOM:
        CHECK(reader->head->capacity < HTTP_HEAD_BYTES_MAX);
        reader->head->capacity = MIN_OF(reader->head->capacity * 2, HTTP_HEAD_BYTES_MAX);
        return;
    case HTTP_STEP_HEAD:
        check_head(reader);
        return;
    case HTTP_STEP_BODY:
        CHECK(piece.size > 0 && reader->codec.body_bytes <= BODY_MAX);
        XXH3_64bits_update(reader->hash, piece.data, piece.size);
        return;
    case HTTP_STEP_END:
        XXH3_64bits_update(reader->hash, ";", 1);
        http_codec_init(&reader->codec);
        http_head_init(reader->head, 64);
        reader->refused = ++reader->requests == REQUESTS_MAX;
        return;
    case HTTP_STEP_REFUSED:
        CHECK(reader->codec.status >= 400 && reader->codec.reason != NULL);
        XXH3_64bits_update(reader->hash, &reader->codec.status, sizeof(uint16_t));
        reader->refused = true;
        return;
    }
}

static void read_part(struct reader *reader, const uint8_t *data, size_t size)
{
    struct slice rest = slice_make(data, size);
    bool more = size > 0;
    while (more && !reader->refused) {
        enum http_step step;
        struct slice piece;
        size_t taken =
            http_codec_feed(&reader->codec, reader->head, rest, &step, &piece);
        CHECK(taken <= rest.size);
        check_inside(piece, rest.data, rest.size);
        rest = slice_skip(rest, taken);
        read_step(reader, step, piece);
        more = rest.size > 0 || reader->codec.state == HTTP_CODEC_ENDED;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t memory[sizeof(struct http_head) + HTTP_HEAD_BYTES_MAX]
        __attribute__((aligned(16)));
    uint64_t hashes[2];
    for (unsigned i = 0; i < COUNT_OF(hashes); i++) {
        XXH3_state_t hash;
        struct reader reader = {.head = (struct http_head *)(void *)memory, .hash = &hash};
        size_t split = size > 0 && i > 0 ? data[size - 1] * size / 256 : 0;
        XXH3_64bits_reset(&hash);
        http_codec_init(&reader.codec);
        http_head_init(reader.head, 64);
        read_part(&reader, data, split);
        read_part(&reader, data + split, size - split);
        hashes[i] = XXH3_64bits_digest(&hash);
    }
    CHECK(hashes[0] == hashes[1]);
    return 0;
}
