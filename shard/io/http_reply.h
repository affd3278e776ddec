/*
 * How the answers of http_exchange.h go out: for the connection alone, which owns what is sent. All
 * calls on its shard, from the loop.
 */
#ifndef RINGPOST_SHARD_IO_HTTP_REPLY_H
#define RINGPOST_SHARD_IO_HTTP_REPLY_H

#include "core/slice.h"

struct http_conn;

/*
 * The server's own answer to a request that no handler has. The connection closes after it unless
 * the request has come whole.
 */
void http_refuse(struct http_conn *conn, unsigned status, uint8_t allow, struct slice line);
/* Sends what there is to send; called again when that is sent. */
void http_exchange_send(struct http_conn *conn);
void http_exchange_sent(struct http_conn *conn);
/* Memory of an answer goes back; nothing of it is being sent. */
void http_exchange_fini(struct http_conn *conn);
/* Asks `fill` for more, where it is its turn. */
void http_exchange_fill(struct http_conn *conn);

#endif
