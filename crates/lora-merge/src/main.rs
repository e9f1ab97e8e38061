//! The doorbell of lora-merge.
fn main() -> std::process::ExitCode {
    lora_cli::main(lora_merge::run)
}
