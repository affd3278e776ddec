"""A laboratory: 500 domains on ten sites, two pools of three sources, a sink for each host, limits
of every kind. What the kernel shows of connections, and what the event log and the sinks say of
mail, is held against every limit; shares of sources against their weights.

All addresses are of 127.0.0.0/8, which is local everywhere; in a network namespace of our own,
where we may have one.
"""
import collections
import subprocess
import threading
import time

import netns
from bench_load import BenchSink, BenchSource
from harness import RINGPOST, SECONDS, BlackBox, Config, free_port, wait_until

SITES = 10
DOMAINS = 500
MESSAGES = 3000  # of one recipient each
SOURCES = {"127.9.0.1": "s1", "127.9.0.2": "s2", "127.9.0.3": "s3"}
POOLS = {"main": {"s1": 5, "s2": 3, "s3": 1}, "other": {"s2": 1, "s3": 2}}
OTHER = (7, 8, 9)      # sites of that pool; the rest has the first one
FREE = (0, 8, 9)       # sites that no rate holds up, and that have connections enough
PARTED = range(8)      # sites with two hosts that no other has, and a third one that many have
SAMPLE_S = 0.01

CONNECTION_LIMIT = 8
CONNECTIONS = {1: 2, 2: 3}  # of each source to the site
SHARED_CONNECTIONS = (4, 5), 3
MESSAGE_RATES = {2: (40, 10)}  # a second, and at once: of each source to the site
SHARED_RATE = (4, 6), (150, 20)
CONNECTION_RATES = {3: (5, 2)}
PER_CONNECTION = 8
SELECTION_RATES = {7: (25, 5)}

OPEN_STATES = ("01", "02", "08")  # established, being opened, closed by the other side alone


def host_address(host):
    """Of a host of one site alone, "mx" or "alt"; of the one that two sites share; of the last
    resort, where nobody listens."""
    names = {"backup": "127.8.200.1", "both": "127.8.201.1"}
    if host in names:
        return names[host]
    name, _, site = host.partition("-")
    return f"127.8.{site}.{1 if name == 'mx' else 2}"


def hosts_of(site):
    """Preference and host. The last two sites have a host in common, and any of their own and that
    one is as good; the others have the same last resort."""
    if site in PARTED:
        return [(10, f"mx-{site}"), (20, f"alt-{site}"), (30, "backup")]
    return [(10, f"mx-{site}"), (10, "both")]


def site_of(domain):
    return int(domain.split(".")[1][1:])


def domains():
    return [f"d{number}.s{number % SITES}.lab.test" for number in range(DOMAINS)]


def static_names():
    """Every fifth domain of a site prefers its hosts the other way round: another route, the same
    site, the same limits."""
    lines = []
    for number, domain in enumerate(domains()):
        hosts = hosts_of(site_of(domain))
        if number // SITES % 5 == 4 and site_of(domain) in PARTED:
            hosts = [(10, hosts[1][1]), (20, hosts[0][1]), hosts[2]]
        lines += [f"{domain} MX {preference} {host}.lab.test" for preference, host in hosts]
    every = {host for site in range(SITES) for _, host in hosts_of(site)}
    lines += [f"{host}.lab.test A {host_address(host)}" for host in sorted(every)]
    return "\n".join(lines)


def site_options(site):
    """Lines of its block of [shaping]."""
    lines = []
    if site in CONNECTIONS:
        lines.append(f"connection_limit = {CONNECTIONS[site]}")
    if site in SHARED_CONNECTIONS[0]:
        lines.append(f"additional_connection_limits = {{ slow = {SHARED_CONNECTIONS[1]} }}")
    if site in SHARED_RATE[0]:
        rate, burst = SHARED_RATE[1]
        lines.append("additional_message_rate_throttles = "
                     f"{{ isp = \"{rate}/s,max_burst={burst}\" }}")
    for key, rates in (("max_message_rate", MESSAGE_RATES),
                       ("max_connection_rate", CONNECTION_RATES),
                       ("source_selection_rate", SELECTION_RATES)):
        if site in rates:
            lines.append(f"{key} = \"{rates[site][0]}/s,max_burst={rates[site][1]}\"")
    if site in CONNECTION_RATES:
        lines.append(f"max_deliveries_per_connection = {PER_CONNECTION}")
    return lines


