//! Records, chat templates, masks, dataset files and batches: from a JSONL row to the ids that a trainer reads.
mod error;
mod example;
mod order;
mod parquet_read;
mod parquet_write;

pub use error::Error;
pub use example::{Example, IGNORE, Split};
pub use order::{batches, epoch_order};

/// Version of the parquet schema that this crate writes and reads (`lora.schema`).
pub const SCHEMA_VERSION: u32 = 1;
/// Key-value metadata: the schema's version.
const KEY_SCHEMA: &str = "lora.schema";
/// Key-value metadata: fingerprint of the tokenizer.
const KEY_TOKENIZER: &str = "lora.tokenizer_sha256";
/// Key-value metadata: sha256 of the chat template's source.
const KEY_TEMPLATE: &str = "lora.template_sha256";
