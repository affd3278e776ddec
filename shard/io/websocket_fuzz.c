/*
 * Frames of a client: read whole and in two parts, they are the same messages, and no message is
 * larger than was allowed. The first byte says where the cut is.
 */
#include "shard/io/websocket.h"

#include <string.h>

#include <xxhash.h>

#include "core/check.h"

#define MESSAGE_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct websocket *websocket, struct slice input, XXH3_state_t *hash)
{
    enum websocket_step step = websocket_feed(websocket, &input);
    while (step != WEBSOCKET_MORE) {
        struct slice payload = SLICE_NONE;
        if (step == WEBSOCKET_TEXT) {
            payload = websocket_message(websocket);
            CHECK(payload.size <= MESSAGE_MAX && slice_is_utf8(payload));
        } else if (step != WEBSOCKET_BAD) {
            payload = websocket_control(websocket);
            CHECK(payload.size <= WEBSOCKET_CONTROL_MAX);
        }
        XXH3_64bits_update(hash, &step, sizeof(step));
        XXH3_64bits_update(hash, payload.data, payload.size);
        if (step == WEBSOCKET_BAD) {
            XXH3_64bits_update(hash, &websocket->code, sizeof(websocket->code));
            return;
        }
        step = websocket_feed(websocket, &input);
    }
    CHECK(input.size == 0);
}

static uint64_t read_cut(struct slice bytes, size_t cut)
{
    uint8_t memory[MESSAGE_MAX];
    struct websocket websocket;
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    CHECK(websocket_init(&websocket, WEBSOCKET_SERVER, memory, sizeof(memory), 1));
    read_all(&websocket, slice_first(bytes, cut), &hash);
    if (!websocket.bad) {
        read_all(&websocket, slice_skip(bytes, cut), &hash);
    }
    websocket_fini(&websocket);
    return XXH3_64bits_digest(&hash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0) {
        struct slice bytes = slice_make(data + 1, size - 1);
        size_t cut = bytes.size * data[0] / 256;
        CHECK(read_cut(bytes, bytes.size) == read_cut(bytes, cut));
    }
    return 0;
}
