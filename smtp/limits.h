/* Named maxima of the SMTP code; those that depend on each other are tied by assertions. */
#ifndef RINGPOST_SMTP_LIMITS_H
#define RINGPOST_SMTP_LIMITS_H

#define COMMAND_LINE_BYTES_MAX     2048 /* with parameters, with CRLF */
#define COMMAND_BARE_BYTES_MAX     512  /* without parameters, with CRLF (RFC 5321 4.5.3.1.4) */
#define COMMAND_DISCARD_BYTES_MAX  65536 /* of an endless line, before 421 */
#define REPLY_BYTES_MAX            1024 /* the largest reply group one command may produce */
#define ENVELOPE_BYTES_MAX         (160 * 1024)
#define SPILL_BYTES                (256 * 1024)
#define SERVER_ERRORS_SLOW         10  /* errors before replies are delayed by a second */
#define SERVER_ERRORS_MAX          20  /* errors before 421 */
#define SERVER_JUNK_MAX            100 /* commands without a message between, before 421 */
#define RECIPIENTS_OVERSHOOT_MAX   1000 /* RCPT beyond the limit, in one transaction, before 421 */
#define SERVER_HOST_RATE           30  /* new connections a second of one host */
#define SERVER_HOST_BURST          100 /* … at once */
#define SERVER_STRESSED_S          10  /* patience of a server that is short of something */
#define SERVER_CHUNKS_MAX          100000 /* BDAT commands in one transaction */
#define RECEIVED_FIELDS_MAX        100 /* hops (RFC 5321 6.3) */
#define HEADER_BYTES_MAX           (1024 * 1024)
#define HEADER_FIELDS_MAX          10000

#endif
