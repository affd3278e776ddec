/*
 * A stretch is as much input as the last block has room for, so the kernels never ask for memory.
 * The state machine (content_step) takes one byte and is the whole truth; the AVX2 kernel runs over
 * what is ordinary and hands every other byte to it, the scalar one runs over the bytes inside a
 * line. After a fault the scalar one goes on: that need not be fast, only linear.
 *
 * Hash: a body that stands in one block is hashed in one call at the end; else every block goes
 * through the streaming state when it is full or leaves by content_spill.
 *
 * Header section: scanned after each stretch, over what was just stored, until its empty line.
 * Fault free bytes have LF only after CR, so LF alone is looked for.
 */
#include "smtp/content.h"

#include "smtp/content_internal.h"

#include "core/check.h"
#include "smtp/limits.h"

#include <string.h>

bool content_kernel_supported(enum content_kernel kernel)
{
    return kernel == CONTENT_SCALAR || content_avx2_supported();
}

void content_begin(struct content *content, struct block_pool *pool, XXH3_state_t *hash,
                   uint64_t size_max, uint64_t size_hint, const struct conf_label *labels)
{
    *content = (struct content){
        .pool = pool,
        .hash = hash,
        .size_max = MIN_OF(size_max, (uint64_t)UINT32_MAX),
        .size_hint = size_hint,
        .state = CONTENT_LINE_START,
        .kernel = content_avx2_supported() ? CONTENT_AVX2 : CONTENT_SCALAR,
        .fault = CONTENT_OK,
    };
    chain_init(&content->body);
    chain_init(&content->dots);
    header_scan_init(&content->header, labels);
}

void content_pick(struct content *content, const struct conf_names *names)
{
    if (content->size == 0) {
        header_pick_init(&content->pick, names);
    }
}

void content_drop(struct content *content)
{
    header_pick_drop(&content->pick, content->pool);
    chain_clear(&content->body, content->pool);
    chain_clear(&content->dots, content->pool);
}

void content_fail(struct content *content, struct content_pass *pass, enum content_fault fault)
{
    if (content->fault == CONTENT_OK || fault < content->fault) {
        content->fault = fault;
    }
    pass->out = NULL;
}

/* The line that begins here begins with a dot. */
static void content_note_dot(struct content *content, struct content_pass *pass)
{
    if (content->fault != CONTENT_OK) {
        return;
    }
    uint32_t at = (uint32_t)content->size;
    const uint8_t bytes[4] = {(uint8_t)at, (uint8_t)(at >> 8), (uint8_t)(at >> 16),
                              (uint8_t)(at >> 24)};
    if (!chain_append(&content->dots, content->pool, slice_make(bytes, sizeof(bytes)))) {
        content_fail(content, pass, CONTENT_NO_MEMORY);
    }
}

static void content_put(struct content *content, struct content_pass *pass, uint8_t byte)
{
    content->size++;
    if (pass->out != NULL) {
        *pass->out++ = byte;
    }
}

/* A byte that is no part of an end mark and not the LF of a CRLF. */
static void content_text(struct content *content, struct content_pass *pass, uint8_t byte)
{
    content_put(content, pass, byte);
    if (byte == '\r') {
        content->state = CONTENT_AFTER_CR;
        return;
    }
    content->state = CONTENT_IN_LINE;
    if (byte == '\n') {
        content_fail(content, pass, CONTENT_BARE_CR_LF);
    }
    if (content->line_bytes == CONTENT_LINE_BYTES_MAX) {
        content_fail(content, pass, CONTENT_LONG_LINE);
        return;
    }
    content->line_bytes++;
}

