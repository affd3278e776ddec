/*
 * What is in force for a queue and for a path, and where it comes from: the setting of the
 * innermost block that says something, or the default. Pure; any thread that may read the
 * configuration.
 */
#ifndef RINGPOST_CORE_CONF_ORIGIN_H
#define RINGPOST_CORE_CONF_ORIGIN_H

#include "core/conf_settings.h"
#include "core/shaping.h"

#define CONF_ORIGIN_DEFAULT "default"

/* What sets an option of a queue, by its name ("retry_interval", "mx_list"); null: its default. */
const struct conf_setting *conf_queue_setting(const struct conf *conf,
                                              const struct conf_queue_key *key, const char *option);
/* What sets the overall_max_message_rate of this name (struct overall_rate) of a queue. */
const struct conf_setting *conf_overall_setting(const struct conf *conf,
                                                const struct conf_queue_key *key,
                                                struct slice name);
/* One option in force: its value as TOML, and where it comes from. */
typedef void conf_option_visit(void *context, const char *name, struct slice value,
                               struct slice origin);
/* Those of a queue, those of a path, and those of a source ("source.remote_port"): all that have a
 * value. What is by name is told by name ("additional_connection_limits.a"). */
void conf_queue_visit(const struct conf *conf, const struct conf_queue_key *key,
                      conf_option_visit *visit, void *context);
void conf_path_visit(const struct shaping_path *path, conf_option_visit *visit, void *context);
void conf_source_visit(const struct conf *conf, const struct source_options *source,
                       conf_option_visit *visit, void *context);

#endif
