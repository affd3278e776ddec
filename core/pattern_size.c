#include "core/pattern_size.h"

struct walk {
    struct slice text;
    size_t at;
    uint64_t sums[PATTERN_DEPTH_MAX + 1]; /* of what stands in each open group, but for `last` */
    unsigned depth;
    uint64_t last;   /* the item that a repeat would repeat; 0: there is none */
    bool last_wide;  /* it is a part of a character outside ASCII */
    const char *why; /* null: fine so far */
};

/* 0 behind the end: no pattern has that byte. */
static uint8_t peek(const struct walk *walk, size_t ahead)
{
    return ahead < walk->text.size - walk->at ? walk->text.data[walk->at + ahead] : 0;
}

static void item_add(struct walk *walk, uint64_t size, bool wide)
{
    walk->sums[walk->depth] += walk->last;
    walk->last = size;
    walk->last_wide = wide;
}

/* What a group is, "?:" and its like. Names count as characters: that is more, not less. */
static void kind_skip(struct walk *walk)
{
    static const struct slice kinds = {(const uint8_t *)":=!>", 4};
    if (peek(walk, 0) == '?') {
        walk->at++;
        walk->at += slice_find(kinds, peek(walk, 0)) < kinds.size;
    }
}

static void group_open(struct walk *walk)
{
    if (peek(walk, 1) == '*') {
        walk->why = "verbs, (*…, are not taken";
    } else if (walk->depth == PATTERN_DEPTH_MAX) {
        walk->why = "groups nest too deep";
    } else {
        item_add(walk, 0, false);
        walk->sums[++walk->depth] = 0;
        walk->at++;
        kind_skip(walk);
    }
}

static void group_close(struct walk *walk)
{
    if (walk->depth == 0) {
        walk->why = "a ) has no (";
        return;
    }
    uint64_t sum = walk->sums[walk->depth--] + walk->last;
    walk->last = MAX_OF(sum, 1);
    walk->last_wide = false;
    walk->at++;
}

/* Behind '\': the letter it is about, and what that takes in braces. */
static void escape_skip(struct walk *walk)
{
    static const struct slice braced = {(const uint8_t *)"xpPoNgk", 7};
    uint8_t letter = peek(walk, 1);
    if (letter == 0 || letter >= 0x80) {
        walk->why = "a \\ wants an ASCII character behind it";
        return;
    }
    if (letter == 'Q') {
        walk->why = "\\Q is not taken";
        return;
    }
    walk->at += letter == 'c' && peek(walk, 2) != 0 ? 3 : 2;
    if (slice_find(braced, letter) < braced.size && peek(walk, 0) == '{') {
        while (peek(walk, 0) != 0 && peek(walk, 0) != '}') {
            walk->at++;
        }
        walk->at += peek(walk, 0) == '}';
    }
}

/* From '[' on, behind its ']'. */
static void class_skip(struct walk *walk)
{
    walk->at++;
    walk->at += peek(walk, 0) == '^';
    walk->at += peek(walk, 0) == ']'; /* the first one is a member */
    while (walk->why == NULL && peek(walk, 0) != ']') {
        uint8_t byte = peek(walk, 0);
        if (byte == 0) {
            walk->why = "a [ has no ]";
        } else if (byte >= 0x80) {
            walk->why = "characters in brackets are ASCII";
        } else if (byte == '\\') {
            escape_skip(walk);
        } else if (byte == '[' && peek(walk, 1) == ':') {
            walk->at += 2;
            while (peek(walk, 0) != 0 && peek(walk, 0) != ']') {
                walk->at++;
            }
            walk->at += peek(walk, 0) == ']';
        } else {
            walk->at++;
        }
    }
    walk->at++;
}

static bool number_read(struct walk *walk, uint64_t *number)
{
    size_t start = walk->at;
    *number = 0;
    while (peek(walk, 0) >= '0' && peek(walk, 0) <= '9') {
        uint64_t digit = (uint64_t)(peek(walk, 0) - '0');
        *number = MIN_OF(*number * 10 + digit, PATTERN_POSITIONS_MAX + 1);
        walk->at++;
    }
    return walk->at > start;
}

/* {3}, {3,} or {3,5} → how often it stands there written out; else false, and nothing is read. */
static bool braces_read(struct walk *walk, uint64_t *times)
{
    size_t start = walk->at++;
    uint64_t least;
    uint64_t most;
    bool good = number_read(walk, &least);
    *times = least;
    if (good && peek(walk, 0) == ',') {
        walk->at++;
        *times = number_read(walk, &most) ? most : least + 1;
    }
    if (!good || peek(walk, 0) != '}') {
        walk->at = start;
        return false;
    }
    walk->at++;
    return true;
}

static void repeat(struct walk *walk, uint64_t times)
{
    if (walk->last_wide) {
        walk->why = "only ASCII characters and groups can be repeated";
        return;
    }
    walk->last *= MAX_OF(times, 1);
}

static void step(struct walk *walk)
{
    uint64_t times = 1;
    uint8_t byte = peek(walk, 0);
    switch (byte) {
    case 0:
        walk->why = "a NUL is not taken";
        return;
    case '(':
        group_open(walk);
        return;
    case ')':
        group_close(walk);
        return;
    case '[':
        class_skip(walk);
        item_add(walk, 1, false);
        return;
    case '\\':
        escape_skip(walk);
        item_add(walk, 1, false);
        return;
    case '*':
    case '+':
    case '?':
        walk->at++;
        repeat(walk, 1);
        return;
    case '{':
        if (braces_read(walk, &times)) {
            repeat(walk, times);
            return;
        }
        break;
    default:
        break;
    }
    walk->at++;
    item_add(walk, 1, byte >= 0x80);
}

uint32_t pattern_size(struct slice text, const char **why_out)
{
    struct walk walk = {.text = text};
    if (text.size == 0) {
        walk.why = "it is empty";
    } else if (text.size > PATTERN_BYTES_MAX) {
        walk.why = "it has more than 2,048 bytes";
    }
    while (walk.why == NULL && walk.at < text.size) {
        step(&walk);
        if (walk.last + walk.sums[walk.depth] > PATTERN_POSITIONS_MAX) {
            walk.why = "with its repeats written out it is longer than 2,048 characters";
        }
    }
    if (walk.why == NULL && walk.depth > 0) {
        walk.why = "a ( has no )";
    }
    *why_out = walk.why;
    uint64_t size = walk.sums[0] + walk.last;
    return walk.why == NULL ? (uint32_t)MAX_OF(size, 1) : 0;
}
