#include "bench/script.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum script_stage stage;
} stages[] = {
    {"connect", STAGE_CONNECT}, {"ehlo", STAGE_EHLO}, {"mail", STAGE_MAIL}, {"rcpt", STAGE_RCPT},
    {"data", STAGE_DATA},       {"dot", STAGE_DOT},   {"quit", STAGE_QUIT},
};

/* --- reading ---------------------------------------------------------------------------------- */

static struct slice next_word(struct slice *text)
{
    *text = slice_trim(*text);
    size_t end = 0;
    while (end < text->size && text->data[end] != ' ' && text->data[end] != '\t') {
        end++;
    }
    struct slice word = slice_first(*text, end);
    *text = slice_trim(slice_skip(*text, end));
    return word;
}

static bool read_stage(struct slice word, enum script_stage *stage_out)
{
    for (size_t i = 0; i < COUNT_OF(stages); i++) {
        if (slice_equal_nocase(word, slice_from_string(stages[i].name))) {
            *stage_out = stages[i].stage;
            return true;
        }
    }
    return false;
}

/* Takes times=, delay= and chance= off the front of `text`; false on a bad value. */
static bool read_attributes(struct script_rule *rule, struct slice *text)
{
    for (;;) {
        struct slice rest = *text;
        struct slice word = next_word(&rest);
        size_t equals = slice_find(word, '=');
        if (equals == word.size) {
            return true;
        }
        struct slice name = slice_first(word, equals);
        struct slice digits = slice_skip(word, equals + 1);
        if (slice_ends_with(digits, SLICE("%"))) {
            digits = slice_first(digits, digits.size - 1);
        }
        uint64_t value = 0;
        if (!slice_parse_u64(digits, &value) || value > UINT32_MAX) {
            return false;
        }
        if (slice_equal(name, SLICE("times"))) {
            rule->limited = true;
            rule->times = value;
        } else if (slice_equal(name, SLICE("delay"))) {
            rule->delay_ms = (uint32_t)value;
        } else if (slice_equal(name, SLICE("chance")) && value <= 100) {
            rule->chance_per_mille = (uint32_t)value * 10;
        } else {
            return false;
        }
        *text = rest;
    }
}

/* Three digits and what follows, "\n" as a line end. */
static bool read_reply(struct script_rule *rule, struct slice text)
{
    struct buf reply;
    buf_init(&reply, rule->reply, sizeof(rule->reply));
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\\' && i + 1 < text.size && text.data[i + 1] == 'n') {
            buf_put_string(&reply, "\r\n");
            i++;
        } else {
            buf_put_byte(&reply, text.data[i]);
        }
    }
    buf_put_string(&reply, "\r\n");
    rule->reply_bytes = (uint16_t)reply.size;
    return !reply.overflow;
}

static bool read_action(struct script_rule *rule, struct slice text)
{
    uint64_t code = 0;
    if (slice_equal(text, SLICE("pass"))) {
        rule->action = ACTION_PASS;
        return true;
    }
    if (slice_equal(text, SLICE("drop"))) {
        rule->action = ACTION_DROP;
        return true;
    }
    if (slice_equal(text, SLICE("hang"))) {
        rule->action = ACTION_HANG;
        return true;
    }
    rule->action = ACTION_REPLY;
    return text.size >= 3 && slice_parse_u64(slice_first(text, 3), &code) && code >= 200 &&
           code <= 599 && read_reply(rule, text);
}

static const char *read_rule(struct script_rule *rule, struct slice line)
{
    *rule = (struct script_rule){.chance_per_mille = 1000};
    if (!read_stage(next_word(&line), &rule->stage)) {
        return "the stage is one of connect ehlo mail rcpt data dot quit";
    }
    struct slice pattern = next_word(&line);
    if (pattern.size == 0 || pattern.size > sizeof(rule->pattern)) {
        return "a pattern follows the stage: * or domain or user@domain";
    }
    memcpy(rule->pattern, pattern.data, pattern.size);
    rule->pattern_bytes = (uint16_t)pattern.size;
    if (!read_attributes(rule, &line)) {
        return "times=N, delay=MS and chance=P% take whole numbers";
    }
    if (!read_action(rule, line)) {
        return "the action is a reply (three digits and text), drop, hang or pass";
    }
    return NULL;
}

