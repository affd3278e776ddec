#include "smtp/reference.h"

#include <string.h>

#include "core/base64.h"
#include "core/check.h"
#include "core/json.h"
#include "core/queue_name.h"
#include "core/sha256.h"
#include "smtp/envelope.h"
#include "smtp/event_details.h"
#include "smtp/mime_field.h"
#include "smtp/named_values.h"

/* What every one of ours begins with, as JSON and as base64: whole quanta of it. */
#define MARK        "{\"_@_\":\"\\\\_/\","
#define MARK_BASE64 "eyJfQF8iOiJcXF8v"

#define IDENTITY        "\"ringpost\":{\"id\":\""
#define DOMAIN_MEMBER   "\",\"domain\":\""
#define IDENTITY_END    "\"}"
#define SIGNATURE       ",\"signature\":\""
#define SIGNATURE_END   "\"}"
#define SIGNATURE_BYTES 16 /* of the keyed hash that are kept */
#define TAIL_BYTES      (sizeof(SIGNATURE) - 1 + 2 * SIGNATURE_BYTES + sizeof(SIGNATURE_END) - 1)

#define LINE_CHARS      72
#define FIRST_CHARS     56 /* beside a name */
#define KEPT_HEAD_BYTES 18 /* state, id, size of the domain */
#define VALUE_BYTES_MAX (4 * REFERENCE_FIELD_BYTES_MAX) /* folded anew, by anybody */

_Static_assert(sizeof(struct id) == 16 && KEPT_HEAD_BYTES == 1 + 16 + 1, "docs/spool-format.md");

/* --- sending ---------------------------------------------------------------------------------- */

/* Who gets it. */
struct audience {
    struct slice domain; /* of all; empty: of several */
    struct slice only;   /* the one recipient; empty: there are several */
    uint16_t index;
};

/* A domain that a JSON string has as it is: it is read back without a parser. */
static bool is_plain(struct slice domain)
{
    size_t size = 0;
    while (size < domain.size) {
        size_t bytes = json_plain_bytes(slice_skip(domain, size));
        if (bytes == 0) {
            return false;
        }
        size += bytes;
    }
    return domain.size <= UINT8_MAX;
}

static struct audience audience_of(struct slice envelope)
{
    struct audience audience = {.index = ID_INDEX_MESSAGE};
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    bool shared = true;
    unsigned count = 0;
    CHECK(envelope_open(envelope, &sender, &cursor));
    while ((shared || count < 2) && envelope_next(&cursor, &recipient) == 1) {
        struct slice domain = address_domain(recipient.address);
        shared = shared && (count == 0 || slice_equal_nocase(domain, audience.domain));
        audience.domain = domain;
        audience.only = count == 0 ? recipient.address : SLICE_NONE;
        audience.index = count == 0 ? recipient.index : ID_INDEX_MESSAGE;
        count++;
    }
    if (!shared || !is_plain(audience.domain)) {
        audience.domain = SLICE_NONE;
    }
    return audience;
}

bool reference_name_is_taken(struct slice name)
{
    static const char *const taken[] = {"_@_", "ringpost", "recipient", "signature"};
    for (size_t i = 0; i < COUNT_OF(taken); i++) {
        if (slice_equal(name, slice_from_string(taken[i]))) {
            return true;
        }
    }
    return false;
}

static void put_identity(struct buf *json, struct id id, const struct audience *audience)
{
    id = id_with_index(id, audience->index);
    buf_put(json, SLICE(MARK IDENTITY));
    id_put(json, &id);
    buf_put(json, SLICE(DOMAIN_MEMBER));
    buf_put(json, audience->domain);
    buf_put(json, SLICE(IDENTITY_END));
}

static void put_recipient(struct buf *json, struct slice recipient)
{
    size_t before = json->size;
    if (recipient.size == 0) {
        return;
    }
    buf_put(json, SLICE(",\"recipient\":"));
    json_put_string(json, recipient);
    if (json->overflow) {
        json->size = before;
        json->overflow = false;
    }
}

/* As far as there is room. */
static void put_meta(struct buf *json, const struct conf_names *names,
                     const struct metadata *metadata)
{
    uint8_t bytes[REFERENCE_JSON_BYTES_MAX];
    uint8_t extra_bytes[REFERENCE_JSON_BYTES_MAX];
    struct metadata shown = *metadata;
    struct named_value member;
    struct slice list = metadata->extra;
    struct buf extra;
    struct buf meta;
    if (names->count == 0 || buf_room(json) < 2) {
        return;
    }
    buf_init(&extra, extra_bytes, sizeof(extra_bytes));
    while (named_value_next(&list, &member)) {
        if (!reference_name_is_taken(member.name) && !extra.overflow) {
            named_value_put(&extra, member.name, member.value);
        }
    }
    shown.extra = buf_slice(&extra);
    buf_init(&meta, bytes, buf_room(json) - 1);
    event_details_put_meta(&meta, names, &shown);
    if (meta.size > 0) {
        buf_put_byte(json, ',');
        buf_put(json, buf_slice(&meta));
    }
}

