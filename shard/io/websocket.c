#include "shard/io/websocket.h"

#include <string.h>

#include "core/base64.h"
#include "core/check.h"
#include "core/sha1.h"

#define MASK_FACTOR 6364136223846793005ull /* Knuth's, of a linear congruence */
#define GUID        SLICE("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")

/* --- what wslay asks for ---------------------------------------------------------------------- */

static ssize_t receive(uint8_t *bytes, size_t size, int flags, void *context)
{
    struct websocket *websocket = context;
    size_t count = MIN_OF(size, websocket->input.size);
    (void)flags;
    if (count > 0) {
        memcpy(bytes, websocket->input.data, count);
        websocket->input = slice_skip(websocket->input, count);
    }
    return (ssize_t)count; /* 0: there is no more now */
}

static ssize_t transmit(const uint8_t *bytes, size_t size, int flags, void *context)
{
    struct websocket *websocket = context;
    (void)flags;
    buf_put(websocket->output, slice_make(bytes, size));
    return (ssize_t)size;
}

static int mask(uint8_t *bytes, size_t size, void *context)
{
    struct websocket *websocket = context;
    for (size_t i = 0; i < size; i++) {
        websocket->mask_state = websocket->mask_state * MASK_FACTOR + 1;
        bytes[i] = (uint8_t)(websocket->mask_state >> 56);
    }
    return 0;
}

bool websocket_init(struct websocket *websocket, enum websocket_role role, void *message,
                    size_t bytes, uint64_t seed)
{
    static const struct wslay_frame_callbacks callbacks = {transmit, receive, mask};
    *websocket = (struct websocket){
        .role = role, .message = message, .message_max = bytes, .mask_state = seed};
    return wslay_frame_context_init(&websocket->frames, &callbacks, websocket) == 0;
}

void websocket_fini(struct websocket *websocket)
{
    if (websocket->frames != NULL) {
        wslay_frame_context_free(websocket->frames);
        websocket->frames = NULL;
    }
}

/* --- in --------------------------------------------------------------------------------------- */

static enum websocket_step bad(struct websocket *websocket, uint16_t code)
{
    websocket->bad = true;
    websocket->code = code;
    return WEBSOCKET_BAD;
}

static bool is_control(uint8_t opcode)
{
    return opcode >= WSLAY_CONNECTION_CLOSE;
}

/* What is wrong with a frame, by its head; 0: nothing. */
static uint16_t frame_problem(struct websocket *websocket, const struct wslay_frame_iocb *frame)
{
    bool masked = frame->mask != 0;
    if (frame->rsv != WSLAY_RSV_NONE || masked != (websocket->role == WEBSOCKET_SERVER)) {
        return WEBSOCKET_CODE_PROTOCOL;
    }
    switch (frame->opcode) {
    case WSLAY_CONNECTION_CLOSE:
    case WSLAY_PING:
    case WSLAY_PONG:
        return 0; /* wslay has looked at size and FIN */
    case WSLAY_CONTINUATION_FRAME:
        if (websocket->opcode == 0) {
            return WEBSOCKET_CODE_PROTOCOL;
        }
        break;
    case WSLAY_TEXT_FRAME:
        if (websocket->opcode != 0) {
            return WEBSOCKET_CODE_PROTOCOL;
        }
        break;
    case WSLAY_BINARY_FRAME:
        return WEBSOCKET_CODE_TYPE;
    default:
        return WEBSOCKET_CODE_PROTOCOL;
    }
    return frame->payload_length > websocket->message_max - websocket->message_bytes
               ? WEBSOCKET_CODE_TOO_BIG
               : 0;
}

static void frame_begin(struct websocket *websocket, const struct wslay_frame_iocb *frame)
{
    websocket->in_frame = true;
    websocket->frame_left = frame->payload_length;
    if (is_control(frame->opcode)) {
        websocket->control_bytes = 0;
    } else if (frame->opcode == WSLAY_TEXT_FRAME) {
        websocket->opcode = frame->opcode;
    }
}

static void frame_take(struct websocket *websocket, const struct wslay_frame_iocb *frame)
{
    uint8_t *to = websocket->message + websocket->message_bytes;
    CHECK(frame->data_length <= websocket->frame_left);
    websocket->frame_left -= frame->data_length;
    if (frame->data_length == 0) {
        return;
    }
    if (is_control(frame->opcode)) {
        to = websocket->control + websocket->control_bytes;
        websocket->control_bytes += (uint8_t)frame->data_length;
    } else {
        websocket->message_bytes += frame->data_length;
    }
    memcpy(to, frame->data, frame->data_length);
}

/* RFC 6455 5.5.1, 7.4 */
static enum websocket_step close_read(struct websocket *websocket)
{
    struct slice payload = websocket_control(websocket);
    websocket->code = WEBSOCKET_CODE_NONE;
    if (payload.size == 0) {
        return WEBSOCKET_CLOSE;
    }
    if (payload.size == 1) {
        return bad(websocket, WEBSOCKET_CODE_PROTOCOL);
    }
    uint16_t code = (uint16_t)(payload.data[0] << 8 | payload.data[1]);
    bool known = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
                 (code >= 3000 && code <= 4999);
    if (!known || !slice_is_utf8(slice_skip(payload, 2))) {
        return bad(websocket, WEBSOCKET_CODE_PROTOCOL);
    }
    websocket->code = code;
    return WEBSOCKET_CLOSE;
}

