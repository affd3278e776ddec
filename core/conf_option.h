/*
 * Tables of options: how the members of one TOML table become the fields of one struct. Each option
 * is a row; unknown keys are errors that name the nearest row. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_OPTION_H
#define RINGPOST_CORE_CONF_OPTION_H

#include "core/conf_tree.h"

enum option_kind {
    OPTION_BOOL,     /* bool */
    OPTION_COUNT,    /* uint32_t, min … max */
    OPTION_COUNT64,  /* uint64_t, min … max */
    OPTION_PORT,     /* uint16_t, 1 … 65535 */
    OPTION_LEVEL,    /* int, min … max */
    OPTION_DURATION, /* uint64_t of ns, min … max */
    OPTION_SIZE,     /* uint64_t of bytes, min … max */
    OPTION_AMOUNT,   /* struct conf_amount */
    OPTION_TEXT,     /* struct slice, at most `max` bytes of printable ASCII */
    OPTION_HOST,     /* struct slice that holds a host name */
    OPTION_NAME,     /* const char *, at most `max` bytes */
    OPTION_PATH,     /* const char *, relative to the main file */
    OPTION_CHOICE,   /* an enum: index into `choices`; from the `max`-th on (0: none) not built */
    OPTION_OWN,      /* `apply` does it */
    OPTION_NOTE,     /* loads with a note and no effect */
    OPTION_LATER,    /* an error: not built yet */
    OPTION_LATER_IF, /* a bool that may only have the value `min`; the other one is not built yet */
};

/* Rows of a table whose options differ in what a change of them takes say it each. */
#define RELOADS  .effect = CONF_NOW
#define RESTARTS .effect = CONF_RESTART

struct conf_option;
typedef void option_apply(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base);

struct conf_option {
    const char *name;
    enum option_kind kind;
    size_t offset; /* of the field in the struct */
    size_t bytes;  /* of the field of an OPTION_OWN; 0: it has none. Others know it by their kind */
    uint64_t min;
    uint64_t max;
    const char *const *choices; /* ends with null */
    option_apply *apply;
    enum conf_effect effect; /* CONF_UNSAID: that of its table */
    bool secret;             /* its text is shown to nobody */
};

struct conf_options {
    const struct conf_option *options;
    size_t count;
    bool inner_tables; /* tables that are no option are the business of the caller */
    enum conf_effect effect; /* of rows that do not say; what says neither is a bug */
};

/* Applies every member of `table` (which is one: else an error) to the struct at `base`. */
void conf_options_apply(struct conf_load *load, const struct conf_options *options,
                        const struct conf_value *table, void *base);

/* The fields of all options that only a restart changes, from one struct into another; but for
 * OPTION_OWN: what of that is restart's is not read again after the start. */
void conf_options_keep(const struct conf_options *options, void *next, const void *running);

/* True when `value` is of this kind, else an error. */
bool conf_want(struct conf_load *load, const struct conf_value *value, enum toml_kind kind);
/* Is this the name of an option? */
bool conf_options_have(const struct conf_options *options, struct slice key);
/* The row of this name; null: there is none. */
const struct conf_option *conf_option_find(const struct conf_options *options, struct slice key);
/* Bytes of its field in the struct; 0: it has none. */
size_t conf_option_bytes(const struct conf_option *option);
void conf_unknown(struct conf_load *load, const struct conf_options *options,
                  const struct conf_value *value);
void conf_later(struct conf_load *load, const struct conf_value *value);

/* Rows for `files`, which core/conf_files.h has read, and for a table that its section looks at
 * when all members are known. */
void conf_apply_files(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base);
void conf_apply_table(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base);

/* An array of CIDR networks into heap memory. */
bool conf_networks(struct conf_load *load, const struct conf_value *value,
                   const struct network **networks_out, size_t *count_out);
/* A path as it is opened: relative ones lie in the main file's folder. NUL-ended. */
const char *conf_place_path(struct conf_load *load, struct slice path);

#endif
