# Thin: every target is a line or two over tools/ and CMake. `make help` lists them.

PREFIX ?= /usr/local
DESTDIR ?=
CONFDIR ?= /etc/ringpost
MANDIR ?= $(PREFIX)/share/man
ARGS ?=
SEED ?= 1
COUNT ?= 200
SECONDS ?= 60
KILLS ?= 10000
CUTS ?= 2000
REQUESTS ?= 1000000
BENCH ?= run relay

programs = ringpostd ringpost-tsad ringpost ringpost-bench
build = cmake --preset release --log-level=NOTICE && \
    cmake --build --preset release --target $(programs)

.PHONY: all demo test run bench check fuzz sim campaign storm mutants test-asan test-tsan install \
    help

all: ## the programs, release build, into build/release/bin
	@tools/setup build
	@$(build)

demo: ## install what is needed, build, relay 10,000 messages on loopback, show them
	@tools/setup demo
	@$(build)
	@tools/demo

test: ## install what is needed, build, run every test; last line: N passed, N failed
	@tools/setup test
	@tests/run

run: all ## ringpostd in the foreground, state under ./var: make run ARGS="-c FILE"
	@build/release/bin/ringpostd $(ARGS)

bench: ## the benchmark: make bench BENCH="run relay --size 1024"
	@tools/setup bench
	@$(build)
	@mkdir -p build/bench
	@build/release/bin/ringpost-bench $(BENCH)

check: ## the house rules, without building: tidy, and headers that compile alone
	@tools/tidy
	@tools/headers

fuzz: ## every fuzz target for SECONDS each, and the line coverage of what it reads
	@tools/setup fuzz
	@tools/fuzz --seconds $(SECONDS) --coverage

sim: ## the simulator from SEED, COUNT seeds
	@tools/setup build
	@tests/run --only sim --seed $(SEED) --count $(COUNT)

campaign: ## KILLS kill points and CUTS power cuts of the simulated MTA
	@tools/setup test
	@tools/campaign --kills $(KILLS) --cuts $(CUTS) --seed $(SEED)

storm: ## REQUESTS changed HTTP requests from SEED at a release build: make storm REQUESTS=100000
	@tools/setup test
	@$(build)
	@REQUESTS=$(REQUESTS) SEED=$(SEED) /usr/bin/python3 \
	    tests/driver/pyunit.py tests/blackbox/http_storm_test.py

mutants: ## planted bugs: each must be found by its test
	@tools/setup test
	@tools/mutants

test-asan: ## unit tests under ASan and UBSan
	@tools/setup test
	@tests/run --only dev

test-tsan: ## tests of threads under TSan
	@tools/setup test
	@tests/run --only tsan

install: all ## into DESTDIR/PREFIX; an existing configuration is kept
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(CONFDIR) \
	    $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man8 \
	    $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d \
	    $(DESTDIR)$(PREFIX)/share/doc/ringpost \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 755 build/release/bin/ringpostd build/release/bin/ringpost-tsad \
	    $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 build/release/bin/ringpost build/release/bin/ringpost-bench \
	    $(DESTDIR)$(PREFIX)/bin/
	install -m 644 packaging/man/*.1 $(DESTDIR)$(MANDIR)/man1/
	install -m 644 packaging/man/*.8 $(DESTDIR)$(MANDIR)/man8/
	install -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/ringpost/
	install -m 644 build/npm/uplot/LICENSE \
	    $(DESTDIR)$(PREFIX)/share/doc/ringpost/uplot-licence.txt
	install -m 644 packaging/completion/ringpost \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/
	test -e $(DESTDIR)$(CONFDIR)/ringpost.toml || \
	    install -m 644 packaging/etc/ringpost.toml $(DESTDIR)$(CONFDIR)/
	test -e $(DESTDIR)$(CONFDIR)/tsad.toml || \
	    install -m 644 packaging/etc/tsad.toml $(DESTDIR)$(CONFDIR)/
	test -e $(DESTDIR)$(CONFDIR)/listener_domains.toml || \
	    install -m 644 packaging/etc/listener_domains.toml $(DESTDIR)$(CONFDIR)/
	test -e $(DESTDIR)$(CONFDIR)/iana.toml || \
	    install -m 644 packaging/etc/iana.toml $(DESTDIR)$(CONFDIR)/
	for unit in ringpostd ringpost-tsad; do \
	    sed -e 's|@SBINDIR@|$(PREFIX)/sbin|' -e 's|@CONFDIR@|$(CONFDIR)|' \
	        packaging/systemd/$$unit.service \
	        >$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service || exit 1; \
	done
	install -m 644 packaging/systemd/ringpost.sysusers \
	    $(DESTDIR)$(PREFIX)/lib/sysusers.d/ringpost.conf

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 12
