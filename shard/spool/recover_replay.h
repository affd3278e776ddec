/*
 * What a start finds in a checkpoint and in the log, told to whoever keeps the queues, and kept
 * where the spool itself wants it: pieces of bodies, counts, cursor, damage. Part of recovery.
 */
#ifndef RINGPOST_SHARD_SPOOL_RECOVER_REPLAY_H
#define RINGPOST_SHARD_SPOOL_RECOVER_REPLAY_H

#include "shard/spool/checkpoint.h"
#include "shard/spool/recover.h"

/* An entry of the checkpoint. */
void recover_replay_entry(struct recover *recover, const struct checkpoint_entry *entry);
/* That checkpoint turned out to be damaged: nothing of what came of it stays. */
void recover_replay_forget(struct recover *recover);
/* Everything that can be told of the bytes that the parser has. False: recover->error says why. */
bool recover_replay_log(struct recover *recover);
/* All is read: damage is named, for now it is known what is a part of the log. */
void recover_replay_end(struct recover *recover);

#endif
