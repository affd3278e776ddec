#include "smtp/params.h"

#include <string.h>

#define SIZE_DIGITS_MAX 20 /* RFC 1870 3 */

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

enum params_fault params_parse_rcpt(struct slice text)
{
    struct param param;
    if (text.size == 0) {
        return PARAMS_OK;
    }
    return param_next(&text, &param) ? PARAMS_NOT_OFFERED : PARAMS_SYNTAX;
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
