//! The doorbell of lora-train.
fn main() -> std::process::ExitCode {
    lora_cli::main(lora_train::run)
}
