//! The real command on small models.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod adapters;
mod chats;
mod errors;
mod experts;
mod formats;
mod harness;
mod identity;
mod modelfiles;
mod models;
mod quantised;