static void sign(const struct reference_key *key, struct slice text,
                 uint8_t signature_out[SHA256_BYTES])
{
    sha256_keyed(slice_make(key->bytes, sizeof(key->bytes)), text, signature_out);
}

static void put_folded(struct buf *buf, struct slice name, struct slice text)
{
    size_t size = FIRST_CHARS;
    buf_put(buf, name);
    buf_put(buf, SLICE(": "));
    while (text.size > size) {
        buf_put(buf, slice_first(text, size));
        buf_put(buf, SLICE("\r\n\t"));
        text = slice_skip(text, size);
        size = LINE_CHARS;
    }
    buf_put(buf, text);
    buf_put(buf, SLICE("\r\n"));
}

void reference_put(struct buf *buf, const struct conf_trace *trace,
                   const struct reference_key *key, const struct reference_facts *facts)
{
    uint8_t json_bytes[REFERENCE_JSON_BYTES_MAX];
    uint8_t text_bytes[(REFERENCE_JSON_BYTES_MAX + 2) / 3 * 4];
    uint8_t signature[SHA256_BYTES];
    const struct audience audience = audience_of(facts->envelope);
    struct buf json;
    struct buf text;
    buf_init(&json, json_bytes, sizeof(json_bytes) - TAIL_BYTES);
    put_identity(&json, facts->id, &audience);
    put_recipient(&json, audience.only);
    put_meta(&json, &trace->meta, facts->metadata);
    CHECK(!json.overflow);
    sign(key, buf_slice(&json), signature);
    json.capacity = sizeof(json_bytes);
    buf_put(&json, SLICE(SIGNATURE));
    buf_put_hex(&json, slice_make(signature, SIGNATURE_BYTES));
    buf_put(&json, SLICE(SIGNATURE_END));
    CHECK(!json.overflow);
    buf_init(&text, text_bytes, sizeof(text_bytes));
    base64_put(&text, buf_slice(&json));
    put_folded(buf, trace->header_name, buf_slice(&text));
}

/* --- receiving -------------------------------------------------------------------------------- */

/* Does it begin as one of ours does, wherever it is folded? */
static bool looks_like_one(struct slice value)
{
    const struct slice mark = SLICE(MARK_BASE64);
    size_t matched = 0;
    for (size_t i = 0; i < value.size && matched < mark.size; i++) {
        uint8_t byte = value.data[i];
        if (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n') {
            continue;
        }
        if (byte != mark.data[matched]) {
            return false;
        }
        matched++;
    }
    return matched == mark.size && value.size <= VALUE_BYTES_MAX;
}

/* Takes `text` off the beginning. */
static bool take(struct slice *rest, struct slice text)
{
    if (!slice_starts_with(*rest, text)) {
        return false;
    }
    *rest = slice_skip(*rest, text.size);
    return true;
}

/* Signed with our key, so we have written it; only a later version would have done so otherwise. */
static bool read_signed(struct slice text, struct reference *reference)
{
    struct slice rest = text;
    struct slice id;
    if (!take(&rest, SLICE(MARK IDENTITY)) || rest.size < ID_TEXT_BYTES) {
        return false;
    }
    id = slice_first(rest, ID_TEXT_BYTES);
    rest = slice_skip(rest, ID_TEXT_BYTES);
    if (!id_parse(id, &reference->id) || !take(&rest, SLICE(DOMAIN_MEMBER))) {
        return false;
    }
    reference->domain = slice_first(rest, slice_find(rest, '"'));
    return reference->domain.size <= UINT8_MAX;
}

static bool is_in_time(const struct id *id, uint64_t wall_ns)
{
    uint64_t then_ms = id_ms(id);
    uint64_t now_ms = wall_ns / NS_PER_MS;
    return then_ms <= now_ms ? now_ms - then_ms <= REFERENCE_AGE_MAX_S * 1000ull
                             : then_ms - now_ms <= REFERENCE_AHEAD_MAX_S * 1000ull;
}

/* From the mark to the end of the object, without the signature. */
static struct slice trace_of(struct buf *json, size_t signed_bytes)
{
    const size_t mark = sizeof(MARK) - 1;
    json->data[mark - 1] = '{';
    json->data[signed_bytes] = '}';
    return slice_make(json->data + mark - 1, signed_bytes + 2 - mark);
}

