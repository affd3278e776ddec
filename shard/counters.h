/*
 * Single-writer 64-bit counters of one shard, summed by whoever shows them: written by the shard's
 * thread with relaxed stores, read by others with relaxed loads. One list, expanded into the enum
 * and the names under which `event=stopped`, metrics and tests know them.
 */
#ifndef RINGPOST_SHARD_COUNTERS_H
#define RINGPOST_SHARD_COUNTERS_H

#include <stdatomic.h>

#include "core/base.h"

#define COUNTERS(X)                                                                                \
    X(reloads)                                                                                     \
    X(reloads_refused)                                                                             \
    X(turns)                                                                                       \
    X(enters)                                                                                      \
    X(cq_overflows)                                                                                \
    X(lost_wakeups)                                                                                \
    X(connections_in)                                                                              \
    X(clients_placed)                                                                              \
    X(clients_moved)                                                                               \
    X(connections_refused)                                                                         \
    X(refused_memory)                                                                              \
    X(refused_total)                                                                               \
    X(refused_host)                                                                                \
    X(refused_proxy)                                                                               \
    X(clients_timed_out)                                                                           \
    X(mail_refused)                                                                                \
    X(overload_connections)                                                                        \
    X(overload_mail)                                                                               \
    X(overload_reading)                                                                            \
    X(overload_staging)                                                                            \
    X(overload_slots)                                                                              \
    X(overload_buffers)                                                                            \
    X(messages_received)                                                                           \
    X(recipients_received)                                                                         \
    X(recipients_smtp)                                                                             \
    X(recipients_http)                                                                             \
    X(bytes_received)                                                                              \
    X(rejections)                                                                                  \
    X(commits)                                                                                     \
    X(commit_records)                                                                              \
    X(commit_bytes)                                                                                \
    X(commit_failures)                                                                             \
    X(checkpoints)                                                                                 \
    X(checkpoint_failures)                                                                         \
    X(connections_out)                                                                             \
    X(connections_handed)                                                                          \
    X(sources_left_out)                                                                            \
    X(connect_failures)                                                                            \
    X(site_blocks_full)                                                                            \
    X(deliveries)                                                                                  \
    X(transient_failures)                                                                          \
    X(bounces)                                                                                     \
    X(expirations)                                                                                 \
    X(admin_bounces)                                                                               \
    X(uncertain)                                                                                   \
    X(outcomes)                                                                                    \
    X(reports_logged)                                                                              \
    X(reports_stored)                                                                              \
    X(reports_dropped)                                                                             \
    X(spool_reads)                                                                                 \
    X(reads_ahead)                                                                                 \
    X(reads_ahead_dropped)                                                                         \
    X(recipients_rebound)                                                                          \
    X(messages_rewritten)                                                                          \
    X(bytes_rewritten)                                                                             \
    X(rewrites_failed)                                                                             \
    X(events_logged)                                                                               \
    X(events_replayed)                                                                             \
    X(events_unknown)                                                                              \
    X(event_files_removed)                                                                         \
    X(events_dropped)                                                                              \
    X(advice_scanned)                                                                              \
    X(advice_sent)                                                                                 \
    X(advice_dropped)                                                                              \
    X(advice_stale)                                                                                \
    X(automation_matches)                                                                          \
    X(automation_reports)                                                                          \
    X(automation_reports_passed)                                                                   \
    X(automation_begun)                                                                            \
    X(automation_refused)                                                                          \
    X(automation_cancelled)                                                                        \
    X(automation_expired)                                                                          \
    X(automation_rows)                                                                             \
    X(automation_failures)                                                                         \
    X(http_connections)                                                                            \
    X(http_turned_away)                                                                            \
    X(http_idle_closed)                                                                            \
    X(http_slow_closed)                                                                            \
    X(http_handed)                                                                                 \
    X(http_requests)                                                                               \
    X(http_refused)                                                                                \
    X(http_timed_out)                                                                              \
    X(inject_rate_refused)                                                                         \
    X(inject_repeats)                                                                              \
    X(inject_keys_forgotten)                                                                       \
    X(inject_voided)                                                                               \
    X(schedule_waits)                                                                              \
    X(dns_asked)                                                                                   \
    X(dns_hits)                                                                                    \
    X(dns_merged)                                                                                  \
    X(dns_stale)                                                                                   \
    X(dns_busy)                                                                                    \
    X(dns_failures)                                                                                \
    X(dns_queries)                                                                                 \
    X(dns_queries_tcp)                                                                             \
    X(dns_ignored)                                                                                 \
    X(dns_timeouts)

enum counter {
#define COUNTER_ENUM(name) COUNTER_##name,
    COUNTERS(COUNTER_ENUM)
#undef COUNTER_ENUM
    COUNTERS_COUNT
};

struct counters {
    _Atomic uint64_t values[COUNTERS_COUNT];
};

static inline void counters_add(struct counters *counters, enum counter counter, uint64_t by)
{
    uint64_t value = atomic_load_explicit(&counters->values[counter], memory_order_relaxed);
    atomic_store_explicit(&counters->values[counter], value + by, memory_order_relaxed);
}

static inline void counters_set(struct counters *counters, enum counter counter, uint64_t value)
{
    atomic_store_explicit(&counters->values[counter], value, memory_order_relaxed);
}

static inline uint64_t counters_get(const struct counters *counters, enum counter counter)
{
    return atomic_load_explicit(&counters->values[counter], memory_order_relaxed);
}

const char *counter_name(enum counter counter);

#endif
