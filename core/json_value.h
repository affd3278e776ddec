/*
 * JSON in, as values that can be walked: one document (RFC 8259) read into an arena. It is strict,
 * since what is read here comes from strangers: no byte order mark, nothing behind the document, no
 * key twice in an object, no NUL and no lone surrogate in a string, no integer beyond 64 bits with
 * its sign, no number beyond a double. Pure but for the parser's own memory; one thread.
 *
 * The values are plain data, and may be made by hand, too: templates compute with them.
 */
#ifndef RINGPOST_CORE_JSON_VALUE_H
#define RINGPOST_CORE_JSON_VALUE_H

#include "core/arena.h"
#include "core/json_read.h"

#ifdef __cplusplus
extern "C" {
#endif

#define JSON_DEPTH_MAX   64    /* objects and arrays around a value */
#define JSON_MEMBERS_MAX 10000 /* of one object */
/* Of one array. The parser's count of them ends at 0xFFFFFF, whatever there are. */
#define JSON_ELEMENTS_MAX 16000000

struct json_member;

/* Borrowed by whoever looks; owned by the arena. */
struct json_value {
    uint8_t kind;  /* enum json_kind */
    bool is_safe;  /* of a string made by a template: holds HTML, not text; never set by reading */
    uint32_t size; /* bytes of a string, elements of an array, members of an object */
    union {
        bool boolean;
        int64_t integer;
        double number;
        const uint8_t *text;
        const struct json_value *elements;
        const struct json_member *members; /* in the document's order; sealed */
    };
};

struct json_member {
    struct json_value key; /* a string */
    struct json_value value;
};

enum json_fault {
    JSON_OK,
    JSON_MALFORMED,  /* no JSON document, or more than one */
    JSON_TOO_DEEP,
    JSON_TOO_LARGE,  /* does not fit the arena, or too many members or elements */
    JSON_BAD_STRING, /* not UTF-8, a bad escape, a lone surrogate, NUL */
    JSON_BAD_NUMBER,
    JSON_KEY_TWICE,
};

struct json_problem {
    enum json_fault fault;
    struct slice key; /* of JSON_KEY_TWICE; borrowed from the arena */
};

/* Null on any fault. The value lives as long as what the arena gave; `text` is not kept. */
const struct json_value *json_value_read(struct json_reader *reader, struct slice text,
                                         struct arena *arena, struct json_problem *problem_out);
/* A sentence for whoever sent it, without full stop. */
const char *json_fault_text(enum json_fault fault);

/* A string value of at most 4 GiB; borrows the text. */
struct json_value json_value_string(struct slice text);

static inline struct slice json_value_text(const struct json_value *string)
{
    return slice_make(string->text, string->size);
}

/* The member of this name; null when there is none, or `object` is no object. */
const struct json_value *json_value_member(const struct json_value *object, struct slice key);

/*
 * Bytes that an object's members take, and the making of an object from them: members[0 … count)
 * are filled in, `count` at most JSON_MEMBERS_MAX. Null, or the key that is there twice.
 */
size_t json_members_bytes(size_t count);
const struct json_member *json_members_seal(struct json_member *members, size_t count);

#ifdef __cplusplus
}
#endif

#endif
