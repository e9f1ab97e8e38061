//! The doorbell of lora-chat.
fn main() -> std::process::ExitCode {
    lora_cli::main(lora_chat::run)
}