def configuration(port, shards):
    extra = [f"[dns]\nservers = []\nstatic = \"\"\"\n{static_names()}\n\"\"\""]
    for address, name in SOURCES.items():
        extra.append(f"[sources.source.{name}]\nsource_address = \"{address}\"")
    for pool, weights in POOLS.items():
        for name, weight in weights.items():
            extra.append(f"[sources.pool.{pool}.{name}]\nweight = {weight}")
    for site in OTHER:
        extra.append(f"[queues.queue.\"*.s{site}.lab.test\"]\negress_pool = \"other\"")
    for site in range(SITES):
        extra.append(f"[shaping.\"*.s{site}.lab.test\"]\n" + "\n".join(site_options(site)))
    return Config(node={"shards": shards}, queue={"egress_pool": "main", "retry_interval": "1m"},
                  shaping={"prohibited_hosts": [], "smtp_port": port,
                           "connection_limit": CONNECTION_LIMIT},
                  extra="\n".join(extra) + "\n")


# ---- what the kernel shows


def address_of_hex(text):
    """Of a little-endian machine's table."""
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(text)))


def connections(port):
    """Of our sources to that port now: (source, its port, host)."""
    with open("/proc/thread-self/net/tcp", encoding="ascii") as table:
        rows = [line.split()[1:4] for line in table][1:]
    wanted = f":{port:04X}"
    return {(address_of_hex(local[:8]), local[9:], address_of_hex(remote[:8]))
            for local, remote, state in rows if remote.endswith(wanted) and state in OPEN_STATES}


class Watch:
    """Looks at the connections again and again. A table is not read in one moment; what stands in
    two that follow each other was there between them."""

    def __init__(self, port):
        self.port = port
        self.moments = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        before = set()
        while not self.stopping.is_set():
            now = connections(self.port)
            self.moments.append(collections.Counter(
                (source, host) for source, _, host in before & now))
            before = now
            self.stopping.wait(SAMPLE_S)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        return self.moments

    def peak(self, source, hosts):
        """The most at one moment, of this source (None: of all) to any of these hosts."""
        addresses = {host_address(host) for host in hosts}
        return max(sum(count for (of, to), count in moment.items()
                       if to in addresses and source in (None, of)) for moment in self.moments)


# ---- what the event log says


class Sent:
    """An attempt that succeeded."""

    def __init__(self, record):
        self.at_ms = record["timestamp_ms"] - record["delivery_ms"]  # MAIL was sent
        self.site = site_of(record["recipient"].partition("@")[2])
        self.address = record["source_address"]["address"]
        self.source = SOURCES[self.address.rpartition(":")[0]]
        self.named = record["egress_source"], record["egress_pool"], record["site"]
        self.connection = self.address, record["peer_address"]["addr"]


