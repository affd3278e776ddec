/*
 * The console: one page at `/`, and what it loads, below `/console/`. Its files stand in
 * smtp/console/ and are part of the program (tools/embed); what it shows it asks the other routes
 * for. Any thread; TSA shard.
 *
 * Nothing from mail is in what is sent here, and what the page shows of mail it writes as text:
 * Content-Security-Policy allows no script but these files, no address but this server's, and no
 * text to become markup (Trusted Types). Browsers may keep the files and ask before each use
 * whether they are still the same: the ETag is the hash of the content.
 */
#ifndef RINGPOST_SMTP_HTTP_CONSOLE_H
#define RINGPOST_SMTP_HTTP_CONSOLE_H

#include "shard/io/http_exchange.h"

struct console_file {
    const char *path;
    const char *type;
    const char *tag;    /* hash of `plain`, in hex */
    struct slice plain;
    struct slice gzip;  /* the same, compressed */
};

/* Made by tools/embed. */
extern const struct console_file console_files[];
extern const size_t console_file_count;

/* The handler of all their paths. */
void http_console(struct http_exchange *exchange);

#endif