/* True when `byte` completes the end mark. */
static bool content_step(struct content *content, struct content_pass *pass, uint8_t byte)
{
    switch (content->state) {
    case CONTENT_LINE_START:
        if (byte == '.' && pass->unstuff) {
            content->state = CONTENT_DOT;
            return false;
        }
        break;
    case CONTENT_IN_LINE:
        content_text(content, pass, byte);
        return false;
    case CONTENT_AFTER_CR:
        if (byte == '\n') {
            content_put(content, pass, byte);
            content->state = CONTENT_LINE_START;
            content->line_bytes = 0;
            return false;
        }
        content_fail(content, pass, CONTENT_BARE_CR_LF);
        content_text(content, pass, byte);
        return false;
    case CONTENT_DOT:
        if (byte == '\r') {
            content->state = CONTENT_DOT_CR;
            return false;
        }
        break;
    case CONTENT_DOT_CR:
        if (byte == '\n') {
            content->state = CONTENT_LINE_START;
            return true;
        }
        content_fail(content, pass, CONTENT_BARE_CR_LF);
        content_put(content, pass, '\r');
        content_text(content, pass, byte);
        return false;
    }
    /* The first stored byte of a line. */
    if (byte == '.') {
        content_note_dot(content, pass);
    }
    content_text(content, pass, byte);
    return false;
}

/* In a line: the bytes up to the next CR or LF at one go. */
static void content_run_text(struct content *content, struct content_pass *pass)
{
    const uint8_t *at = pass->in;
    while (at < pass->in_end && *at != '\r' && *at != '\n') {
        at++;
    }
    size_t count = (size_t)(at - pass->in);
    if (pass->out != NULL && count > 0) {
        memcpy(pass->out, pass->in, count);
        pass->out += count;
    }
    pass->in = at;
    content->size += count;
    if (count > CONTENT_LINE_BYTES_MAX - content->line_bytes) {
        content->line_bytes = CONTENT_LINE_BYTES_MAX;
        content_fail(content, pass, CONTENT_LONG_LINE);
        return;
    }
    content->line_bytes += (uint32_t)count;
}

static bool content_run(struct content *content, struct content_pass *pass)
{
    while (pass->in < pass->in_end) {
        if (content->kernel == CONTENT_AVX2 && content->fault == CONTENT_OK &&
            content->state <= CONTENT_AFTER_CR) {
            content_run_avx2(content, pass);
        } else if (content->state == CONTENT_IN_LINE) {
            content_run_text(content, pass);
        }
        if (pass->in == pass->in_end) {
            break;
        }
        if (content_step(content, pass, *pass->in++)) {
            return true;
        }
    }
    return false;
}

/* Everything stored so far is in the streaming state afterwards. */
static void content_hash_stored(struct content *content)
{
    size_t pending = (size_t)(content->size - content->hashed);
    if (pending == 0) {
        return;
    }
    struct block *block = chain_last(&content->body);
    CHECK(block != NULL && pending <= block->size);
    if (content->hashed == 0) {
        XXH3_128bits_reset(content->hash);
    }
    XXH3_128bits_update(content->hash, block->data + block->size - pending, pending);
    content->hashed = content->size;
}

/* The block for the next bytes, of which `input_bytes` are at hand; null when there is none. */
static struct block *content_room(struct content *content, size_t input_bytes)
{
    struct block *last = chain_last(&content->body);
    if (last != NULL && last->size == last->capacity) {
        content_hash_stored(content);
    }
    /* Without (or beyond) SIZE= as much again as there was: few blocks, little of them unused. */
    uint64_t rest =
        content->size_hint > content->size ? content->size_hint - content->size : content->size;
    uint64_t hint = MIN_OF(MAX_OF(rest, input_bytes), (uint64_t)BLOCK_BYTES_MAX);
    return chain_room(&content->body, content->pool, (size_t)hint);
}

/* More of the header section, and perhaps what follows it. */
static void content_header(struct content *content, struct content_pass *pass, struct slice bytes)
{
    uint64_t before = content->header.bytes;
    header_scan_take(&content->header, bytes);
    if (header_pick_wants(&content->pick)) {
        bytes = slice_first(bytes, (size_t)(content->header.bytes - before));
        header_pick_take(&content->pick, content->pool, bytes);
        if (content->pick.no_memory) {
            content_fail(content, pass, CONTENT_NO_MEMORY);
            content_drop(content);
        }
    }
}

