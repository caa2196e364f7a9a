# The commands of this project, each a few words long; the work is in scripts/.
#
#   make run          show this machine, plan a worker.toml for it, seal a sector with it
#   make test         everything that must hold; the seconds of each phase are printed
#   make test-fast    the part of it that needs no proof parameters
#   make test-slow    the long ones: thousands of daemons by seed, kills at random, 512 MiB sectors (two hours)
#   make fuzz         what reads strangers' text, a minute for each kind of text (needs g++; minutes to build the first time)
#   make lint         formatting and clippy, warnings are errors
#   make docs         the crate's documentation, private items too, warnings are errors
#   make commands     write docs/commands.md anew from the command line's definition
#   make setup        install the Debian packages that are missing
#   make clean        remove what was built (sealed sectors in run/ stay)
#
# For `make run`: RUN=folder (default run), TARGET=rate (1MiB/day), SECTORS=n (1), PLAN=new to plan again.

export RUN TARGET SECTORS PLAN

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-slow fuzz lint docs commands setup clean

# The comment at the top of this file.
help: ; @sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile
run: ; @scripts/run
test: ; @scripts/test all
test-fast: ; @scripts/test fast
test-slow: ; @scripts/test slow
fuzz: ; @scripts/fuzz
lint: setup ; @scripts/lint
docs: setup ; @RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
commands: setup ; @DAMOCLES_BLESS=1 cargo test --locked --quiet --test tidy docs_commands_md
setup: ; @scripts/setup
clean: ; @cargo clean
