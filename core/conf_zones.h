/*
 * The time zones of a configuration, from the system's tz database: those that blocks name, each
 * read once a load, and all there are where messages may name them. core/conf*.c only; boot or
 * worker thread.
 */
#ifndef RINGPOST_CORE_CONF_ZONES_H
#define RINGPOST_CORE_CONF_ZONES_H

#include "core/conf_option.h"
#include "core/time_zone.h"

#define CONF_ZONES_FOLDER "/usr/share/zoneinfo/"
/* In it: the text of all zones, of which the names are read ("Z NAME …", "L TARGET NAME"). */
#define CONF_ZONES_LIST   "tzdata.zi"

/* One that has been read. */
struct conf_zone {
    struct conf_zone *next;
    struct slice name;
    struct time_zone zone;
};

/* Null, and it is told: there is none of that name. `value` is a string. */
const struct time_zone *conf_zones_find(struct conf_load *load, const struct conf_value *value);
/* Every zone of the database, for conf_zone. Without a database that has a list there is a note,
 * and what blocks have named. `value` is what wants them. */
void conf_zones_all(struct conf_load *load, const struct conf_value *value,
                    struct conf_zones *zones);

#endif
