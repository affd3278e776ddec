"""kill -9 under load: what was answered 250 arrives, whole and unaltered, whatever the server was
doing; and the event log tells of each recipient what happened, once.

Sources and sinks are those of our own bench. A kill comes at a random moment, or when the spool
shows a checkpoint or a rewriting under way, or before the start after the kill before is over.

    KILLS=100 SEED=7 python3 -m unittest crash_test
"""
import os
import random
import signal
import sys
import time
from collections import Counter

from bench_load import BenchSink, BenchSource
from crash_judge import Judge, Kill
from harness import BlackBox, Config, free_port, wait_until
from spool_watch import SpoolWatch

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("SEED", "0")) or random.randrange(1, 1 << 31)
LONG = 100     # so many kills meet every phase
PHASES = ("accept", "commit", "delivery", "outcome", "checkpoint", "compaction", "recovery")
CAUSES = ("outcome", "uncertain", "too old", "unexplained")
DOMAINS = 60
PLAIN = 10     # of them on a sink without extensions
AIM_S = 2.0    # how long a kill waits for what it is aimed at
LEFT_S = 90    # for the mail that is left at the end
# Numbers, mode, size, recipients, connections and rate of each source. The last one's messages are
# stored in pieces.
SOURCES = ((0, "pipelined", 2000, 1, 16, 1600),
           (80_000_000, "bdat", 4000, 2, 8, 400),
           (160_000_000, "plain", 700_000, 1, 4, 2))


