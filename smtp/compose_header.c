#include "smtp/compose_header.h"

#include <string.h>

#include "core/base64.h"
#include "smtp/compose_check.h"

#define LINE_BYTES       76 /* RFC 2047 2: of a line with encoded words, and of all others here */
#define ENCODED_BYTES    75 /* RFC 2047 2: of one encoded word */
#define ENCODED_OVERHEAD 12 /* "=?utf-8?q?" and "?=" */
#define ENCODED_LEAST    24 /* room worth beginning an encoded word in */
#define TEXT_WORD_BYTES  60 /* a longer word of a text is encoded: it could not be folded */
#define QUOTED_BYTES_MAX 1024 /* of a quoted name that is encoded */
#define SEGMENT_BYTES    50 /* of a parameter's value, in a line of its own */

void header_begin(struct header_writer *writer, struct buf *buf, struct slice name)
{
    *writer = (struct header_writer){.buf = buf, .column = name.size + 1, .folds = true};
    buf_put(buf, name);
    buf_put_byte(buf, ':');
}

void header_end(struct header_writer *writer)
{
    buf_put(writer->buf, SLICE("\r\n"));
}

static void put(struct header_writer *writer, struct slice bytes)
{
    buf_put(writer->buf, bytes);
    writer->column += bytes.size;
}

/*
 * The space before what comes next, `size` bytes, as a fold when they do not fit. Never one before
 * nothing: a line of spaces alone would end the header for some.
 */
static void put_space(struct header_writer *writer, size_t size)
{
    if (writer->folds && size > 0 && writer->column + 1 + size > LINE_BYTES) {
        buf_put(writer->buf, SLICE("\r\n"));
        writer->column = 0;
    }
    put(writer, SLICE(" "));
}

void header_word(struct header_writer *writer, struct slice word)
{
    put_space(writer, word.size);
    put(writer, word);
}

/* ---- encoded words */

static bool is_letter_or_digit(uint8_t byte)
{
    return (ascii_lower(byte) >= 'a' && ascii_lower(byte) <= 'z') || (byte >= '0' && byte <= '9');
}

/* What "Q" leaves as it is in a phrase, which is the least of what it may anywhere. */
static bool is_q_plain(uint8_t byte)
{
    return is_letter_or_digit(byte) || (byte != 0 && strchr("!*+-/", byte) != NULL);
}

static size_t q_size(struct slice text)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        size += is_q_plain(text.data[i]) || text.data[i] == ' ' ? 1 : 3;
    }
    return size;
}

static void put_q(struct buf *buf, struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (is_q_plain(byte) || byte == ' ') {
            buf_put_byte(buf, byte == ' ' ? '_' : byte);
        } else {
            buf_put_byte(buf, '=');
            buf_put_hex_upper(buf, byte);
        }
    }
}

/* Bytes of the character at the start: an encoded word holds whole ones (RFC 2047 5). */
static size_t character_size(struct slice text)
{
    size_t size = 1;
    while (size < text.size && (text.data[size] & 0xC0) == 0x80) {
        size++;
    }
    return size;
}

/* How many bytes of whole characters fit into `room` when they are encoded. */
static size_t fitting(struct slice text, size_t room, bool is_q)
{
    size_t size = 0;
    while (size < text.size) {
        size_t next = size + character_size(slice_skip(text, size));
        struct slice part = slice_first(text, next);
        if ((is_q ? q_size(part) : base64_size(part.size)) > room) {
            break;
        }
        size = next;
    }
    return size;
}

/* The text as encoded words, a space or a fold before each. */
static void put_encoded(struct header_writer *writer, struct slice text)
{
    bool is_q = q_size(text) <= base64_size(text.size);
    while (text.size > 0) {
        put_space(writer, ENCODED_LEAST);
        size_t line = writer->folds ? LINE_BYTES - writer->column : (size_t)ENCODED_BYTES;
        size_t room = MIN_OF(line, (size_t)ENCODED_BYTES) - ENCODED_OVERHEAD;
        size_t size = fitting(text, room, is_q);
        /* One character of several bytes may be all that is left, and is never too long. */
        size = size == 0 ? character_size(text) : size;
        size_t before = writer->buf->size;
        buf_put_string(writer->buf, is_q ? "=?utf-8?q?" : "=?utf-8?b?");
        if (is_q) {
            put_q(writer->buf, slice_first(text, size));
        } else {
            base64_put(writer->buf, slice_first(text, size));
        }
        buf_put_string(writer->buf, "?=");
        writer->column += writer->buf->size - before;
        text = slice_skip(text, size);
    }
}

/* ---- texts of words */

/* The word of `text` at `at`, up to the next space. */
static struct slice word_at(struct slice text, size_t at)
{
    struct slice rest = slice_skip(text, at);
    return slice_first(rest, slice_find(rest, ' '));
}

static bool holds_encoded_mark(struct slice word)
{
    return word.size > 1 && memmem(word.data, word.size, "=?", 2) != NULL;
}

/*
 * Must the word be encoded for a reader to get it as it is? `exactly` when the text is what he is
 * to read; else it may hold encoded words and other syntax already. A word without characters
 * stands where a text begins or ends in a space, or has two of them.
 */
