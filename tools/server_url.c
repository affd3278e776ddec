#include "tools/server_url.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tools/readable.h"

const char *server_url_choose(const char *option)
{
    const char *environment = getenv("RINGPOST_ENDPOINT");
    if (option != NULL) {
        return option;
    }
    return environment != NULL && environment[0] != 0 ? environment : SERVER_URL_DEFAULT;
}

/* A part of a URL; "" when it is not there. */
static void url_part(CURLU *parts, CURLUPart part, char out[SERVER_URL_BYTES])
{
    char *text = NULL;
    out[0] = 0;
    if (curl_url_get(parts, part, &text, 0) == CURLUE_OK) {
        snprintf(out, SERVER_URL_BYTES, "%s", text);
        curl_free(text);
    }
}

static bool take_url(CURLU *parts, struct server_url *url)
{
    char scheme[SERVER_URL_BYTES];
    char host[SERVER_URL_BYTES];
    char port[SERVER_URL_BYTES];
    char rest[SERVER_URL_BYTES];
    url_part(parts, CURLUPART_QUERY, rest);
    if (rest[0] != 0) {
        return false;
    }
    url_part(parts, CURLUPART_PATH, rest);
    url_part(parts, CURLUPART_SCHEME, scheme);
    url_part(parts, CURLUPART_HOST, host);
    url_part(parts, CURLUPART_PORT, port);
    url->tls = strcmp(scheme, "https") == 0;
    if (strcmp(rest, "/") != 0 || host[0] == 0 || (!url->tls && strcmp(scheme, "http") != 0)) {
        return false;
    }
    snprintf(url->port, sizeof(url->port), "%.7s", port[0] != 0 ? port : url->tls ? "443" : "80");
    int size = snprintf(url->where, sizeof(url->where), "%s:%s", host, url->port);
    size_t bracket = host[0] == '[' ? 1 : 0;
    snprintf(url->host, sizeof(url->host), "%.*s", (int)(strlen(host) - 2 * bracket),
             host + bracket);
    return size < (int)sizeof(url->where);
}

bool server_url_parse(const char *text, struct server_url *url_out)
{
    CURLU *parts = curl_url();
    CHECK(parts != NULL);
    const unsigned flags = CURLU_GUESS_SCHEME | CURLU_DISALLOW_USER;
    bool good = strlen(text) < SERVER_URL_BYTES &&
                curl_url_set(parts, CURLUPART_URL, text, flags) == CURLUE_OK;
    good = good && take_url(parts, url_out);
    curl_url_cleanup(parts);
    return good;
}

void server_url_complain(const char *verb, const char *text)
{
    fprintf(stderr, "ringpost %s: ", verb);
    readable_print(stderr, slice_from_string(text));
    fprintf(stderr, " is no endpoint: it looks like %s\n", SERVER_URL_DEFAULT);
}
