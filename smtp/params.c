#include "smtp/params.h"

#include <string.h>

#include "smtp/xtext.h"

#define SIZE_DIGITS_MAX 20 /* RFC 1870 3 */

_Static_assert(XTEXT_BYTES_MAX >= DSN_ORCPT_BYTES_MAX && XTEXT_BYTES_MAX >= DSN_ENVID_BYTES_MAX,
               "what is taken can be decoded");

struct param {
    struct slice keyword;
    struct slice value;
    bool has_value;
};

static bool is_alphanumeric(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || (ascii_lower(byte) >= 'a' && ascii_lower(byte) <= 'z');
}

static bool keyword_is_valid(struct slice keyword)
{
    for (size_t i = 0; i < keyword.size; i++) {
        if (!is_alphanumeric(keyword.data[i]) && (i == 0 || keyword.data[i] != '-')) {
            return false;
        }
    }
    return keyword.size > 0;
}

/* Any octets but controls, spaces and "="; above ASCII as RFC 6531 3.3 allows. */
static bool value_is_valid(struct slice value)
{
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] <= ' ' || value.data[i] == '=' || value.data[i] == 0x7F) {
            return false;
        }
    }
    return value.size > 0;
}

/* Takes one parameter with its leading space off `text`. */
static bool param_next(struct slice *text, struct param *param_out)
{
    size_t start = 0;
    while (start < text->size && text->data[start] == ' ') {
        start++;
    }
    if (start == 0) {
        return false;
    }
    *text = slice_skip(*text, start);
    struct slice word = slice_first(*text, slice_find(*text, ' '));
    *text = slice_skip(*text, word.size);
    size_t equals = slice_find(word, '=');
    param_out->keyword = slice_first(word, equals);
    param_out->has_value = equals < word.size;
    param_out->value = param_out->has_value ? slice_skip(word, equals + 1) : SLICE_NONE;
    return keyword_is_valid(param_out->keyword) &&
           (!param_out->has_value || value_is_valid(param_out->value));
}

static enum params_fault take_size(const struct param *param, struct mail_params *params)
{
    if (params->size_given || param->value.size > SIZE_DIGITS_MAX ||
        !slice_parse_u64(param->value, &params->size)) {
        return PARAMS_SYNTAX;
    }
    params->size_given = true;
    return PARAMS_OK;
}

static enum params_fault take_body(const struct param *param, struct mail_params *params)
{
    if (params->body_given) {
        return PARAMS_SYNTAX;
    }
    params->body_given = true;
    if (slice_equal_nocase(param->value, SLICE("8BITMIME"))) {
        params->body = MAIL_BODY_8BITMIME;
        return PARAMS_OK;
    }
    if (slice_equal_nocase(param->value, SLICE("BINARYMIME"))) {
        return PARAMS_NOT_OFFERED;
    }
    return slice_equal_nocase(param->value, SLICE("7BIT")) ? PARAMS_OK : PARAMS_SYNTAX;
}

static enum params_fault take_smtputf8(const struct param *param, struct mail_params *params)
{
    if (params->smtputf8 || param->has_value) {
        return PARAMS_SYNTAX;
    }
    params->smtputf8 = true;
    return PARAMS_OK;
}

/* --- notifications (RFC 3461 4) --------------------------------------------------------------- */

static bool is_xtext(struct slice text)
{
    uint8_t memory[XTEXT_BYTES_MAX];
    struct buf decoded;
    buf_init(&decoded, memory, sizeof(memory));
    return text.size > 0 && xtext_decode(text, &decoded);
}

static enum params_fault take_ret(const struct param *param, struct envelope_dsn *dsn)
{
    uint8_t word = slice_equal_nocase(param->value, SLICE("FULL"))   ? ENVELOPE_RETURN_FULL
                   : slice_equal_nocase(param->value, SLICE("HDRS")) ? ENVELOPE_RETURN_HDRS
                                                                     : ENVELOPE_RETURN_ANY;
    if (dsn->word != 0 || word == ENVELOPE_RETURN_ANY) {
        return PARAMS_SYNTAX;
    }
    dsn->word = word;
    return PARAMS_OK;
}