static enum websocket_step frame_end(struct websocket *websocket,
                                     const struct wslay_frame_iocb *frame)
{
    websocket->in_frame = false;
    switch (frame->opcode) {
    case WSLAY_CONNECTION_CLOSE:
        return close_read(websocket);
    case WSLAY_PING:
        return WEBSOCKET_PING;
    case WSLAY_PONG:
        return WEBSOCKET_PONG;
    default:
        break;
    }
    if (!frame->fin) {
        return WEBSOCKET_MORE;
    }
    websocket->opcode = 0;
    websocket->whole = true;
    return slice_is_utf8(websocket_message(websocket)) ? WEBSOCKET_TEXT
                                                       : bad(websocket, WEBSOCKET_CODE_TEXT);
}

/* The next piece of a frame. */
static enum websocket_step piece(struct websocket *websocket, bool *more_out)
{
    struct wslay_frame_iocb frame = {0};
    ssize_t got = wslay_frame_recv(websocket->frames, &frame);
    *more_out = got >= 0;
    if (got == WSLAY_ERR_WANT_READ) {
        return WEBSOCKET_MORE;
    }
    if (got < 0) {
        return bad(websocket, WEBSOCKET_CODE_PROTOCOL);
    }
    if (!websocket->in_frame) {
        uint16_t problem = frame_problem(websocket, &frame);
        if (problem != 0) {
            return bad(websocket, problem);
        }
        frame_begin(websocket, &frame);
    }
    frame_take(websocket, &frame);
    return websocket->frame_left == 0 ? frame_end(websocket, &frame) : WEBSOCKET_MORE;
}

enum websocket_step websocket_feed(struct websocket *websocket, struct slice *input)
{
    enum websocket_step step = WEBSOCKET_MORE;
    bool more = true;
    if (websocket->whole) {
        websocket->whole = false;
        websocket->message_bytes = 0;
    }
    websocket->input = *input;
    while (more && step == WEBSOCKET_MORE && !websocket->bad) {
        step = piece(websocket, &more);
    }
    *input = websocket->input;
    if (websocket->bad) {
        *input = SLICE_NONE;
        return WEBSOCKET_BAD;
    }
    return step;
}

struct slice websocket_message(const struct websocket *websocket)
{
    return slice_make(websocket->message, websocket->message_bytes);
}

struct slice websocket_control(const struct websocket *websocket)
{
    return slice_make(websocket->control, websocket->control_bytes);
}

/* --- out -------------------------------------------------------------------------------------- */

static bool put(struct websocket *websocket, struct buf *output, enum wslay_opcode opcode,
                struct slice payload)
{
    struct wslay_frame_iocb frame = {
        .fin = 1,
        .opcode = (uint8_t)opcode,
        .payload_length = payload.size,
        .mask = websocket->role == WEBSOCKET_CLIENT,
        .data = payload.data,
        .data_length = payload.size,
    };
    if (output->overflow || buf_room(output) < payload.size + WEBSOCKET_OVERHEAD) {
        return false;
    }
    websocket->output = output;
    ssize_t sent = wslay_frame_send(websocket->frames, &frame);
    CHECK(sent == (ssize_t)payload.size && !output->overflow);
    return true;
}

bool websocket_put_text(struct websocket *websocket, struct buf *output, struct slice text)
{
    return put(websocket, output, WSLAY_TEXT_FRAME, text);
}

bool websocket_put_ping(struct websocket *websocket, struct buf *output, struct slice bytes)
{
    CHECK(bytes.size <= WEBSOCKET_CONTROL_MAX);
    return put(websocket, output, WSLAY_PING, bytes);
}

bool websocket_put_pong(struct websocket *websocket, struct buf *output, struct slice bytes)
{
    CHECK(bytes.size <= WEBSOCKET_CONTROL_MAX);
    return put(websocket, output, WSLAY_PONG, bytes);
}

bool websocket_put_close(struct websocket *websocket, struct buf *output, uint16_t code,
                         struct slice words)
{
    uint8_t payload[WEBSOCKET_CONTROL_MAX];
    size_t count = MIN_OF(words.size, sizeof(payload) - 2);
    while (count < words.size && count > 0 && (words.data[count] & 0xc0) == 0x80) {
        count--; /* no half of a character */
    }
    payload[0] = (uint8_t)(code >> 8);
    payload[1] = (uint8_t)code;
    if (count > 0) {
        memcpy(payload + 2, words.data, count);
    }
    return put(websocket, output, WSLAY_CONNECTION_CLOSE, slice_make(payload, count + 2));
}

/* --- the handshake ---------------------------------------------------------------------------- */

bool websocket_key_is_sound(struct slice key)
{
    return key.size == WEBSOCKET_KEY_BYTES && key.data[21] != '=' && key.data[22] == '=' &&
           base64_is_valid(key);
}

void websocket_accept(struct slice key, uint8_t accept_out[WEBSOCKET_ACCEPT_BYTES])
{
    uint8_t memory[WEBSOCKET_KEY_BYTES + 64];
    uint8_t digest[SHA1_BYTES];
    struct buf text;
    struct buf accept;
    buf_init(&text, memory, sizeof(memory));
    buf_put(&text, key);
    buf_put(&text, GUID);
    CHECK(!text.overflow);
    sha1(buf_slice(&text), digest);
    buf_init(&accept, accept_out, WEBSOCKET_ACCEPT_BYTES);
    base64_put(&accept, slice_make(digest, sizeof(digest)));
    CHECK(accept.size == WEBSOCKET_ACCEPT_BYTES);
}
