//! The doorbell of lora-prep.
fn main() -> std::process::ExitCode {
    lora_cli::main(lora_prep::run)
}
