//! Names on the hub, and what a hub answers.
use lora_hub::{ENDPOINT, Kind, Name, Patience, Settings};
use std::path::{Component, Path};

/// A name in the first line, the list of its files in the others: all that would be written lies in the cache.
pub(crate) fn hub(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let (name, answer) = bytes.split_at(end.unwrap_or(bytes.len()));
    let Ok(name) = Name::parse(Path::new(&*String::from_utf8_lossy(name))) else {
        return;
    };
    let cache = Path::new("/cache");
    let settings = Settings {
        cache: cache.join("hub"),
        lists: Some(cache.join("lists")),
        endpoint: ENDPOINT.to_owned(),
        token: None,
        offline: true,
        patience: Patience::default(),
    };
    for kind in [Kind::Model, Kind::Dataset] {
        let Ok(places) = lora_hub::places(&settings, kind, &name, answer) else {
            return;
        };
        for place in places {
            assert!(
                place.starts_with(cache),
                "{} leads elsewhere",
                place.display()
            );
            let goes_up = place.components().any(|part| part == Component::ParentDir);
            assert!(!goes_up, "{} goes up", place.display());
        }
    }
}
