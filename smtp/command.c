#include "smtp/command.h"

#include "smtp/limits.h"

_Static_assert(COMMAND_BARE_BYTES_MAX < COMMAND_LINE_BYTES_MAX, "parameters only add length");

static const struct {
    char name[9];
    enum verb verb;
} verbs[] = {
    {"MAIL", VERB_MAIL},
    {"RCPT", VERB_RCPT},
    {"DATA", VERB_DATA},
    {"BDAT", VERB_BDAT},
    {"EHLO", VERB_EHLO},
    {"HELO", VERB_HELO},
    {"RSET", VERB_RSET},
    {"NOOP", VERB_NOOP},
    {"VRFY", VERB_VRFY},
    {"QUIT", VERB_QUIT},
    {"EXPN", VERB_NOT_OFFERED},
    {"HELP", VERB_NOT_OFFERED},
    {"AUTH", VERB_NOT_OFFERED},
    {"STARTTLS", VERB_NOT_OFFERED},
    {"ETRN", VERB_NOT_OFFERED},
    {"ATRN", VERB_NOT_OFFERED},
    {"TURN", VERB_NOT_OFFERED},
    {"SEND", VERB_NOT_OFFERED},
    {"SOML", VERB_NOT_OFFERED},
    {"SAML", VERB_NOT_OFFERED},
    {"LHLO", VERB_NOT_OFFERED},
    {"BURL", VERB_NOT_OFFERED},
    {"XCLIENT", VERB_XCLIENT},
    {"XFORWARD", VERB_NOT_OFFERED},
    {"XEXCH50", VERB_NOT_OFFERED},
    {"GET", VERB_FOREIGN},
    {"POST", VERB_FOREIGN},
    {"PUT", VERB_FOREIGN},
    {"HEAD", VERB_FOREIGN},
    {"DELETE", VERB_FOREIGN},
    {"PATCH", VERB_FOREIGN},
    {"OPTIONS", VERB_FOREIGN},
    {"CONNECT", VERB_FOREIGN},
    {"TRACE", VERB_FOREIGN},
    {"PRI", VERB_FOREIGN},
};

static enum verb verb_find(struct slice word)
{
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (slice_equal_nocase(word, slice_from_string(verbs[i].name))) {
            return verbs[i].verb;
        }
    }
    /* A header field; no command of SMTP has a colon in its first word. */
    if (word.size > 1 && word.data[word.size - 1] == ':') {
        return VERB_FOREIGN;
    }
    return VERB_UNKNOWN;
}

/* Neither C0 controls nor DEL; as UTF-8 well-formed and without C1 controls. */
static bool is_clean(struct slice line)
{
    bool ascii = true;
    for (size_t i = 0; i < line.size; i++) {
        uint8_t byte = line.data[i];
        if (byte < ' ' || byte == 0x7F) {
            return false;
        }
        if (byte == 0xC2 && i + 1 < line.size && line.data[i + 1] < 0xA0) {
            return false;
        }
        ascii = ascii && byte < 0x80;
    }
    return ascii || slice_is_utf8(line);
}

static bool has_path(enum verb verb)
{
    return verb == VERB_MAIL || verb == VERB_RCPT;
}

enum command_fault command_parse(struct slice line, struct command *command_out)
{
    size_t size = line.size;
    while (size > 0 && (line.data[size - 1] == ' ' || line.data[size - 1] == '\t')) {
        size--;
    }
    struct slice text = slice_first(line, size);
    size_t word = slice_find(text, ' ');
    size_t argument = word;
    while (argument < text.size && text.data[argument] == ' ') {
        argument++;
    }
    struct command command = {
        .verb = verb_find(slice_first(text, word)),
        .line = text,
        .argument = slice_skip(text, argument),
    };
    *command_out = command;
    if (slice_find(line, '\r') != line.size || slice_find(line, '\n') != line.size) {
        return COMMAND_BARE_CR_LF;
    }
    /* The limits count the CRLF that was cut off. */
    size_t limit = has_path(command.verb) ? COMMAND_LINE_BYTES_MAX : COMMAND_BARE_BYTES_MAX;
    if (line.size + 2 > limit) {
        return COMMAND_TOO_LONG;
    }
    if (!is_clean(text) || (!has_path(command.verb) && !slice_is_ascii(text))) {
        return COMMAND_BAD_BYTES;
    }
    return COMMAND_OK;
}

bool command_path(struct slice argument, struct slice keyword, struct slice *path_out)
{
    if (argument.size < keyword.size ||
        !slice_equal_nocase(slice_first(argument, keyword.size), keyword)) {
        return false;
    }
    *path_out = slice_skip(argument, keyword.size);
    return true;
}

bool command_chunk(struct slice argument, bool *sized_out, uint64_t *size_out, bool *last_out)
{
    size_t digits = slice_find(argument, ' ');
    struct slice rest = slice_trim(slice_skip(argument, digits));
    *size_out = 0;
    *sized_out = slice_parse_u64(slice_first(argument, digits), size_out);
    *last_out = slice_equal_nocase(rest, SLICE("LAST"));
    return *sized_out && (rest.size == 0 || *last_out);
}