static bool wants_encoding(struct slice word, bool exactly)
{
    return !slice_is_ascii(word) ||
           (exactly &&
            (word.size == 0 || word.size > TEXT_WORD_BYTES || holds_encoded_mark(word)));
}

/* Does the word at `at` want it, or the empty one before or behind it? */
static bool is_encoded(struct slice text, size_t at, bool exactly)
{
    struct slice word = word_at(text, at);
    size_t end = at + word.size;
    bool after_space = at >= 2 && text.data[at - 2] == ' ';
    bool before_space = end + 1 < text.size && text.data[end + 1] == ' ';
    bool at_begin = at == 1;            /* behind a text's first space */
    bool at_end = end + 1 == text.size; /* before its last */
    return wants_encoding(word, exactly) ||
           (exactly && (after_space || before_space || at_begin || at_end));
}

/*
 * Words one after the other. Those that are encoded go together, with the spaces between them:
 * a reader drops the space between two encoded words (RFC 2047 6.2).
 */
static void put_words(struct header_writer *writer, struct slice text, bool exactly)
{
    size_t at = 0;
    while (at <= text.size) {
        size_t from = at;
        size_t end = at;
        while (at <= text.size && is_encoded(text, at, exactly)) {
            end = at + word_at(text, at).size;
            at = end + 1;
        }
        if (at > from) {
            put_encoded(writer, slice_make(text.data + from, end - from));
            continue;
        }
        struct slice word = word_at(text, at);
        header_word(writer, word);
        at += word.size + 1;
    }
}

void header_text(struct header_writer *writer, struct slice text)
{
    if (text.size > 0) {
        put_words(writer, text, true);
    }
}

void header_raw(struct header_writer *writer, struct slice text)
{
    text = slice_trim(text);
    if (text.size > 0) {
        put_words(writer, text, false);
    }
}

/* ---- mailboxes */

static bool is_atom_text(uint8_t byte)
{
    return is_letter_or_digit(byte) || (byte != 0 && strchr("!#$%&'*+-/=?^_`{|}~", byte) != NULL);
}

/* Atoms with one space between each two. */
static bool is_atoms(struct slice name)
{
    bool after_space = true;
    for (size_t i = 0; i < name.size; i++) {
        bool is_space = name.data[i] == ' ';
        if (is_space ? after_space : !is_atom_text(name.data[i])) {
            return false;
        }
        after_space = is_space;
    }
    return !after_space;
}

/* A quoted string (RFC 5322 3.2.4), folded at its spaces. */
static void put_quoted(struct header_writer *writer, struct slice name)
{
    size_t at = 0;
    while (at <= name.size) {
        struct slice word = word_at(name, at);
        size_t end = at + word.size;
        put_space(writer, word.size == 0 ? 0 : 2 * word.size + 2);
        size_t before = writer->buf->size;
        if (at == 0) {
            buf_put_byte(writer->buf, '"');
        }
        for (size_t i = 0; i < word.size; i++) {
            if (word.data[i] == '"' || word.data[i] == '\\') {
                buf_put_byte(writer->buf, '\\');
            }
            buf_put_byte(writer->buf, word.data[i]);
        }
        if (end == name.size) {
            buf_put_byte(writer->buf, '"');
        }
        writer->column += writer->buf->size - before;
        at = end + 1;
    }
}

static void put_phrase(struct header_writer *writer, struct slice name)
{
    if (!slice_is_ascii(name) || holds_encoded_mark(name) ||
        compose_has_long_word(name, TEXT_WORD_BYTES)) {
        put_encoded(writer, name);
    } else if (is_atoms(name)) {
        put_words(writer, name, false);
    } else {
        put_quoted(writer, name);
    }
}

void header_mailbox(struct header_writer *writer, const struct compose_mailbox *mailbox)
{
    if (mailbox->name.size == 0) {
        header_word(writer, mailbox->email);
        return;
    }
    put_phrase(writer, mailbox->name);
    put_space(writer, mailbox->email.size + 2);
    put(writer, SLICE("<"));
    put(writer, mailbox->email);
    put(writer, SLICE(">"));
}

/* ---- lists of addresses */

/* The end of what begins with a quote or a bracket at the start of `text`; text.size without it. */
static size_t closing_at(struct slice text, uint8_t closing)
{
    size_t at = 1;
    while (at < text.size && text.data[at] != closing) {
        at += text.data[at] == '\\' ? 2 : 1;
    }
    return MIN_OF(at + 1, text.size);
}

/* Words as they are; true when they are ASCII. */
static bool put_plain(struct header_writer *writer, struct slice text)
{
    text = slice_trim(text);
    for (size_t at = 0; at < text.size;) {
        struct slice word = word_at(text, at);
        header_word(writer, word);
        at += word.size + 1;
    }
    return slice_is_ascii(text);
}