class Lab(BlackBox):
    def setUp(self):
        super().setUp()
        netns.enter()
        self.port = free_port()
        own = [host for site in range(SITES) for _, host in hosts_of(site) if host != "backup"]
        self.sinks = {host: self.host_sink(host) for host in sorted(set(own))}

    def host_sink(self, host):
        return BenchSink(self, f"sink-{host}", "--latency", "5", "--connections", "200",
                         listen=f"{host_address(host)}:{self.port}")

    def command(self, server, *words):
        done = subprocess.run([RINGPOST, *words, "--endpoint", f"http://{server.ready['http']}"],
                              capture_output=True, text=True, timeout=SECONDS, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def fill(self, server):
        """All mail waits before the first message goes: no site runs out of it before its end."""
        path = f"{self.folder}/domains"
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(domains()) + "\n")
        self.command(server, "suspend", "--everything", "--yes", "--reason", "all at once")
        source = BenchSource(self, "source", server.ready["smtp"].split(",")[0], "--messages",
                             str(MESSAGES), "--domains", path, "--size", "1024",
                             "--connections", "16")
        source.process.wait(SECONDS)
        code, said = source.end()
        self.assertEqual((code, said["messages"]), (0, MESSAGES))
        return collections.Counter(to for entry in source.new_entries() for to in entry.recipients)

    def run_with(self, shards):
        server = self.server(configuration(self.port, shards))
        promised = self.fill(server)
        watch = Watch(self.port)
        self.addCleanup(watch.stop)
        begun_ms = time.time() * 1000
        self.command(server, "resume", "--everything")
        taken = collections.Counter()

        def all_there():
            for sink in self.sinks.values():
                taken.update(to for entry in sink.new_entries() for to in entry.recipients)
            time.sleep(0.05)
            return taken.total() >= promised.total()

        wait_until(all_there, "all mail at the sinks")
        watch.stop()
        self.assertEqual(taken, promised)
        server.stop()
        self.assertEqual(server.events("Bounce", "TransientFailure", "Expiration"), [])
        sent = [Sent(record) for record in server.events("Delivery")]
        self.assertEqual(len(sent), MESSAGES)
        self.judge_names(sent)
        self.judge_connections(watch)
        self.judge_rates(sent, begun_ms)
        self.judge_shares(sent)

    def test_every_limit_and_share_holds_with_one_thread(self):
        self.run_with(1)

    def test_every_limit_and_share_holds_with_two_threads(self):
        self.run_with(2)

    def test_every_limit_and_share_holds_with_four_threads(self):
        self.run_with(4)

    # ---- judging

    def judge_names(self, sent):
        """Each site has one name, which no other has, and mail leaves from where it says."""
        names = collections.defaultdict(set)
        for one in sent:
            source, pool, site = one.named
            self.assertEqual((source, pool), (one.source,
                                              "other" if one.site in OTHER else "main"))
            self.assertTrue(site.startswith(f"{source}->"), site)
            names[one.site].add(site.partition("->")[2])
        self.assertEqual({site: len(found) for site, found in names.items()},
                         {site: 1 for site in range(SITES)})
        self.assertEqual(len(set().union(*names.values())), SITES)

    def judge_connections(self, watch):
        """At every moment that was seen; each limit was reached, too."""
        def own(site):
            return [f"mx-{site}", f"alt-{site}"]

        for site in PARTED:
            limit = CONNECTIONS.get(site, CONNECTION_LIMIT)
            peaks = [watch.peak(source, own(site)) for source in SOURCES]
            self.assertLessEqual(max(peaks), limit, f"site {site}: {peaks}")
            if site in CONNECTIONS:
                self.assertEqual(max(peaks), limit, f"site {site}: {peaks}")
        sites, limit = SHARED_CONNECTIONS
        self.assertEqual(watch.peak(None, own(sites[0]) + own(sites[1])), limit)
        for source in SOURCES:
            self.assertLessEqual(watch.peak(source, ["mx-8", "mx-9", "both"]),
                                 2 * CONNECTION_LIMIT)

    def judge_rate(self, times_ms, limit, begun_ms, what):
        """No rate was used before mail was let go: the bound from there on is exact, however late
        what it allowed was sent. More than the burst went, or it would have held nothing up."""
        rate, burst = limit
        self.assertGreater(len(times_ms), burst, what)
        for count, at_ms in enumerate(sorted(times_ms), 1):
            allowed = rate * (at_ms + 1 - begun_ms) / 1000 + burst
            self.assertLessEqual(count, allowed, f"{what}: {at_ms - begun_ms:.0f} ms after")

    def judge_rates(self, sent, begun_ms):
        for source in SOURCES.values():
            mine = [one for one in sent if one.source == source]
            for site, limit in {**MESSAGE_RATES, **SELECTION_RATES}.items():
                times = [one.at_ms for one in mine if one.site == site]
                if times or source in POOLS["other" if site in OTHER else "main"]:
                    self.judge_rate(times, limit, begun_ms, f"site {site}, {source}")
            for site, limit in CONNECTION_RATES.items():
                begun = {}  # at the latest: when the first MAIL was sent there
                for one in mine:
                    if one.site == site:
                        begun[one.connection] = min(one.at_ms, begun.get(one.connection, one.at_ms))
                self.judge_rate(begun.values(), limit, begun_ms, f"site {site}, {source}")
        sites, limit = SHARED_RATE
        self.judge_rate([one.at_ms for one in sent if one.site in sites], limit, begun_ms, "isp")

    def judge_shares(self, sent):
        """To one cycle of the weights, where nothing but those decides."""
        for site in FREE:
            weights = POOLS["other" if site in OTHER else "main"]
            cycle = sum(weights.values())
            counts = collections.Counter(one.source for one in sent if one.site == site)
            for source, weight in weights.items():
                share = counts.total() * weight / cycle
                self.assertLessEqual(abs(counts[source] - share), cycle,
                                     f"site {site}: {counts}, {weights}")
            self.assertEqual(set(counts), set(weights))

