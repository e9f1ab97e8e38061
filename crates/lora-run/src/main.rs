//! The doorbell of lora-run.
fn main() -> std::process::ExitCode {
    lora_cli::main(lora_run::run)
}
