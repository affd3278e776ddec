"""Judges a server that was killed many times: the ledgers of the bench and the event log against
the promises. What was answered 250 arrives, whole; nothing else does; a copy too many has a cause,
and there are no more of them than the window before a kill allows."""
import bisect
import json
from collections import Counter, defaultdict
from typing import NamedTuple

WAIT_S = 0.005     # an outcome waits so long for company …
COMMITS = 1000     # … then for a commit: as long as the slowest of so many 250s before a kill
FINAL = ("Delivery", "Bounce", "Expiration")


class Kill(NamedTuple):
    """Monotonic seconds."""
    at: float
    dead: float
    ready: float   # when a server was ready again
    seen: tuple    # phases that the spool and the process showed


class Judge:
    def __init__(self, kills, sources, quick):
        """Lists of Kill, and of Entry: of all sources, and of those whose messages are so small
        that their 250 tells how long a commit takes."""
        self.kills = kills
        self.readies = [kill.ready for kill in kills]
        self.quick = sorted((entry.begun, entry.ended or self.cut_off(entry)) for entry in quick)
        self.sent, self.accepted, self.doubtful = {}, {}, {}
        for entry in sources:
            _, recipients = self.sent.setdefault(entry.number, (entry.hash, set()))
            recipients.update(entry.recipients)
            if not entry.ended:
                self.doubtful[entry.number] = entry
            elif entry.reply.startswith("250 "):
                self.accepted[entry.number] = entry
        self.copies = defaultdict(list)  # (number, recipient): (begun, ended)
        self.altered = []
        self.phases = [set(kill.seen) for kill in kills]
        self.causes = Counter()
        self.ages = []                   # (before the kill, allowed then), seconds
        self.too_old = []                # of these, in words

    def take_copies(self, entries):
        for entry in entries:
            self.take_copy(entry)

    def take_copy(self, entry):
        digest, recipients = self.sent.get(entry.number, (None, set()))
        if (entry.hash != digest or not recipients.issuperset(entry.recipients) or
                len(set(entry.recipients)) != len(entry.recipients)):
            self.altered.append(entry)
        for recipient in entry.recipients:
            self.copies[entry.number, recipient].append((entry.begun, entry.ended))

    # ---- mail

    def missing(self):
        return [(number, recipient) for number, entry in self.accepted.items()
                for recipient in entry.recipients if (number, recipient) not in self.copies]

    def unwanted(self):
        """What came although nobody sent it, or all were told that it is refused."""
        return [copy for copy in self.copies
                if copy[0] not in self.accepted and copy[0] not in self.doubtful]

    def kill_after(self, moment):
        """The first kill that could have cut off what was going on then; None: none."""
        index = bisect.bisect_left(self.readies, moment)
        return index if index < len(self.kills) else None

    def cut_off(self, entry):
        index = self.kill_after(entry.begun)
        return entry.begun if index is None else self.kills[index].at

    def allowed(self, kill):
        """The window before a kill, as slow as the disk and the machine were then."""
        last = bisect.bisect_left(self.quick, (kill.at, 0))
        slowest = max((min(ended, kill.at) - begun
                       for begun, ended in self.quick[max(last - COMMITS, 0):last]), default=0)
        return WAIT_S + slowest

    def judge_copies(self):
        for times in self.copies.values():
            times.sort()
            for before, after in zip(times, times[1:]):
                self.causes[self.cause(before, after)] += 1

    def cause(self, before, after):
        """Why `after` came although `before` had."""
        index = self.kill_after(before[0])
        if index is None or self.kills[index].at >= after[0]:
            return "unexplained"
        kill = self.kills[index]
        if not before[1] or before[1] >= kill.at:
            return "uncertain"
        age, allowed = kill.at - before[1], self.allowed(kill)
        self.ages.append((age, allowed))
        self.phases[index].add("outcome")
        if age <= allowed:
            return "outcome"
        lived = kill.at - (self.kills[index - 1].ready if index > 0 else 0)
        self.too_old.append(f"kill {index}: answered {age:.3f} s before it, {allowed:.3f} s "
                            f"allowed, {lived:.3f} s after the start was ready")
        return "too old"

    def judge_phases(self):
        """What the ledgers say of each kill."""
        for number, entry in self.doubtful.items():
            index = self.kill_after(entry.begun)
            came = any((number, recipient) in self.copies for recipient in entry.recipients)
            if index is not None and entry.begun < self.kills[index].dead:
                self.phases[index].add("commit" if came else "accept")
        for times in self.copies.values():
            for begun, ended in times:
                index = self.kill_after(begun)
                if index is not None and begun <= self.kills[index].dead and (
                        not ended or ended >= self.kills[index].at):
                    self.phases[index].add("delivery")

    # ---- events

    def judge_events(self, lines):
        """What is wrong with the event log: everyone in it has one Reception and one final record,
        everyone accepted is in it, a record repeated is the same to the byte, and so many of the
        others were delivered as the sinks have."""
        known, told, addresses, complaints = {}, defaultdict(Counter), {}, []
        for line in lines:
            record = json.loads(line)
            digest = hash(line)
            if record["event_id"] in known:
                if known[record["event_id"]] != digest:
                    complaints.append(f"not as it was told before: {record}")
                continue
            known[record["event_id"]] = digest
            told[record["id"]][record["type"]] += 1
            if addresses.setdefault(record["id"], record["recipient"]) != record["recipient"]:
                complaints.append(f"an id of somebody else: {record}")
        complaints += self.judge_accepted(told, addresses)
        for name, counts in told.items():
            finals = sum(counts[kind] for kind in FINAL)
            if (counts["Reception"], finals, counts["Delivery"]) != (1, 1, 1):
                complaints.append(f"id {name} of {addresses[name]}: {dict(counts)}")
        delivered = sum(counts["Delivery"] for counts in told.values())
        if delivered != len(self.copies):
            complaints.append(f"{delivered} were told to be delivered, {len(self.copies)} were")
        return complaints

    def judge_accepted(self, told, addresses):
        """Each is told of, by the ids that its 250 named."""
        for entry in self.accepted.values():
            first = int(entry.reply.partition("ids=")[2].split()[0], 16)
            for index, recipient in enumerate(entry.recipients):
                name = f"{first + index:032x}"
                if name not in told or addresses[name] != recipient:
                    yield f"id {name}, {recipient} of message {entry.number}: not told of"