static enum reference_state judge(struct buf *json, const struct reference_key *key,
                                  uint64_t wall_ns, struct reference *reference)
{
    uint8_t expected[SHA256_BYTES];
    uint8_t text[2 * SIGNATURE_BYTES];
    struct buf hex;
    struct slice whole = buf_slice(json);
    if (json->overflow || whole.size < sizeof(MARK) - 1 + TAIL_BYTES) {
        return REFERENCE_NONE;
    }
    const size_t signed_bytes = whole.size - TAIL_BYTES;
    struct slice tail = slice_skip(whole, signed_bytes);
    if (!take(&tail, SLICE(SIGNATURE)) || !slice_ends_with(tail, SLICE(SIGNATURE_END))) {
        return REFERENCE_NONE;
    }
    sign(key, slice_first(whole, signed_bytes), expected);
    buf_init(&hex, text, sizeof(text));
    buf_put_hex(&hex, slice_make(expected, SIGNATURE_BYTES));
    if (!secret_equal(tail.data, text, sizeof(text)) ||
        !read_signed(slice_first(whole, signed_bytes), reference)) {
        return REFERENCE_FORGED;
    }
    if (!is_in_time(&reference->id, wall_ns)) {
        return REFERENCE_EXPIRED;
    }
    reference->trace = trace_of(json, signed_bytes);
    return REFERENCE_VALID;
}

void reference_find(struct slice header, const struct reference_key *key, uint64_t wall_ns,
                    struct buf *scratch, struct reference *reference_out)
{
    enum reference_state best = REFERENCE_NONE;
    struct mime_field field;
    for (unsigned tries = 0; tries < REFERENCE_TRIES_MAX && mime_field_next(&header, &field);) {
        if (!looks_like_one(field.value)) {
            continue;
        }
        tries++;
        buf_reset(scratch);
        base64_get(scratch, field.value);
        *reference_out = (struct reference){0};
        reference_out->state = judge(scratch, key, wall_ns, reference_out);
        if (reference_out->state == REFERENCE_VALID) {
            return;
        }
        best = MAX_OF(best, reference_out->state);
    }
    *reference_out = (struct reference){.state = best};
}

/* --- in records ------------------------------------------------------------------------------- */

static const char *word_of(const struct reference *reference, struct slice recipient,
                           bool *counted)
{
    bool here = recipient.size == 0 ||
                (reference->domain.size > 0 &&
                 slice_equal_nocase(reference->domain, address_domain(recipient)));
    switch (reference->state) {
    case REFERENCE_NONE:
        return "none";
    case REFERENCE_FORGED:
        return "forged";
    case REFERENCE_EXPIRED:
        return "expired";
    case REFERENCE_VALID:
        if (here && !*counted) {
            *counted = true;
            return "valid";
        }
        return here ? "repeated" : "elsewhere";
    }
    CHECK(false);
}

void reference_put_record(struct buf *buf, const struct reference *reference,
                          struct slice recipient, bool *counted)
{
    struct json json;
    uint8_t id_text[ID_TEXT_BYTES];
    struct buf id;
    json_init(&json, buf);
    json_object(&json);
    json_key(&json, "state");
    json_string(&json, slice_from_string(word_of(reference, recipient, counted)));
    if (reference->state == REFERENCE_VALID) {
        buf_init(&id, id_text, sizeof(id_text));
        id_put(&id, &reference->id);
        json_key(&json, "id");
        json_string(&json, buf_slice(&id));
        json_key(&json, "domain");
        json_string(&json, reference->domain);
    }
    if (reference->trace.size > 0) {
        json_key(&json, "supplemental_trace");
        json_raw(&json, reference->trace);
    }
    json_object_end(&json);
}

/* --- in the spool ----------------------------------------------------------------------------- */

void reference_keep(struct buf *buf, const struct reference *reference)
{
    buf_put_byte(buf, (uint8_t)reference->state);
    if (reference->state == REFERENCE_VALID) {
        buf_put(buf, slice_make(reference->id.bytes, sizeof(reference->id.bytes)));
        buf_put_byte(buf, (uint8_t)reference->domain.size);
        buf_put(buf, reference->domain);
        buf_put(buf, reference->trace);
    }
}

bool reference_kept(struct slice bytes, struct reference *reference_out)
{
    *reference_out = (struct reference){0};
    if (bytes.size == 0 || bytes.data[0] > REFERENCE_VALID) {
        return false;
    }
    reference_out->state = (enum reference_state)bytes.data[0];
    if (reference_out->state != REFERENCE_VALID) {
        return bytes.size == 1;
    }
    if (bytes.size < KEPT_HEAD_BYTES || bytes.size - KEPT_HEAD_BYTES < bytes.data[17]) {
        return false;
    }
    memcpy(reference_out->id.bytes, bytes.data + 1, sizeof(reference_out->id.bytes));
    reference_out->domain = slice_make(bytes.data + KEPT_HEAD_BYTES, bytes.data[17]);
    reference_out->trace = slice_skip(bytes, KEPT_HEAD_BYTES + (size_t)bytes.data[17]);
    return true;
}
