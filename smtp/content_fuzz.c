/*
 * The first byte picks DATA or BDAT and the size of the pieces, the second whether blocks are
 * spilled on the way; the rest is the wire. Both kernels, cut differently, must answer alike, and
 * what they hold must be the wire again once it is stuffed.
 */
#include "smtp/content.h"

#include "core/check.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    bool ended;
    size_t consumed;
    struct content content;
    struct chain body; /* with what was spilled */
};

struct plan {
    bool unstuff;
    size_t piece;
    uint8_t spill; /* after every this many pieces; 0 = never */
};

/* All fields are picked. */
static const struct slice all = {(const uint8_t *)"*", 1};
static const struct conf_names names = {.names = &all, .count = 1};

static void run(struct result *result, enum content_kernel kernel, const struct plan *plan,
                struct slice wire, struct block_pool *pool, XXH3_state_t *hash)
{
    struct content *content = &result->content;
    *result = (struct result){0};
    chain_init(&result->body);
    content_begin(content, pool, hash, 64 * KIB, 0, NULL);
    content_pick(content, &names);
    for (size_t round = 1; result->consumed < wire.size && !result->ended; round++) {
        size_t bytes = MIN_OF(plan->piece, wire.size - result->consumed);
        struct slice input = slice_make(wire.data + result->consumed, bytes);
        if (plan->unstuff) {
            result->ended = content_data_with(kernel, content, &input);
            CHECK(result->ended || input.size == 0);
            bytes -= input.size;
        } else {
            content_bdat_with(kernel, content, input);
        }
        result->consumed += bytes;
        if (plan->spill != 0 && round % plan->spill == 0) {
            content_spill(content, &result->body);
        }
    }
    if (!plan->unstuff) {
        content_bdat_end(content);
    }
}

static uint8_t *flat(const struct chain *chain)
{
    uint8_t *bytes = malloc(chain->size + 1);
    CHECK(bytes != NULL);
    chain_copy_out(chain, 0, chain->size, bytes);
    return bytes;
}

/* Dots back in where `dots` says, and the end mark: exactly what was consumed. */
static void check_round_trip(const uint8_t *body, size_t size, const struct chain *dots,
                             bool unstuff, struct slice wire)
{
    uint8_t *list = flat(dots);
    size_t at = 0;
    size_t dot = 0;
    for (size_t i = 0; i < size; i++) {
        bool line_start = i == 0 || body[i - 1] == '\n';
        bool listed = false;
        if (dot < dots->size) {
            const uint8_t *entry = list + dot;
            listed = i == ((size_t)entry[0] | (size_t)entry[1] << 8 | (size_t)entry[2] << 16);
        }
        CHECK(listed == (line_start && body[i] == '.'));
        dot += listed ? 4 : 0;
        /* A dot before text that begins with none is dropped by the reader all the same. */
        if (unstuff && line_start && at < wire.size && wire.data[at] == '.') {
            at++;
        }
        CHECK(at < wire.size && wire.data[at] == body[i]);
        at++;
        CHECK(body[i] != '\n' || (i > 0 && body[i - 1] == '\r'));
    }
    CHECK(dot == dots->size);
    if (unstuff) {
        CHECK(wire.size - at == 3 && memcmp(wire.data + at, ".\r\n", 3) == 0);
        CHECK(size == 0 || body[size - 1] == '\n');
    } else {
        CHECK(at == wire.size);
    }
    free(list);
}

static void check_alike(struct result *one, struct result *two, const struct plan *plan,
                        struct slice wire)
{
    CHECK(one->ended == two->ended && one->consumed == two->consumed);
    if (one->ended) {
        struct slice used = slice_first(wire, one->consumed);
        CHECK(slice_ends_with(used, SLICE("\r\n.\r\n")) || slice_equal(used, SLICE(".\r\n")));
    }
    /* Spilling every few bytes takes a block for each: the pool may end in one run alone. */
    if (one->content.fault == CONTENT_NO_MEMORY || two->content.fault == CONTENT_NO_MEMORY) {
        return;
    }
    CHECK(one->content.fault == two->content.fault && one->content.size == two->content.size);
    if (one->content.fault != CONTENT_OK) {
        CHECK(one->content.body.size == 0 && one->content.dots.size == 0);
        return;
    }
    CHECK(one->content.header.received_count == two->content.header.received_count);
    CHECK(one->content.header.bytes == two->content.header.bytes);
    CHECK(one->content.state == two->content.state);
    chain_move(&one->body, &one->content.body);
    chain_move(&two->body, &two->content.body);
    CHECK(one->body.size == one->content.size && two->body.size == two->content.size);
    CHECK(one->content.dots.size == two->content.dots.size);
    uint8_t *body = flat(&one->body);
    uint8_t *other = flat(&two->body);
    CHECK(memcmp(body, other, one->body.size) == 0);
    if (one->ended || !plan->unstuff) {
        check_round_trip(body, one->body.size, &one->content.dots, plan->unstuff,
                         slice_first(wire, one->consumed));
    }
    free(body);
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    /* Kept between inputs: mapping costs more than most of them. */
    static struct block_pool *pool;
    static XXH3_state_t *hash;
    if (pool == NULL) {
        pool = block_pool_open(MIB);
        hash = XXH3_createState();
        CHECK(pool != NULL && hash != NULL);
    }
    struct slice wire = slice_make(data + 2, size - 2);
    struct plan pieces = {
        .unstuff = (data[0] & 1) == 0,
        .piece = (size_t)(data[0] >> 1) + 1,
        .spill = data[1],
    };
    struct plan whole = {.unstuff = pieces.unstuff, .piece = SIZE_MAX};
    struct result one;
    struct result two;
    enum content_kernel kernel =
        content_kernel_supported(CONTENT_AVX2) ? CONTENT_AVX2 : CONTENT_SCALAR;
    bool swapped = data[1] % 2 == 1;
    run(&one, swapped ? kernel : CONTENT_SCALAR, &pieces, wire, pool, hash);
    XXH128_hash_t hash_one = {0};
    if (one.content.fault == CONTENT_OK) {
        hash_one = content_hash(&one.content);
    }
    run(&two, swapped ? CONTENT_SCALAR : kernel, &whole, wire, pool, hash);
    if (one.content.fault == CONTENT_OK && two.content.fault == CONTENT_OK) {
        CHECK(XXH128_isEqual(hash_one, content_hash(&two.content)));
    }
    check_alike(&one, &two, &pieces, wire);
    content_drop(&one.content);
    content_drop(&two.content);
    chain_clear(&one.body, pool);
    chain_clear(&two.body, pool);
    CHECK(block_pool_used(pool) == 0);
    return 0;
}
