/*
 * The hosts that the name of a site stands for: "(mx1|mx2)?.mail.example.com" are
 * mx1.mail.example.com, mx2.mail.example.com and mail.example.com, in KumoMTA's form and in ours
 * (smtp/site_name.h). The name is in a record, so that whoever reads that needs no DNS of its own.
 *
 * A name may stand for more sets than one: then these are all hosts that any of them has. Ours has
 * a hash behind it ("#6c1b…"), and where it would be too long the first host alone, with how many
 * follow ("mx1.example.com+31#…"). Pure.
 */
#ifndef RINGPOST_TSA_SITE_HOSTS_H
#define RINGPOST_TSA_SITE_HOSTS_H

#include "core/arena.h"

#define SITE_HOSTS_LISTED_MAX 64u /* more are left out */

/*
 * From "SOURCE->NAME@smtp_client", as records have it: NAME. Of other texts what is there of it.
 */
struct slice site_name_of(struct slice site);
/* Hosts in lower case, without ports; returns how many. Texts stand in the arena. */
unsigned site_hosts_list(struct slice name, struct arena *arena,
                         struct slice hosts_out[SITE_HOSTS_LISTED_MAX]);

#endif
