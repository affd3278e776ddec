/*
 * A secret of the node in a file that only its user reads: made of random bytes at the first start,
 * 0600, durable before it is used; the same from then on. Text, in hexadecimal digits on one line,
 * so that an operator can give it to other nodes. It blocks. Boot thread.
 */
#ifndef RINGPOST_SHARD_SECRET_FILE_H
#define RINGPOST_SHARD_SECRET_FILE_H

#include "core/base.h"

#define SECRET_BYTES_MAX 64u

/*
 * Reads or makes `size` bytes; the folder of the file is there. Null; or why not, in words:
 * what stands there is never replaced.
 */
MUST_USE const char *secret_file_load(const char *path, uint8_t *bytes_out, size_t size);

#endif
