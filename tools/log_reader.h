/*
 * Reads the event log of a directory: every file in the order of the names, frame by frame. A frame
 * counts when it is whole: what a crash, a full disk or a writer at work left half done gives no
 * line. For tools; it blocks and allocates.
 */
#ifndef RINGPOST_TOOLS_LOG_READER_H
#define RINGPOST_TOOLS_LOG_READER_H

#include "core/slice.h"

struct log_reader;

/* One line without its line end. False ends the reading. */
typedef bool log_line(void *context, struct slice line);

/* Never null. `directory` borrowed. */
struct log_reader *log_reader_open(const char *directory);
void log_reader_close(struct log_reader *reader);

/*
 * Everything that stands behind what was read before. 0, or -1 with a reason on stderr when the
 * directory or a file cannot be read or a frame is damaged; reading goes on behind such a file.
 */
int log_reader_run(struct log_reader *reader, log_line *line, void *context);

#endif
