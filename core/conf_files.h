/*
 * Which files a configuration is made of: the main one, those it includes, and those that a section
 * names in `files`, a helper's content each. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_FILES_H
#define RINGPOST_CORE_CONF_FILES_H

#include "core/conf_tree.h"

/* Into the tree: the main file, if there is one, and those of its `include`. */
void conf_files_main(struct conf_load *load, const struct conf_input *input);
/*
 * The files of a section, laid under what stands in it: a value of a later file counts before one
 * of an earlier file, and what the section itself says before both. Tables merge member by member,
 * lists of the name `automation` follow each other in the order of the files, everything else is
 * whole. Paths are relative to the main file.
 */
void conf_files_section(struct conf_load *load, const struct conf_input *input,
                        struct conf_value *section);
/*
 * The same for a section of blocks: one that says `replace_base = true` takes nothing from files
 * before the one where it stands, in [provider.NAME], too. A bool of that name is out of the tree
 * then.
 */
void conf_files_blocks(struct conf_load *load, const struct conf_input *input,
                       struct conf_value *section);
/*
 * The same for files that are not merged: each becomes a table of its own in the section, by its
 * name as written in `files`.
 */
void conf_files_apart(struct conf_load *load, const struct conf_input *input,
                      struct conf_value *section);

#endif
