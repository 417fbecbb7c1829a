# port53: make help tells what there is.
.POSIX:
.SUFFIXES:
SHELL = /bin/sh
GO = go
T = 30s
SAMPLE = 0
SEED = 53
TOKENS = 40
JOBS = 2
PREFIX = /usr/local
DESTDIR =
TOOL = $(GO) tool -modfile="$$root/tools/go.mod"
NESTED = oracle conformance bench tools packaging

# What has goroutines, for the race detector.
RACE = api app cache catalogue certs check console engine event exchange feed pkcs11 policy query resolver scan server server/doh server/doq signer store telemetry top transfer tsig upstream web zones

# How long the tests of a package may take. Each test has limits of its own; this one ends what
# hangs, on a machine that does other work beside.
PATIENCE = 45m
# Tests beside peers that share nothing with the others, and take half as long as they do.
APART = ^Test(Firewall|RoleNone|Console|OthersAgree|Network$$)

# What dist is told, such as -targets linux/amd64 or -key FILE.
DIST =

# How many worlds the adversary of the resolver attacks.
WORLDS = 100000

# What knows of key stores in hardware, and is built and tested with them too. The resolver of names and the
# users of the system stay Go's own, as without C.
HARDWARE_TAGS = pkcs11,netgo,osusergo
HARDWARE = ./internal/pkcs11

.PHONY: all dist build lean pkcs11 install uninstall run run-lab test check fmt verify vet lint floors generate race fuzz adversary mutate gremlins clones bench bench-peers golden test-arch cover clean help

all: ## build ./bin/port53
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/port53 ./cmd/port53

build: all ## the same

lean: ## build ./bin/port53-lean, without QUIC and without the web console
	CGO_ENABLED=0 $(GO) build -trimpath -tags lean -ldflags '-s -w' -o bin/port53-lean ./cmd/port53

pkcs11: ## build ./bin/port53-pkcs11, with DNSSEC keys in hardware (needs a C compiler)
	CGO_ENABLED=1 $(GO) build -trimpath -tags $(HARDWARE_TAGS) -o bin/port53-pkcs11 ./cmd/port53

install: ## install what was built: program, unit, completions (make install PREFIX=/usr DESTDIR=/tmp/root)
	@test -x bin/port53 || { echo "bin/port53 is not there yet: make build"; exit 1; }
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/lib/systemd/system' '$(DESTDIR)$(PREFIX)/lib/sysusers.d' \
		'$(DESTDIR)$(PREFIX)/share/bash-completion/completions' '$(DESTDIR)$(PREFIX)/share/zsh/site-functions' \
		'$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d'
	install -m 0755 bin/port53 '$(DESTDIR)$(PREFIX)/bin/port53'
	sed 's,/usr/bin/port53,$(PREFIX)/bin/port53,' packaging/port53.service > '$(DESTDIR)$(PREFIX)/lib/systemd/system/port53.service'
	install -m 0644 packaging/port53.socket '$(DESTDIR)$(PREFIX)/lib/systemd/system/port53.socket'
	install -m 0644 packaging/port53.sysusers '$(DESTDIR)$(PREFIX)/lib/sysusers.d/port53.conf'
	bin/port53 completion bash > '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/port53'
	bin/port53 completion zsh > '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_port53'
	bin/port53 completion fish > '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/port53.fish'

dist: ## make the artefacts of a release in ./dist: programs, packages, an image (make dist DIST="-targets linux/amd64")
	$(GO) build -C packaging -o ../bin/dist ./dist && bin/dist $(DIST)

uninstall: ## remove what install has installed
	rm -f '$(DESTDIR)$(PREFIX)/bin/port53' '$(DESTDIR)$(PREFIX)/lib/systemd/system/port53.service' \
		'$(DESTDIR)$(PREFIX)/lib/systemd/system/port53.socket' '$(DESTDIR)$(PREFIX)/lib/sysusers.d/port53.conf' \
		'$(DESTDIR)$(PREFIX)/share/bash-completion/completions/port53' '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_port53' \
		'$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/port53.fish'

run: all ## build, and run a validating resolver on 127.0.0.1:5353 that also serves an example zone
	exec bin/port53 serve --example

run-lab: all ## build, and run a resolver on 127.0.0.1:5353 with a small internet of its own
	exec bin/port53 lab

test: all pkcs11 ## run every test, beside the peers, and what has goroutines under the race detector too; as root on Debian, install the peers first
	scripts/install-peers
	@test "$$(id -u)" != 0 || export PORT53_REQUIRE_PEERS=1; \
	export PORT53_BIN="$$PWD/bin/port53" PORT53_PKCS11_BIN="$$PWD/bin/port53-pkcs11"; \
	$(GO) build -C tools -o ../bin/testrun ./testrun && \
	bin/testrun -beside conformance -apart '$(APART)' -dir . $$(for d in $(filter-out conformance,$(NESTED)); do test ! -f $$d/go.mod || echo "-dir $$d"; done) \
		-tags $(HARDWARE_TAGS) $$(for p in $(RACE); do echo "-race ./internal/$$p"; done) -- -count=1 -timeout=$(PATIENCE)

