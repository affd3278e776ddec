/*
 * What is this node itself: mail that DNS leads here must not be sent, it would come back
 * (RFC 5321 5.1). Its names are those that it says in banners and EHLO, its addresses those on
 * which it listens for SMTP and from which it sends. Loopback is none of them, everybody has it;
 * nor is the address that stands for all. Pure.
 */
#ifndef RINGPOST_SMTP_SITE_OWN_H
#define RINGPOST_SMTP_SITE_OWN_H

#include "core/conf.h"

bool site_own_name(const struct conf *conf, struct slice name);
bool site_own_address(const struct conf *conf, const struct endpoint *address);

#endif