static enum params_fault take_envid(const struct param *param, struct envelope_dsn *dsn)
{
    if (dsn->text.size > 0 || param->value.size > DSN_ENVID_BYTES_MAX || !is_xtext(param->value)) {
        return PARAMS_SYNTAX;
    }
    dsn->text = param->value;
    return PARAMS_OK;
}

/* The bit of a word of NOTIFY; 0: it is none. */
static uint8_t notify_bit(struct slice word)
{
    return slice_equal_nocase(word, SLICE("NEVER"))     ? ENVELOPE_NOTIFY_NEVER
           : slice_equal_nocase(word, SLICE("SUCCESS")) ? ENVELOPE_NOTIFY_SUCCESS
           : slice_equal_nocase(word, SLICE("FAILURE")) ? ENVELOPE_NOTIFY_FAILURE
           : slice_equal_nocase(word, SLICE("DELAY"))   ? ENVELOPE_NOTIFY_DELAY
                                                        : 0;
}

/* NEVER alone, or any of the others, each once. */
static enum params_fault take_notify(const struct param *param, struct envelope_dsn *dsn)
{
    struct slice rest = param->value;
    uint8_t bits = 0;
    bool more = true;
    while (more) {
        size_t size = slice_find(rest, ',');
        uint8_t bit = notify_bit(slice_first(rest, size));
        if (bit == 0 || (bits & bit) != 0) {
            return PARAMS_SYNTAX;
        }
        bits |= bit;
        more = size < rest.size;
        rest = slice_skip(rest, MIN_OF(size + 1, rest.size));
    }
    bool alone = bits == ENVELOPE_NOTIFY_NEVER || (bits & ENVELOPE_NOTIFY_NEVER) == 0;
    if (dsn->word != 0 || !alone) {
        return PARAMS_SYNTAX;
    }
    dsn->word = bits;
    return PARAMS_OK;
}

/* "type;text" */
static enum params_fault take_orcpt(const struct param *param, struct envelope_dsn *dsn)
{
    size_t type = slice_find(param->value, ';');
    if (dsn->text.size > 0 || param->value.size > DSN_ORCPT_BYTES_MAX ||
        type == param->value.size || !keyword_is_valid(slice_first(param->value, type))) {
        return PARAMS_SYNTAX;
    }
    struct slice text = slice_skip(param->value, type + 1);
    bool utf8 = slice_equal_nocase(slice_first(param->value, type), SLICE("utf-8"));
    if (utf8 ? text.size == 0 || !slice_is_utf8(text) : !is_xtext(text)) {
        return PARAMS_SYNTAX;
    }
    dsn->text = param->value;
    return PARAMS_OK;
}

/* --- commands --------------------------------------------------------------------------------- */

static enum params_fault take_mail_param(const struct param *param, struct mail_params *params)
{
    if (slice_equal_nocase(param->keyword, SLICE("SIZE"))) {
        return take_size(param, params);
    }
    if (slice_equal_nocase(param->keyword, SLICE("BODY"))) {
        return take_body(param, params);
    }
    if (slice_equal_nocase(param->keyword, SLICE("SMTPUTF8"))) {
        return take_smtputf8(param, params);
    }
    if (slice_equal_nocase(param->keyword, SLICE("RET"))) {
        return take_ret(param, &params->dsn);
    }
    if (slice_equal_nocase(param->keyword, SLICE("ENVID"))) {
        return take_envid(param, &params->dsn);
    }
    return PARAMS_NOT_OFFERED;
}

static enum params_fault take_rcpt_param(const struct param *param, struct envelope_dsn *dsn)
{
    if (slice_equal_nocase(param->keyword, SLICE("NOTIFY"))) {
        return take_notify(param, dsn);
    }
    if (slice_equal_nocase(param->keyword, SLICE("ORCPT"))) {
        return take_orcpt(param, dsn);
    }
    return PARAMS_NOT_OFFERED;
}

