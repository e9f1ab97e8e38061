//! The doorbell of lora-eval.
fn main() -> std::process::ExitCode {
    lora_cli::main(lora_eval::run)
}
