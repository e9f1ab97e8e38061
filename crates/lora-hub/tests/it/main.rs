//! The hub's client against a hub on loopback: what is fetched, what is kept, and what the user reads when it goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may fail loudly, in its helpers too
mod cache;
mod faults;
mod hostile;
mod secrets;

use lora_hub::{Hub, Name, Patience, Settings, Token, Want, Watch};
use lora_testkit::hub::{HubServer, Repository};
use miette::Diagnostic as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A token that must stand nowhere.
const TOKEN: &str = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz";

/// A hub with `org/tiny`, and an empty cache.
struct World {
    hub: HubServer,
    folder: TempDir,
    settings: Settings,
}

/// Notes what it is told.
#[derive(Default)]
struct Noted {
    lines: Vec<String>,
    bytes: u64,
    /// Ends the download after so many bytes.
    most: Option<u64>,
}

impl Watch for Noted {
    fn begin(&mut self, what: &str, bytes: u64, already: u64) {
        self.lines
            .push(format!("{what}: {bytes} bytes, {already} here"));
    }
    fn file(&mut self, _: &str) {}
    fn more(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
    fn end(&mut self) {}
    fn say(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }
    fn goes_on(&mut self) -> bool {
        self.most.is_none_or(|most| self.bytes < most)
    }
}

impl World {
    fn new() -> Self {
        let tiny = Repository::of("models", "org/tiny", &lora_testkit::tiny_chat());
        Self::with(vec![tiny])
    }

    fn with(repositories: Vec<Repository>) -> Self {
        let hub = HubServer::start(repositories);
        let folder = TempDir::new().unwrap();
        let settings = Settings {
            cache: folder.path().join("hub"),
            lists: Some(folder.path().join("lists")),
            endpoint: hub.endpoint(),
            token: Token::new(TOKEN, "HF_TOKEN").unwrap(),
            offline: false,
            patience: Patience {
                tries: 3,
                pause: Duration::from_millis(1),
                longest: Duration::from_secs(5),
                silence: Duration::from_millis(500),
            },
        };
        Self {
            hub,
            folder,
            settings,
        }
    }

    /// Fetches a model; an error is its message and its hint.
    fn fetch(&self, name: &str) -> Result<PathBuf, String> {
        self.fetch_as(name, Want::Model, &mut Noted::default())
    }

    fn fetch_as(&self, name: &str, want: Want, noted: &mut Noted) -> Result<PathBuf, String> {
        let told = |error: lora_hub::Error| {
            let hint = error.help().map(|help| help.to_string());
            format!("{error}\nhint: {}", hint.unwrap_or_default())
        };
        let name = Name::parse(Path::new(name)).map_err(told)?;
        Hub::new(&self.settings, noted)
            .fetch(&name, want)
            .map_err(told)
    }

    /// All files below the world's folder that stand under a blob's or snapshot's name: whole ones.
    fn finished(&self) -> usize {
        let blobs = self.folder.path().join("hub/models--org--tiny/blobs");
        let names = std::fs::read_dir(blobs).into_iter().flatten().flatten();
        let name = names.map(|entry| entry.file_name().into_string().unwrap());
        name.filter(|name| !name.ends_with(".incomplete")).count()
    }
}