/* A quoted string that is not ASCII as encoded words of what it holds. */
static bool put_quoted_name(struct header_writer *writer, struct slice quoted)
{
    uint8_t bytes[QUOTED_BYTES_MAX];
    size_t size = 0;
    if (quoted.size > sizeof(bytes)) {
        return put_plain(writer, quoted);
    }
    for (size_t i = 1; i + 1 < quoted.size; i++) {
        i += quoted.data[i] == '\\' && i + 2 < quoted.size;
        bytes[size++] = quoted.data[i];
    }
    put_encoded(writer, slice_make(bytes, size));
    return true;
}

/* Bytes up to the next separator. */
static size_t run_size(struct slice text)
{
    size_t size = 0;
    while (size < text.size && memchr("\"<,;:(", text.data[size], 6) == NULL) {
        size++;
    }
    return size;
}

/* A name, or an address without brackets. */
static size_t put_unquoted(struct header_writer *writer, struct slice text, bool *ascii)
{
    struct slice run = slice_first(text, run_size(text));
    if (slice_find(run, '@') < run.size) {
        *ascii = put_plain(writer, run) && *ascii;
    } else {
        header_raw(writer, run);
    }
    return run.size;
}

/* A quoted name, or an address that begins with a quote. */
static size_t put_quote(struct header_writer *writer, struct slice text, bool *ascii)
{
    size_t used = closing_at(text, '"');
    struct slice rest = slice_skip(text, used);
    if (slice_starts_with(rest, SLICE("@"))) {
        used += run_size(rest);
        *ascii = put_plain(writer, slice_first(text, used)) && *ascii;
    } else if (slice_is_ascii(slice_first(text, used))) {
        put_plain(writer, slice_first(text, used));
    } else {
        *ascii = put_quoted_name(writer, slice_first(text, used)) && *ascii;
    }
    return used;
}

bool header_addresses(struct header_writer *writer, struct slice text)
{
    bool ascii = true;
    while (text.size > 0) {
        uint8_t byte = text.data[0];
        size_t used = 1;
        if (byte == ',' || byte == ';' || byte == ':') {
            put(writer, slice_first(text, 1));
        } else if (byte == '"') {
            used = put_quote(writer, text, &ascii);
        } else if (byte == '<' || byte == '(') {
            used = closing_at(text, byte == '<' ? '>' : ')');
            ascii = put_plain(writer, slice_first(text, used)) && ascii;
        } else if (byte != ' ') {
            used = put_unquoted(writer, text, &ascii);
        }
        text = slice_skip(text, used);
    }
    return ascii;
}

/* ---- parameters */

/* What may stand in a token of MIME (RFC 2045 5.1), and means nothing in RFC 2231. */
static bool is_attribute_char(uint8_t byte)
{
    return is_letter_or_digit(byte) || (byte != 0 && strchr("!#$&+-.^_`{|}~", byte) != NULL);
}

static size_t percent_size(uint8_t byte)
{
    return is_attribute_char(byte) ? 1 : 3;
}

static void put_percent(struct header_writer *writer, struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (is_attribute_char(byte)) {
            put(writer, slice_make(&byte, 1));
        } else {
            put(writer, SLICE("%"));
            buf_put_hex_upper(writer->buf, byte);
            writer->column += 2;
        }
    }
}

/* How many bytes of whole characters take at most a segment when they are escaped. */
static size_t segment_size(struct slice value)
{
    size_t size = 0;
    size_t taken = 0;
    while (size < value.size) {
        size_t character = character_size(slice_skip(value, size));
        for (size_t i = 0; i < character; i++) {
            taken += percent_size(value.data[size + i]);
        }
        if (taken > SEGMENT_BYTES && size > 0) {
            break;
        }
        size += character;
    }
    return size;
}

/* name*=utf-8''…, or in segments name*0*=utf-8''…; name*1*=… (RFC 2231 3, 4). */
static void put_extended(struct header_writer *writer, const char *name, struct slice value)
{
    bool whole = segment_size(value) == value.size;
    for (unsigned i = 0; value.size > 0; i++) {
        struct slice segment = slice_first(value, segment_size(value));
        put(writer, SLICE(";"));
        put_space(writer, LINE_BYTES);
        size_t before = writer->buf->size;
        buf_put_string(writer->buf, name);
        if (!whole) {
            buf_put_byte(writer->buf, '*');
            buf_put_u64(writer->buf, i);
        }
        buf_put_string(writer->buf, i == 0 ? "*=utf-8''" : "*=");
        writer->column += writer->buf->size - before;
        put_percent(writer, segment);
        value = slice_skip(value, segment.size);
    }
}

void header_parameter(struct header_writer *writer, const char *name, struct slice value)
{
    /* Some readers decode encoded words where there may be none, in quotes. */
    if (!slice_is_ascii(value) || value.size > SEGMENT_BYTES || holds_encoded_mark(value)) {
        put_extended(writer, name, value);
        return;
    }
    put(writer, SLICE(";"));
    put_space(writer, strlen(name) + 2 * value.size + 3);
    put(writer, slice_from_string(name));
    put(writer, SLICE("=\""));
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] == '"' || value.data[i] == '\\') {
            put(writer, SLICE("\\"));
        }
        put(writer, slice_make(value.data + i, 1));
    }
    put(writer, SLICE("\""));
}
