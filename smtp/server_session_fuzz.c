/*
 * A whole dialogue: the first byte picks who the client is, the second how the rest is cut. One
 * feed and many pieces must give the same replies and accept the same messages, and every block
 * must come home.
 */
#include "smtp/server_session.h"

#include "core/check.h"
#include "core/prng.h"
#include "tests/kit/server_dialogue.h"

#define POOL_BYTES (2ull * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void begin(struct dialogue *dialogue, struct block_pool *pool, uint8_t who)
{
    dialogue_init(dialogue, pool);
    dialogue->options.trusted = who & 1;
    dialogue->options.message_bytes_max = who & 2 ? 64 : 64 * KIB;
    dialogue->options.recipients_max = who & 4 ? 2 : 1000;
    dialogue->options.xclient = who & 16;
    dialogue->options.received_max = 1;
    dialogue->options.messages_max = who & 8 ? 2 : 0;
    dialogue_greet(dialogue);
}

static void send_cut(struct dialogue *dialogue, struct slice bytes, uint8_t how)
{
    struct prng prng;
    prng_seed(&prng, how);
    while (bytes.size > 0) {
        size_t size = 1 + (size_t)prng_below(&prng, how & 1 ? 4 : 60);
        size = MIN_OF(size, bytes.size);
        dialogue_send(dialogue, slice_first(bytes, size), 0);
        bytes = slice_skip(bytes, size);
    }
}

static void check_alike(const struct dialogue *whole, const struct dialogue *cut)
{
    CHECK(slice_equal(buf_slice(&whole->summary), buf_slice(&cut->summary)));
    CHECK(slice_equal(buf_slice(&whole->accepted), buf_slice(&cut->accepted)));
    CHECK(whole->replies == cut->replies);
    CHECK(whole->messages == cut->messages);
    CHECK(whole->rejected == cut->rejected);
    CHECK(whole->delays == cut->delays);
    CHECK(whole->closed == cut->closed);
    CHECK(whole->session.errors == cut->session.errors);
    CHECK(whole->session.junk == cut->session.junk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct block_pool *pool; /* kept between runs: opening one costs more than a dialogue */
    struct dialogue whole;
    struct dialogue cut;
    if (size < 3) {
        return 0;
    }
    if (pool == NULL) {
        pool = block_pool_open(POOL_BYTES);
        CHECK(pool != NULL);
    }
    struct slice bytes = slice_make(data + 2, size - 2);
    begin(&whole, pool, data[0]);
    dialogue_send(&whole, bytes, 0);
    enum server_state state = whole.session.state;
    dialogue_fini(&whole);
    begin(&cut, pool, data[0]);
    send_cut(&cut, bytes, data[1]);
    CHECK(cut.session.state == state);
    dialogue_fini(&cut);
    check_alike(&whole, &cut);
    return 0;
}
