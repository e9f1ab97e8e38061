//! The doorbell of lora-plan.
fn main() -> std::process::ExitCode {
    lora_cli::main(lora_plan::run)
}
