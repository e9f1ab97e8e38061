//! The doorbell of lora-export.
fn main() -> std::process::ExitCode {
    lora_cli::main(lora_export::run)
}
