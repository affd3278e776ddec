/*
 * TOML 1.0 text as a tree: a C interface over toml++, whose C++ stays in toml.cpp. Pure apart from
 * the allocator; boot and worker threads only. Every value knows the line and column where it
 * stands, so that whoever reads the tree can complain precisely.
 */
#ifndef RINGPOST_CORE_TOML_H
#define RINGPOST_CORE_TOML_H

#include "core/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TOML_BYTES_MAX (16u * 1024 * 1024)
/* Dots on one line: bounds how deep dotted keys may nest. */
#define TOML_LINE_DOTS_MAX 2000u

struct toml_tree;
struct toml_node; /* borrowed from its tree */

enum toml_kind {
    TOML_TABLE,
    TOML_ARRAY,
    TOML_STRING,
    TOML_INTEGER,
    TOML_FLOAT,
    TOML_BOOL,
    TOML_TIME, /* date, time or both: nothing of ours is one */
};

/* One member of a table, or one element of an array. */
struct toml_entry {
    struct slice key; /* empty in an array; borrowed from the tree */
    const struct toml_node *node;
    uint32_t line; /* of the key, or of the element; from 1 */
    uint32_t column;
};

struct toml_error {
    uint32_t line; /* from 1 */
    uint32_t column;
    char text[200]; /* one line */
};

/* Null, and `error_out` filled, when the bytes are not TOML, not UTF-8 or too many. */
MUST_USE struct toml_tree *toml_parse(struct slice bytes, struct toml_error *error_out);
void toml_free(struct toml_tree *tree);
/* The top table. */
const struct toml_node *toml_root(const struct toml_tree *tree);

enum toml_kind toml_kind(const struct toml_node *node);
/* Members of a table or elements of an array; 0 of anything else. */
size_t toml_count(const struct toml_node *node);
typedef void toml_visit(void *context, const struct toml_entry *entry);
/* Calls `visit` for each of them; the members of a table come sorted by key. */
void toml_walk(const struct toml_node *node, toml_visit *visit, void *context);
/* An array with elements, all of which are tables, as [[name]] writes it. */
bool toml_is_table_array(const struct toml_node *node);

/* Each asks for the node's own kind and no other. */
struct slice toml_string(const struct toml_node *node);
int64_t toml_integer(const struct toml_node *node);
double toml_float(const struct toml_node *node);
bool toml_bool(const struct toml_node *node);

#ifdef __cplusplus
}
#endif

#endif