enum params_fault params_parse_mail(struct slice text, bool extended,
                                    struct mail_params *params_out)
{
    struct mail_params params = {0};
    enum params_fault fault = PARAMS_OK;
    while (text.size > 0 && fault == PARAMS_OK) {
        struct param param;
        if (!param_next(&text, &param)) {
            return PARAMS_SYNTAX;
        }
        fault = extended ? take_mail_param(&param, &params) : PARAMS_NOT_OFFERED;
    }
    *params_out = params;
    return fault;
}

enum params_fault params_parse_rcpt(struct slice text, bool extended,
                                    struct envelope_dsn *dsn_out)
{
    struct envelope_dsn dsn = {0};
    enum params_fault fault = PARAMS_OK;
    while (text.size > 0 && fault == PARAMS_OK) {
        struct param param;
        if (!param_next(&text, &param)) {
            return PARAMS_SYNTAX;
        }
        fault = extended ? take_rcpt_param(&param, &dsn) : PARAMS_NOT_OFFERED;
    }
    *dsn_out = dsn;
    return fault;
}

/* --- XCLIENT ---------------------------------------------------------------------------------- */

/* "" when it is said to be unknown. */
static struct slice known(struct slice value)
{
    bool unknown = slice_equal_nocase(value, SLICE("[UNAVAILABLE]")) ||
                   slice_equal_nocase(value, SLICE("[TEMPUNAVAIL]"));
    return unknown ? SLICE_NONE : value;
}

static bool take_address(struct slice value, struct endpoint *endpoint)
{
    struct endpoint address;
    bool prefixed = value.size > 5 && slice_equal_nocase(slice_first(value, 5), SLICE("IPV6:"));
    struct slice text = prefixed ? slice_skip(value, 5) : value;
    bool colons = slice_find(text, ':') < text.size;
    if (colons != prefixed || !endpoint_parse_address(text, &address)) {
        return false;
    }
    memcpy(endpoint->address, address.address, sizeof(address.address));
    return true;
}

static bool take_port(struct slice value, struct endpoint *endpoint)
{
    uint64_t port;
    if (value.size > 5 || value.size == 0 || value.data[0] == '0' ||
        !slice_parse_u64(value, &port) || port > UINT16_MAX) {
        return false;
    }
    endpoint->port = (uint16_t)port;
    return true;
}

/* One attribute; `seen` has a bit for each that was. */
static bool take_attribute(const struct param *param, struct xclient_params *params,
                           unsigned *seen)
{
    const struct {
        const char *name;
        bool (*take)(struct slice value, struct endpoint *endpoint);
        struct endpoint *endpoint;
        bool *has;
    } rows[] = {
        {"ADDR", take_address, &params->client, &params->has_address},
        {"PORT", take_port, &params->client, &params->has_port},
        {"DESTADDR", take_address, &params->local, &params->has_local_address},
        {"DESTPORT", take_port, &params->local, &params->has_local_port},
    };
    struct slice value = known(param->value);
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        if (!slice_equal_nocase(param->keyword, slice_from_string(rows[i].name))) {
            continue;
        }
        bool again = (*seen & 1u << i) != 0;
        *seen |= 1u << i;
        if (value.size == 0 && param->has_value && i > 0) {
            return !again;
        }
        *rows[i].has = rows[i].take(value, rows[i].endpoint);
        return !again && *rows[i].has;
    }
    return false;
}

enum params_fault params_parse_xclient(struct slice text, struct xclient_params *params_out)
{
    unsigned seen = 0;
    *params_out = (struct xclient_params){0};
    while (text.size > 0) {
        struct slice word = slice_first(text, slice_find(text, ' '));
        size_t equals = slice_find(word, '=');
        const struct param param = {
            .keyword = slice_first(word, equals),
            .value = equals < word.size ? slice_skip(word, equals + 1) : SLICE_NONE,
            .has_value = equals < word.size,
        };
        text = slice_skip(text, word.size);
        while (text.size > 0 && text.data[0] == ' ') {
            text = slice_skip(text, 1);
        }
        if (!take_attribute(&param, params_out, &seen)) {
            return PARAMS_SYNTAX;
        }
    }
    return seen == 0 ? PARAMS_SYNTAX : PARAMS_OK;
}