class Crash(BlackBox):
    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.kills = []
        self.recovery_s = 0.05  # from the lock of the spool to event=ready
        self.watch = None
        self.address = f"127.0.0.2:{free_port()}"  # nobody's own port while the server is away

    # ---- the cast

    def start_sinks(self):
        self.sinks = [BenchSink(self, name, "--mode", mode, "--defer", "5%", "--latency", "1",
                                "--connections", "4000")
                      for name, mode in (("sink", "all"), ("sink-plain", "plain"))]

    def start_sources(self):
        path = os.path.join(self.folder, "domains")
        with open(path, "w", encoding="ascii") as file:
            file.writelines(f"d{n}.{'plain' if n < PLAIN else 'all'}.test\n"
                            for n in range(DOMAINS))
        names = ("--first", "--mode", "--size", "--rcpts", "--connections", "--rate")
        self.sources = [
            BenchSource(self, f"source-{values[1]}", self.address, "--domains", path,
                        "--retry", "60", "--messages", "50000000",
                        *(word for pair in zip(names, map(str, values)) for word in pair))
            for values in SOURCES]

    def start_server(self):
        config = Config(self.sinks[0].port, listener={"listen": self.address},
                        spool={"segment_size": "1MiB", "compact_after": "100ms",
                               "recovery_spread": "200ms"},
                        queue={"retry_interval": "3s", "max_retry_interval": "3s"})
        config.extra = ('[queues.queue."*.plain.test"]\nprotocol = { smtp = { mx_list = '
                        f'["[127.0.0.1]:{self.sinks[1].port}"] }} }}\n')
        return self.server(config)

    # ---- kills

    def watch_spool(self):
        """From here on: what the next process, or the first, writes."""
        self.watch = SpoolWatch(os.path.join(self.folder, "spool"))

    def aim(self):
        """Waits for the moment of the next kill."""
        time.sleep(self.random.random() ** 2 * 1.2)
        kind = self.random.choice(("moment", "checkpoint", "compaction"))
        if kind == "moment":
            return
        wanted = (self.watch.in_checkpoint if kind == "checkpoint" else self.watch.in_compaction)
        deadline = time.monotonic() + AIM_S
        while not wanted() and time.monotonic() < deadline:
            time.sleep(0.0003)

    def end_by_kill(self, server, *seen):
        at = time.monotonic()
        code = server.kill()
        dead = time.monotonic()
        told, seen = server.errors(), set(seen)
        self.assertEqual(code, -signal.SIGKILL, told)
        self.assertNotIn("event=spool", told)  # damage, or a failed write
        if "event=ready" in told:
            seen.discard("recovery")
        seen |= {"checkpoint"} if self.watch.in_checkpoint() else set()
        seen |= {"compaction"} if self.watch.in_compaction() else set()
        self.watch.close()
        self.kills.append(Kill(at, dead, None, tuple(seen)))

    def wait_lock(self, server):
        """The process has its spool."""
        lock = os.path.join(self.folder, "spool", "lock")
        folder = f"/proc/{server.process.pid}/fd"

        def held():
            try:
                return any(os.readlink(os.path.join(folder, fd)) == lock
                           for fd in os.listdir(folder))
            except OSError:
                return False  # one was closed meanwhile
        wait_until(held, "the lock of the spool")

    def start_again(self, server):
        """Until it is ready, now and then killed before."""
        while True:
            self.watch_spool()
            server.launch()
            self.wait_lock(server)
            locked = time.monotonic()
            if len(self.kills) < KILLS and self.random.random() < 0.25:
                time.sleep(self.random.random() * self.recovery_s)
                self.end_by_kill(server, "recovery")
                continue
            server.wait_ready()
            ready = time.monotonic()
            self.recovery_s = (self.recovery_s + ready - locked) / 2
            self.kills = [kill if kill.ready else kill._replace(ready=ready)
                          for kill in self.kills]
            return

    # ---- the end

    def gather(self, judge):
        """Until everything that was accepted is there, or no hope is left."""
        deadline = time.monotonic() + LEFT_S
        while judge.missing() and time.monotonic() < deadline:
            time.sleep(0.2)
            for sink in self.sinks:
                judge.take_copies(sink.new_entries())

    def empty(self, server):
        """What was stored but never answered 250 may be there still, and leaves as well."""
        deadline = time.monotonic() + LEFT_S
        while True:
            self.assertEqual(server.stop()["events_unknown"], 0)
            server.start()
            queued = int(server.ready["queued"])
            if queued == 0 or time.monotonic() > deadline:
                break
            time.sleep(1)
        server.stop()
        self.assertEqual(queued, 0)

    def read_ledgers(self):
        """Sources have ended: their entries, and what the sinks have so far."""
        sources = [source.new_entries() for source in self.sources]
        for values, entries in zip(SOURCES, sources):
            self.assertGreater(len(entries), 0, f"{values} sent nothing")
        judge = Judge(self.kills, sum(sources, []), sources[0] + sources[1])
        for sink in self.sinks:
            judge.take_copies(sink.new_entries())
        return judge

    def end_sinks(self, judge):
        for sink in self.sinks:
            code, told = sink.end()
            judge.take_copies(sink.new_entries())
            self.assertEqual((code, told["differing"], told["foreign"]), (0, 0, 0), sink.path)

    def report(self, judge):
        accepted = judge.accepted.values()
        seconds = max(entry.ended for entry in accepted) - min(entry.begun for entry in accepted)
        lines = [f"{len(self.kills)} kills in {seconds:.1f} s, SEED={SEED}: {len(accepted)} "
                 f"messages accepted ({len(accepted) / seconds:.0f} a second), "
                 f"{len(judge.doubtful)} in doubt, {len(judge.copies)} recipients delivered, "
                 f"{len(judge.missing())} lost, {len(judge.altered)} altered"]
        found = Counter(phase for phases in judge.phases for phase in phases)
        lines += [f"  kills in {phase:<12}{found[phase]:>6}" for phase in PHASES]
        lines += [f"  kills in {'none of them':<12}{judge.phases.count(set()):>6}"]
        lines += [f"  copies, {cause:<13}{judge.causes[cause]:>6}" for cause in CAUSES]
        ages = sorted(judge.ages)
        if ages:
            age, allowed = ages[-1]
            lines += ["  outcomes that were lost: the median had been answered "
                      f"{ages[len(ages) // 2][0] * 1000:.1f} ms before its kill, the oldest "
                      f"{age * 1000:.1f} ms, where {allowed * 1000:.1f} ms were allowed"]
        print(*lines, sep="\n", file=sys.stderr)
        return found

    def judge(self, server):
        judge = self.read_ledgers()
        self.gather(judge)
        self.empty(server)
        self.end_sinks(judge)
        judge.judge_copies()
        judge.judge_phases()
        found = self.report(judge)
        seed = f"SEED={SEED}"
        self.assertEqual((judge.missing()[:10], judge.altered[:10], judge.unwanted()[:10]),
                         ([], [], []), seed)
        self.assertEqual((judge.causes["unexplained"], judge.too_old[:10]), (0, []), seed)
        self.assertEqual(judge.judge_events(server.event_lines())[:10], [], seed)
        if KILLS >= LONG:
            self.assertEqual([phase for phase in PHASES if found[phase] == 0], [], seed)

    def test_f01_kill_loses_and_alters_nothing(self):
        print(f"KILLS={KILLS} SEED={SEED}", file=sys.stderr)
        self.start_sinks()
        server = self.start_server()
        self.watch_spool()
        self.start_sources()
        while len(self.kills) < KILLS:
            self.aim()
            self.end_by_kill(server)
            self.start_again(server)
        for source in self.sources:
            source.end()
        self.watch.close()
        self.judge(server)