bool script_read(struct script *script, struct slice text, struct buf *reason_out)
{
    *script = (struct script){.rules = calloc(SCRIPT_RULES_MAX, sizeof(struct script_rule))};
    if (script->rules == NULL) {
        buf_put_string(reason_out, "no memory for a script");
        return false;
    }
    for (unsigned number = 1; text.size > 0; number++) {
        size_t end = slice_find(text, '\n');
        struct slice line = slice_first(text, end);
        text = slice_skip(text, MIN_OF(end + 1, text.size));
        if (slice_ends_with(line, SLICE("\r"))) {
            line = slice_first(line, line.size - 1);
        }
        line = slice_trim(line);
        if (line.size == 0 || line.data[0] == '#') {
            continue;
        }
        const char *wrong = script->count == SCRIPT_RULES_MAX
                                ? "too many rules"
                                : read_rule(&script->rules[script->count], line);
        if (wrong != NULL) {
            buf_printf(reason_out, "script line %u: %s", number, wrong);
            script_fini(script);
            return false;
        }
        script->count++;
    }
    return true;
}

void script_fini(struct script *script)
{
    free(script->rules);
    *script = (struct script){0};
}

/* --- matching --------------------------------------------------------------------------------- */

/* Index of the last '@'; size when there is none. */
static size_t last_at(struct slice address)
{
    size_t at = address.size;
    for (size_t i = 0; i < address.size; i++) {
        at = address.data[i] == '@' ? i : at;
    }
    return at;
}

static struct slice domain_of(struct slice address)
{
    size_t at = last_at(address);
    return at < address.size ? slice_skip(address, at + 1) : SLICE_NONE;
}

static bool domain_matches(struct slice pattern, struct slice domain)
{
    if (slice_equal(pattern, SLICE("*"))) {
        return true;
    }
    if (slice_starts_with(pattern, SLICE("*."))) {
        struct slice suffix = slice_skip(pattern, 1);
        return domain.size > suffix.size &&
               slice_equal_nocase(slice_skip(domain, domain.size - suffix.size), suffix);
    }
    return domain.size > 0 && slice_equal_nocase(pattern, domain);
}

bool script_pattern_matches(struct slice pattern, struct slice address)
{
    size_t at = last_at(pattern);
    if (at == pattern.size) {
        return domain_matches(pattern, domain_of(address));
    }
    struct slice local = slice_first(address, last_at(address));
    struct slice local_pattern = slice_first(pattern, at);
    return address.size > 0 &&
           (slice_equal(local_pattern, SLICE("*")) || slice_equal_nocase(local_pattern, local)) &&
           domain_matches(slice_skip(pattern, at + 1), domain_of(address));
}

static bool matches_any(struct slice pattern, struct slice addresses)
{
    if (addresses.size == 0) {
        return script_pattern_matches(pattern, SLICE_NONE);
    }
    while (addresses.size > 0) {
        size_t end = slice_find(addresses, 0);
        if (script_pattern_matches(pattern, slice_first(addresses, end))) {
            return true;
        }
        addresses = slice_skip(addresses, MIN_OF(end + 1, addresses.size));
    }
    return false;
}

struct script_rule *script_match(struct script *script, enum script_stage stage,
                                 struct slice addresses, struct prng *prng)
{
    for (unsigned i = 0; i < script->count; i++) {
        struct script_rule *rule = &script->rules[i];
        struct slice pattern = slice_make(rule->pattern, rule->pattern_bytes);
        if (rule->stage != stage || (rule->limited && rule->times == 0) ||
            !matches_any(pattern, addresses) || !prng_chance(prng, rule->chance_per_mille)) {
            continue;
        }
        rule->times -= rule->limited;
        return rule;
    }
    return NULL;
}
