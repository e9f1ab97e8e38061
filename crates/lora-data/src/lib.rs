//! Records, chat templates, masks, dataset files and batches: from a JSONL row to the ids that a trainer reads.
//!
//! Write a dataset and open it:
//! ```
//! use lora_data::{Example, IGNORE, Split, epoch_order};
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//!
//! let row = |ids: [u32; 4]| Example {
//!     input_ids: ids.to_vec(),
//!     labels: vec![IGNORE, IGNORE, ids[2] as i32, ids[3] as i32], // the first two are the prompt
//!     id: String::new(),
//!     group: String::new(),
//!     prompt: String::new(),
//!     completion: String::new(),
//! };
//! let split = Split {
//!     examples: vec![row([5, 6, 7, 2]), row([5, 8, 9, 2])],
//!     tokenizer_sha256: None, // any base may read it
//!     template_sha256: None,
//!     chat: None,
//! };
//! split.write(&folder.join("train.parquet"))?;
//!
//! let split = Split::read(folder, "train")?; // of lora-prep's folder, or a parquet file with input_ids and labels
//! assert_eq!(split.examples[1].supervised(), 2);
//! assert_eq!(epoch_order(split.examples.len(), 7, 0).len(), 2); // shuffled, the same for the same seed and epoch
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod array;
mod arrow_rows;
mod assign;
mod brotli;
mod cell;
mod chat;
mod column;
mod conversation;
mod dataset_tokenizer;
mod encode;
mod ends;
mod error;
mod example;
mod guard;
mod jinja;
mod keys;
mod lines;
mod manifest;
mod messages;
mod minhash;
mod note;
mod numbers;
mod order;
mod overlength;
mod pages;
mod parquet_read;
mod parquet_write;
mod parts;
mod prologue;
mod prompt;
mod python;
mod raw_row;
mod reading;
mod reasoning;
mod record;
mod refusal;
mod roles;
mod seen;
mod sharing;
mod source;
mod special;
mod spool;
mod strings;
mod table;
mod template;
mod text_row;
mod tokens;
mod trace;
mod units;
mod unpack;
mod unread;
mod whole;

pub use assign::{Blocks, SplitName, text_blocks};
pub use column::read_column;
pub use conversation::{Conversation, Learn};
pub use dataset_tokenizer::{TOKENIZER_FOLDER, dataset_tokenizer};
pub use encode::{Encoded, Encoder, Rules};
pub use ends::end_beyond_model;
pub use error::{Error, Mistake};
pub use example::{Example, IGNORE, Split};
pub use guard::watch_over;
pub use keys::{KNOWN_KEYS, LAYOUT_KEYS};
pub use manifest::{Distribution, Manifest, SourceCount, SplitCounts, SplitSummary, Splits};
pub use note::Note;
pub use order::{batch_order, batches, epoch_order, group_by_length};
pub use overlength::Overlength;
pub use parquet_read::split_name;
pub use parquet_write::SplitWriter;
pub use prologue::{system_into_user, with_defaults};
pub use raw_row::RawRow;
pub use reading::{PromptTemplate, Reading};
pub use record::{Content, Record};
pub use refusal::{Fault, Refusal};
pub use seen::{Key, Seen};
pub use source::{Format, RawRows};
pub use special::SpecialInText;
pub use spool::Spool;
pub use template::{ChatTemplate, Message, date};
pub use units::{Belonging, Group, Joined, Units, share_of, splits_of};
pub use unread::UnreadRow;

/// Version of the parquet schema that this crate writes and reads (`lora.schema`).
pub const SCHEMA_VERSION: u32 = 1;
/// Key-value metadata: the schema's version.
const KEY_SCHEMA: &str = "lora.schema";
/// Key-value metadata: fingerprint of the tokenizer.
const KEY_TOKENIZER: &str = "lora.tokenizer_sha256";
/// Key-value metadata: sha256 of the chat template's source.
const KEY_TEMPLATE: &str = "lora.template_sha256";
/// Key-value metadata: the chat template's source.
const KEY_TEMPLATE_SOURCE: &str = "lora.template";
/// Key-value metadata: the system text of the rows.
const KEY_SYSTEM: &str = "lora.system";

/// Foreign messages may have several lines; ours have one.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
