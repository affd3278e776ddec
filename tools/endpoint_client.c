#include "tools/endpoint_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"

#define ROOM_FIRST   (64 * KIB)
#define REASON_BYTES 512u

struct endpoint_client {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers; /* of the request */
    struct endpoint_limits limits;
    enum endpoint_state state;
    bool added;     /* `easy` is with `multi` */
    bool too_large; /* the answer */
    long status;
    uint8_t *bytes; /* of the answer */
    size_t size;
    size_t room;
    struct server_url url;
    char reason[REASON_BYTES];
};

struct endpoint_client *endpoint_client_open(const char *endpoint, struct endpoint_limits limits)
{
    struct endpoint_client *client = calloc(1, sizeof(*client));
    CHECK(client != NULL && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    client->limits = limits;
    if (!server_url_parse(endpoint, &client->url)) {
        free(client);
        curl_global_cleanup();
        return NULL;
    }
    client->multi = curl_multi_init();
    client->easy = curl_easy_init();
    client->headers = curl_slist_append(NULL, "Content-Type: application/json");
    CHECK(client->multi != NULL && client->easy != NULL && client->headers != NULL);
    return client;
}

void endpoint_client_close(struct endpoint_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->added) {
        (void)curl_multi_remove_handle(client->multi, client->easy);
    }
    curl_easy_cleanup(client->easy);
    (void)curl_multi_cleanup(client->multi);
    curl_slist_free_all(client->headers);
    free(client->bytes);
    free(client);
    curl_global_cleanup();
}

/* --- an exchange ------------------------------------------------------------------------------ */

static size_t take_bytes(char *data, size_t unit, size_t count, void *context)
{
    struct endpoint_client *client = context;
    size_t size = unit * count;
    if (size > ENDPOINT_ANSWER_BYTES_MAX - client->size) {
        client->too_large = true;
        return 0; /* which ends it */
    }
    if (size > client->room - client->size) {
        client->room = MAX_OF(client->room * 2, client->size + MAX_OF(size, ROOM_FIRST));
        client->bytes = realloc(client->bytes, client->room);
        CHECK(client->bytes != NULL);
    }
    memcpy(client->bytes + client->size, data, size);
    client->size += size;
    return size;
}

#define SET(option, value) CHECK(curl_easy_setopt(client->easy, option, value) == CURLE_OK)

static void set_options(struct endpoint_client *client)
{
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_PROXY, ""); /* nor those of the environment: the server is next door */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, client->limits.connect_ms);
    SET(CURLOPT_TIMEOUT_MS, client->limits.total_ms);
    SET(CURLOPT_USERAGENT, "ringpost/" RINGPOST_VERSION);
    SET(CURLOPT_WRITEFUNCTION, take_bytes);
    SET(CURLOPT_WRITEDATA, client);
}

void endpoint_client_start(struct endpoint_client *client, const char *method, const char *path,
                           const struct slice *body)
{
    char url[16 * KIB];
    int size = snprintf(url, sizeof(url), "http%s://%s%s", client->url.tls ? "s" : "",
                        client->url.where, path);
    CHECK(size < (int)sizeof(url));
    if (client->added) {
        (void)curl_multi_remove_handle(client->multi, client->easy);
    }
    curl_easy_reset(client->easy); /* its connection stays open */
    set_options(client);
    SET(CURLOPT_URL, url);
    SET(CURLOPT_CUSTOMREQUEST, method);
    if (body != NULL) {
        /* On a connection that turns out to be closed the library would send an order again. */
        SET(CURLOPT_FRESH_CONNECT, 1L);
        SET(CURLOPT_HTTPHEADER, client->headers);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->size);
        SET(CURLOPT_POSTFIELDS, (const char *)body->data);
    }
    client->size = 0;
    client->too_large = false;
    client->state = ENDPOINT_PENDING;
    client->added = curl_multi_add_handle(client->multi, client->easy) == CURLM_OK;
    CHECK(client->added);
}