/* One stretch from the start of `input`. True when the end mark was met. */
static bool content_stretch(struct content *content, struct slice *input, bool unstuff)
{
    struct content_pass pass = {.in = input->data, .unstuff = unstuff};
    struct block *block = NULL;
    size_t size = input->size;
    if (content->fault == CONTENT_OK) {
        block = content_room(content, size);
        if (block == NULL) {
            content_fail(content, &pass, CONTENT_NO_MEMORY);
        } else {
            size = MIN_OF(size, (size_t)(block->capacity - block->size));
            pass.out = block->data + block->size;
        }
    }
    pass.in_end = pass.in + size;
    bool ended = content_run(content, &pass);
    *input = slice_skip(*input, (size_t)(pass.in - input->data));
    if (content->size > content->size_max) {
        content_fail(content, &pass, CONTENT_TOO_LARGE);
    }
    if (content->fault != CONTENT_OK) {
        content_drop(content);
        return ended;
    }
    CHECK(block != NULL);
    uint8_t *from = block->data + block->size;
    uint32_t stored = (uint32_t)(pass.out - from);
    block->size += stored;
    content->body.size += stored;
    if (!content->header.ended) {
        content_header(content, &pass, slice_make(from, stored));
    }
    return ended;
}

/* The header section is over, or all of the content is. */
static void content_header_end(struct content *content)
{
    header_scan_end(&content->header);
    if (content->pick.block != NULL) {
        header_pick_end(&content->pick);
    }
}

bool content_data(struct content *content, struct slice *input)
{
    while (input->size > 0) {
        if (content_stretch(content, input, true)) {
            content_header_end(content);
            return true;
        }
    }
    return false;
}

void content_bdat(struct content *content, struct slice input)
{
    while (input.size > 0) {
        bool ended = content_stretch(content, &input, false);
        CHECK(!ended);
    }
}

void content_bdat_end(struct content *content)
{
    if (content->state == CONTENT_AFTER_CR) {
        struct content_pass pass = {0};
        content_fail(content, &pass, CONTENT_BARE_CR_LF);
        content_drop(content);
    }
    content_header_end(content);
}

void content_spill(struct content *content, struct chain *out)
{
    if (content->fault == CONTENT_OK) {
        content_hash_stored(content);
        chain_move(out, &content->body);
    }
}

XXH128_hash_t content_hash(struct content *content)
{
    CHECK(content->fault == CONTENT_OK);
    if (content->hashed == 0) {
        const struct block *block = chain_last(&content->body);
        const uint8_t *data = block == NULL ? NULL : block->data;
        return XXH3_128bits(data, (size_t)content->size);
    }
    content_hash_stored(content);
    return XXH3_128bits_digest(content->hash);
}

bool content_data_with(enum content_kernel kernel, struct content *content, struct slice *input)
{
    content->kernel = kernel;
    return content_data(content, input);
}

void content_bdat_with(enum content_kernel kernel, struct content *content, struct slice input)
{
    content->kernel = kernel;
    content_bdat(content, input);
}

const char *content_fault_reply(enum content_fault fault)
{
    switch (fault) {
    case CONTENT_OK:
        return NULL;
    case CONTENT_TOO_LARGE:
        return "552 5.3.4 Message larger than the limit";
    case CONTENT_NO_MEMORY:
        return "452 4.3.1 No memory for this message now";
    case CONTENT_BARE_CR_LF:
        return "550 5.6.0 Lines end with CR LF, and CR and LF stand nowhere else";
    case CONTENT_LONG_LINE:
        return "550 5.6.0 A line is longer than 998 octets";
    }
    return NULL;
}

const char *content_refusal(const struct content *content, uint32_t received_max)
{
    const char *reply = content_fault_reply(content->fault);
    if (reply != NULL) {
        return reply;
    }
    if (content->header.ended && content->header.bytes > HEADER_BYTES_MAX) {
        return "552 5.3.4 Header section larger than the limit";
    }
    if (content->header.ended && content->header.field_count > HEADER_FIELDS_MAX) {
        return "552 5.3.4 More header fields than the limit";
    }
    if (content->header.received_count > received_max) {
        return "554 5.4.6 Too many hops: this is a mail loop";
    }
    return NULL;
}
