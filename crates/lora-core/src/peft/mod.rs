//! PEFT's adapter folder: adapter_config.json and adapter_model.safetensors, loaded strictly, saved byte for byte the same.
mod copies;
mod fill;
mod load;
mod save;

pub(crate) use load::load;
