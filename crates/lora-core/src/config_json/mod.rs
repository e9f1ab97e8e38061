//! adapter_config.json: read strictly, written as PEFT writes it.
mod read;
mod value;
mod write;