static void say_reason(struct endpoint_client *client, CURLcode code)
{
    long error = 0;
    (void)curl_easy_getinfo(client->easy, CURLINFO_OS_ERRNO, &error);
    const char *where = client->url.where;
    char *out = client->reason;
    if (client->too_large) {
        snprintf(out, REASON_BYTES, "the answer of %s is larger than %u MiB", where,
                 ENDPOINT_ANSWER_BYTES_MAX / MIB);
    } else if (code == CURLE_COULDNT_CONNECT && (error == ECONNREFUSED || error == 0)) {
        snprintf(out, REASON_BYTES,
                 "nobody listens on %s (is ringpostd running? --endpoint says where)", where);
    } else if (code == CURLE_COULDNT_CONNECT) {
        snprintf(out, REASON_BYTES, "no connection to %s: %s", where, strerror((int)error));
    } else if (code == CURLE_COULDNT_RESOLVE_HOST) {
        snprintf(out, REASON_BYTES, "no address is known for %s", where);
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        snprintf(out, REASON_BYTES, "%s has not answered in time", where);
    } else if (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR ||
               code == CURLE_PARTIAL_FILE || code == CURLE_SEND_ERROR) {
        snprintf(out, REASON_BYTES, "%s closed the connection before its answer was whole", where);
    } else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY) {
        snprintf(out, REASON_BYTES, "what answers on %s does not speak HTTP", where);
    } else {
        snprintf(out, REASON_BYTES, "%s: %s", where, curl_easy_strerror(code));
    }
}

static void take_results(struct endpoint_client *client)
{
    int left = 0;
    const CURLMsg *message;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        if (message->data.result == CURLE_OK) {
            (void)curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &client->status);
            client->state = ENDPOINT_ANSWERED;
        } else {
            say_reason(client, message->data.result);
            client->state = ENDPOINT_FAILED;
        }
    }
}

enum endpoint_state endpoint_client_turn(struct endpoint_client *client, int wait_ms, int fd)
{
    struct curl_waitfd extra = {.fd = fd, .events = CURL_WAIT_POLLIN};
    int running = 0;
    (void)curl_multi_perform(client->multi, &running);
    if (running > 0 || client->state != ENDPOINT_PENDING) {
        (void)curl_multi_poll(client->multi, &extra, fd >= 0 ? 1 : 0, wait_ms, NULL);
        (void)curl_multi_perform(client->multi, &running);
    }
    take_results(client);
    return client->state;
}

unsigned endpoint_client_status(const struct endpoint_client *client)
{
    CHECK(client->state == ENDPOINT_ANSWERED);
    return (unsigned)client->status;
}

struct slice endpoint_client_answer(const struct endpoint_client *client)
{
    CHECK(client->state == ENDPOINT_ANSWERED);
    return slice_make(client->bytes, client->size);
}

const char *endpoint_client_reason(const struct endpoint_client *client)
{
    CHECK(client->state == ENDPOINT_FAILED);
    return client->reason;
}

bool endpoint_client_was_sent(const struct endpoint_client *client)
{
    long bytes = 0;
    CHECK(client->state == ENDPOINT_FAILED);
    (void)curl_easy_getinfo(client->easy, CURLINFO_REQUEST_SIZE, &bytes);
    return bytes > 0;
}

const char *endpoint_client_where(const struct endpoint_client *client)
{
    return client->url.where;
}

void endpoint_put_parameter(struct buf *path, const char *key, struct slice value)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    bool first = slice_find(buf_slice(path), '?') == path->size;
    buf_put_byte(path, first ? '?' : '&');
    buf_put_string(path, key);
    buf_put_byte(path, '=');
    for (size_t i = 0; i < value.size; i++) {
        uint8_t byte = value.data[i];
        if (byte != 0 && strchr(plain, byte) != NULL) {
            buf_put_byte(path, byte);
        } else {
            buf_put_byte(path, '%');
            buf_put_hex(path, slice_make(&byte, 1));
        }
    }
}
