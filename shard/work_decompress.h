/* WORK_DECOMPRESS, for workers and for the simulator. Pure. */
#ifndef RINGPOST_SHARD_WORK_DECOMPRESS_H
#define RINGPOST_SHARD_WORK_DECOMPRESS_H

#include "shard/work.h"

/* 0 or a negative errno: the job's result. */
MUST_USE int work_decompress(struct work_job *job);

#endif
