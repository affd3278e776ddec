#include "tsa/tsa_subscribe.h"

#include "core/check.h"
#include "shard/io/http_socket.h"
#include "tsa/tsa.h"

#define MESSAGE_BYTES 256 /* of a client, who has nothing to say */

struct tsa_subscriber {
    struct tsa *tsa;
    struct hub_subscriber hub;
    struct http_socket socket;
    uint8_t message[MESSAGE_BYTES];
};

void tsa_subscribe_init(struct tsa *tsa)
{
    pool_init(&tsa->subscribers,
              boot_pages_take(tsa->options.pages,
                              pool_memory(sizeof(struct tsa_subscriber), TSA_SUBSCRIBERS_MAX)),
              sizeof(struct tsa_subscriber), TSA_SUBSCRIBERS_MAX);
}

void tsa_subscribe_fini(struct tsa *tsa)
{
    for (uint32_t i = 0; i < tsa->subscribers.fresh; i++) {
        if (pool_is_taken(&tsa->subscribers, i)) {
            struct tsa_subscriber *subscriber = pool_at(&tsa->subscribers, i);
            http_socket_fini(&subscriber->socket);
        }
    }
}

/* --- a connection ----------------------------------------------------------------------------- */

static void told(struct hub_subscriber *hub)
{
    struct tsa_subscriber *subscriber = CONTAINER_OF(hub, struct tsa_subscriber, hub);
    http_socket_more(&subscriber->socket);
}

static void text(struct http_socket *socket, struct slice said)
{
    (void)socket;
    (void)said;
}

static void fill(struct http_socket *socket, struct buf *room)
{
    struct tsa_subscriber *subscriber = CONTAINER_OF(socket, struct tsa_subscriber, socket);
    struct hub *hub = &subscriber->tsa->hub;
    struct slice message;
    for (;;) {
        switch (hub_next(hub, &subscriber->hub, &message)) {
        case HUB_MESSAGE:
            if (!http_socket_put(socket, room, message)) {
                return;
            }
            hub_said(hub, &subscriber->hub);
            break;
        case HUB_NOTHING:
            return;
        case HUB_LOST:
            http_socket_close(socket, WEBSOCKET_CODE_TRY_AGAIN, "too slow for what there is");
            return;
        }
    }
}

static void ended(struct http_socket *socket)
{
    struct tsa_subscriber *subscriber = CONTAINER_OF(socket, struct tsa_subscriber, socket);
    hub_unsubscribe(&subscriber->tsa->hub, &subscriber->hub);
    pool_give(&subscriber->tsa->subscribers, subscriber);
}

static const struct http_socket_user user = {.text = text, .fill = fill, .ended = ended};

/* --- handlers --------------------------------------------------------------------------------- */

static void begin(struct http_exchange *exchange, enum hub_form form, uint64_t after,
                  struct slice epoch)
{
    struct tsa *tsa = exchange->context;
    struct tsa_subscriber *subscriber =
        tsa_is_open(tsa) ? pool_take(&tsa->subscribers) : NULL;
    if (subscriber == NULL) {
        http_answer_text(exchange, 503,
                         tsa_is_open(tsa) ? SLICE("there are as many subscribers as there may be")
                                          : SLICE("starting, or stopping"));
        return;
    }
    subscriber->tsa = tsa;
    subscriber->hub = (struct hub_subscriber){.form = form, .told = told};
    hub_subscribe(&tsa->hub, &subscriber->hub, after, epoch);
    if (!http_socket_open(&subscriber->socket, &user, exchange, subscriber->message,
                          sizeof(subscriber->message))) {
        ended(&subscriber->socket);
    }
}

void tsa_subscribe_events(struct http_exchange *exchange)
{
    begin(exchange, HUB_EVENTS, 0, SLICE_NONE);
}

void tsa_subscribe_suspensions(struct http_exchange *exchange)
{
    begin(exchange, HUB_SUSPENSIONS, 0, SLICE_NONE);
}

void tsa_subscribe_changes(struct http_exchange *exchange)
{
    uint8_t number_memory[24];
    uint8_t epoch_memory[ID_TEXT_BYTES];
    struct buf number;
    struct buf epoch;
    uint64_t after = 0;
    buf_init(&number, number_memory, sizeof(number_memory));
    buf_init(&epoch, epoch_memory, sizeof(epoch_memory));
    enum http_query asked = http_query_find(exchange->query, SLICE("after"), &number);
    if (asked == HTTP_QUERY_BAD ||
        (asked == HTTP_QUERY_FOUND && !slice_parse_u64(buf_slice(&number), &after))) {
        http_answer_text(exchange, 400, SLICE("after= wants the number of a message"));
    } else if (http_query_find(exchange->query, SLICE("epoch"), &epoch) == HTTP_QUERY_BAD) {
        http_answer_text(exchange, 400, SLICE("epoch= wants the epoch of that message"));
    } else {
        begin(exchange, HUB_CHANGES, after, buf_slice(&epoch));
    }
}