test-arch: ## run the tests of what reads and writes octets on all architectures, by qemu-user, in half an hour
	PORT53_ARCHITECTURES=all $(GO) test -C packaging -v -count=1 -timeout=4h ./arch

check: fmt verify vet lint floors generate test ## everything that a change must pass, the tests too

fmt: ## fail if a source file is not formatted
	@root=$$PWD; files=$$($(TOOL) gofumpt -l $$(ls -d cmd internal $(NESTED) 2>/dev/null)); test -z "$$files" || { echo "not formatted: $$files"; exit 1; }

verify: ## fail if a module is not what go.sum says (go mod verify knows no module that stands in a directory, as the others have)
	for d in . tools; do (cd $$d && $(GO) mod verify) || exit 1; done

vet: ## run go vet in every module
	for d in . $(NESTED); do test ! -f $$d/go.mod || (cd $$d && $(GO) vet ./...) || exit 1; done
	$(GO) vet -tags $(HARDWARE_TAGS) $(HARDWARE)
	$(GO) vet -tags lean ./...
	GOOS=freebsd $(GO) build -o /dev/null ./cmd/port53

lint: ## run the pinned linter in every module
	root=$$PWD; for d in . $(NESTED); do test ! -f $$d/go.mod || (cd $$d && $(TOOL) staticcheck ./...) || exit 1; done
	root=$$PWD; $(TOOL) staticcheck -tags $(HARDWARE_TAGS) $(HARDWARE)

floors: ## fail if a package imports one above it
	$(GO) test ./internal

generate: ## fail if a generated file is stale
	@before=$$(git diff | cksum); $(GO) generate ./... && test "$$before" = "$$(git diff | cksum)" || { git diff --stat; echo "generated files were stale"; exit 1; }

race: ## run the tests of what has goroutines under the race detector, and no others
	$(GO) build -C tools -o ../bin/testrun ./testrun && \
	bin/testrun -dir . $$(for p in $(RACE); do echo "-pkg ./internal/$$p"; done) -- -race -tags $(HARDWARE_TAGS) -short -shuffle=on -count=1 -timeout=$(PATIENCE)

fuzz: ## run each fuzz target for T (make fuzz T=5m)
	for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(T) $$p || exit 1; done; done

adversary: ## have an adversary attack the resolver in WORLDS worlds (make adversary WORLDS=100000)
	PORT53_ADVERSARY=$(WORLDS) $(GO) test -run '^TestAdversary$$' -v -count=1 -timeout=24h ./internal/resolver

mutate: ## list what can be changed in PKG without its tests noticing (make mutate PKG=./internal/tsig SAMPLE=150 SEED=53 AT=tsig.go)
	@test -n "$(PKG)" || { echo "which package? make mutate PKG=./internal/tsig"; exit 2; }
	$(GO) build -C tools -o ../bin/mutate ./mutate
	bin/mutate -sample $(SAMPLE) -seed $(SEED) -jobs $(JOBS) -at "$(AT)" $(PKG) $(TESTFLAGS)

gremlins: ## the same with gremlins: operators alone, and all of them (make gremlins PKG=./internal/tsig)
	@test -n "$(PKG)" || { echo "which package? make gremlins PKG=./internal/tsig"; exit 2; }
	$(GO) build -modfile=tools/gremlins.mod -o bin/gremlins github.com/go-gremlins/gremlins/cmd/gremlins
	@if test "$$(id -u)" = 0; then apart='unshare -n'; up='ip link set lo up'; fi; \
	$$apart sh -c "$${up:-:}; exec bin/gremlins unleash $(PKG) --workers $(JOBS) --timeout-coefficient 200 -S lt \
		--invert-logical --invert-bitwise --invert-assignments --invert-bwassign --invert-loopctrl --remove-self-assignments"

clones: ## list what stands twice in the product (make clones TOKENS=30 lists shorter clones)
	@root=$$PWD; find cmd internal -name '*.go' ! -name '*_test.go' ! -path 'internal/dnstest/*' | $(TOOL) dupl -t $(TOKENS) -files

bench: ## run the benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-peers: all ## measure port53 beside NSD, Knot, BIND, PowerDNS and a bare responder (root)
	scripts/install-peers
	$(GO) build -C bench -o ../bin/bench . && bin/bench -port53 bin/port53 $(BENCH)

golden: ## rewrite the expected results of golden tests and scenarios, and show what changed
	$(GO) test $$(grep -rlE 'flag\.Bool\("update"' --include='*_test.go' internal cmd | xargs -n 1 dirname | sort -u | sed 's,^,./,') -update
	git diff --stat

cover: ## write coverage to bin/cover.html
	$(GO) test -coverprofile=bin/cover.out -coverpkg=./... ./... && $(GO) tool cover -html=bin/cover.out -o bin/cover.html && $(GO) tool cover -func=bin/cover.out | tail -n 1

clean: ## remove what was built
	rm -rf bin

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | awk -F '\t' '{ printf "%-12s %s\n", $$1, $$2 }'
