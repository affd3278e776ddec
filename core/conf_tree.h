/*
 * The configuration as written, merged: the members of all files and of --set in one tree, each
 * value with the place where it stands. Between the TOML text and the typed struct conf; lives for
 * the length of a load, in a heap of its own. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_TREE_H
#define RINGPOST_CORE_CONF_TREE_H

#include "core/conf.h"
#include "core/heap.h"
#include "core/toml.h"

#define CONF_DEPTH_MAX    16
#define CONF_INCLUDES_MAX 64

/* What a change of a value takes: said by whoever applies it, for all that stands in it and is not
 * marked itself. */
struct conf_mark {
    enum conf_effect effect;
    bool secret;
};

struct conf_value {
    struct conf_value *next;  /* of the same table or array */
    struct conf_value *first; /* members or elements */
    struct conf_value *last;
    size_t count;
    struct slice key;         /* empty in an array */
    enum toml_kind kind;
    bool table_array;
    bool whole;               /* conf_tree_under lays nothing under it */
    struct conf_mark *mark;   /* its own; to be written through a value that is not */
    union {
        struct slice text;
        int64_t integer;
        double real;
        bool flag;
    } as;
    const char *file;
    uint32_t line;
    uint32_t column;
    uint64_t place;           /* where it stands first of all files, in order; of a table */
};

/* One load under way. */
struct conf_load {
    struct heap *heap;    /* of the result */
    struct heap scratch;  /* of the load: tree, file bytes */
    struct conf_messages *messages;
    struct slice resolv;  /* the text of resolv.conf; null data: there is none */
    struct slice folder;  /* of the main file, with its slash; empty: the working directory */
    struct conf_value *root;
    const struct conf_input *input; /* to read further files by */
    struct conf_zone *zones; /* of `tz`, so far */
    uint32_t files;          /* main file and `include`, so far */
};

/* FILE:LINE:COLUMN: error: text. `at` may be null: no place to name. */
void conf_error(struct conf_load *load, const struct conf_value *at, const char *format, ...)
    PRINTF(3, 4);
void conf_note(struct conf_load *load, const struct conf_value *at, const char *format, ...)
    PRINTF(3, 4);

/* Parses `bytes` and merges them into the tree; complains about what stands there twice. */
void conf_tree_add(struct conf_load *load, const char *file, struct slice bytes);
/* A file of a section: number `number` of these, below CONF_INCLUDES_MAX. */
struct conf_part {
    const char *file;
    struct slice bytes;
    uint32_t number;
    const char *joined; /* lists of tables of this name go before those that stand there; or null */
};
/* The same, under a table of the tree: what stands there stays, and tables merge unless they are
   whole. */
void conf_tree_under(struct conf_load *load, struct conf_value *table,
                     const struct conf_part *part);
/* The member, taken out of the table; null: there is none. */
struct conf_value *conf_tree_take(struct conf_value *table, const char *key);
/* A new table in `table`, named by a string and placed where that stands; null, and it is told,
   when there is such a member. */
struct conf_value *conf_tree_table_add(struct conf_load *load, struct conf_value *table,
                                       const struct conf_value *name);
/* One "section.key=VALUE" over the tree. */
void conf_tree_set(struct conf_load *load, const char *text);

/* The member of a table, or null. */
struct conf_value *conf_tree_member(const struct conf_value *table, const char *key);
/* The member that is a table, or null; of no table it is null, too. */
const struct conf_value *conf_tree_table(const struct conf_value *table, const char *key);
/* "a table", "a string" … for messages. */
const char *conf_kind_name(const struct conf_value *value);

#endif
