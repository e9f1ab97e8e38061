//! PEFT's adapter folder: adapter_config.json and adapter_model.safetensors, loaded strictly, saved byte for byte the same.
mod fill;
mod load;
mod reasons;
mod save;

pub(crate) use load::load;
