/*
 * What a configuration's tree is made of, node by node: TOML (core/toml.h), or JSON that is read as
 * if it were that. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_NODES_H
#define RINGPOST_CORE_CONF_NODES_H

#include "core/conf_tree.h"

/* As the functions of core/toml.h have it. */
struct conf_nodes {
    enum toml_kind (*kind)(const struct toml_node *node);
    size_t (*count)(const struct toml_node *node);
    void (*walk)(const struct toml_node *node, toml_visit *visit, void *context);
    bool (*is_table_array)(const struct toml_node *node);
    struct slice (*string)(const struct toml_node *node);
    int64_t (*integer)(const struct toml_node *node);
    double (*real)(const struct toml_node *node);
    bool (*flag)(const struct toml_node *node);
};

extern const struct conf_nodes conf_toml_nodes;
/*
 * Nodes of conf_json_parse. A member that is null does not stand there. Nothing has a line; columns
 * number the members of an object, in their order.
 */
extern const struct conf_nodes conf_json_nodes;

#define CONF_JSON_BYTES_MAX (4u * MIB)

/* The document's object, in the load's scratch heap; null, and it is said in `why`, a line, when
 * there is none. */
const struct toml_node *conf_json_parse(struct conf_load *load, struct slice bytes,
                                        struct buf *why);

#endif
