//! The doorbell of lora-run.
fn main() -> std::process::ExitCode {
    lora_run::enter_guard().unwrap_or_else(|| lora_cli::main(lora_run::run))
}
