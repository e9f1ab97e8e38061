//! Models, adapters and datasets by their name on the Hugging Face Hub: `hub:OWNER/NAME[@REVISION][/FILE]`.
//!
//! What is fetched lies in the cache that every other tool uses (`models--OWNER--NAME` with `blobs`, `refs` and
//! `snapshots`), and what another tool has fetched is found there. A file is checked by its size and its hash before it gets
//! its name, so what has one is whole. This crate prints nothing and reads no environment: it is told where to ask, and
//! tells a [`Watch`] how far it is.
mod answer;
mod digest;
mod download;
mod error;
mod http;
mod hub;
mod layout;
mod listing;
mod name;
mod partial;
mod places;
mod retry;
mod settings;
mod want;
mod watch;

pub use error::{Error, Result};
pub use hub::Hub;
pub use name::{Kind, Name, PREFIX, is_name};
pub use places::places;
pub use settings::{ENDPOINT, Patience, Settings, Token};
pub use want::Want;
pub use watch::Watch;
