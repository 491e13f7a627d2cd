# Every target runs from a clean clone as root on Debian 12 with a Rust toolchain.

# Where `make demo` puts the starter app; remove the folder to start over.
DEMO ?= target/demo
# Where `make install` puts the programs.
PREFIX ?= /usr/local
# Where Cargo puts what it builds.
TARGET = $(or $(CARGO_TARGET_DIR),target)

.PHONY: demo test bench scale-ins identical fuzz lint build install agent host clean

# Build, init, bake and rehearse the starter app: a repository becomes a drained instance.
demo:
	tests/host/demo $(DEMO)

# Every test, whole-program stories included (25 minutes on two cores once the dependencies are compiled).
# Cargo builds all programs before it runs the first test, so the stories find target/debug/kiln.
test: host agent
	. target/host/env && cargo test --workspace --no-fail-fast

# What people wait for: medians of warm bakes, the disk step, plan and a rehearsal; then images beside mmdebstrap with a shell
# script, Packer and mkosi, publishing beside coldsnap, the agent beside its peers, and the bootstrap beside cloud-init.
bench: host build
	. target/host/env && tests/bench/run
	. target/host/env && tests/bench/images
	tests/bench/publish
	tests/bench/agent
	tests/bench/bootstrap

# Bytes that nobody thought of, for the parsers of user data: ten minutes a target, or FUZZ_SECONDS.
fuzz: host
	fuzz/run

# So many scale-ins one after the other under load, each followed by a launch: count, failures, drain times. About ten
# seconds each.
COUNT ?= 20
BASE ?= debian-12
scale-ins: host agent
	. target/host/env && cargo build -p kiln && \
		KILN_SCALE_INS=$(COUNT) cargo test -p kiln-tests --test stories scale_ins::consecutive -- --nocapture

# So many whole bakes of one app, each with base, tools, frontend and venv made anew, every second one as on another machine and
# day: all hashes are compared. About two minutes each. BASE=debian-13 for that base.
identical: host agent
	. target/host/env && cargo build -p kiln && \
		KILN_IDENTICAL=$(COUNT) KILN_IDENTICAL_BASE=$(BASE) \
		cargo test -p kiln-tests --test stories reproducible::another -- --nocapture

# Format, clippy (warnings are errors) and the documentation build.
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# The two programs as they are released: target/release/kiln, target/shipped/kiln-agent.
build: agent
	cargo build --release -p kiln

# Both programs where `kiln` finds the agent: PREFIX/bin/kiln, PREFIX/lib/kiln/kiln-agent.
install: build
	install -D -m 755 $(TARGET)/release/kiln $(DESTDIR)$(PREFIX)/bin/kiln
	install -D -m 755 $(TARGET)/shipped/kiln-agent $(DESTDIR)$(PREFIX)/lib/kiln/kiln-agent

# The agent as images carry it: smallest code, one codegen unit, fat LTO.
agent:
	cargo build --profile shipped -p kiln-agent

# The Debian packages that bakes, rehearsals and their tests call; names them before it installs any.
host:
	tests/host/prepare

# Everything built here; the layer cache (~/.cache/kiln) stays.
clean:
	cargo clean
