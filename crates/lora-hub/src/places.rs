//! Where what a hub answers would lie.
use crate::layout::Place;
use crate::listing::Listing;
use crate::name::{Kind, Name};
use crate::settings::Settings;
use std::path::PathBuf;

/// Every path that a repository's files, at the commit of the hub's `answer`, would have in the cache: blobs, links and what
/// is written on the way. Nothing is read or written.
///
/// # Errors
/// When the answer is no list of files, or one that leads out of the cache.
pub fn places(
    settings: &Settings,
    kind: Kind,
    name: &Name,
    answer: &[u8],
) -> Result<Vec<PathBuf>, String> {
    let listing = Listing::parse(answer)?;
    let place = Place::of(settings, kind, name);
    let mut all: Vec<PathBuf> = place.list(&listing.commit).into_iter().collect();
    for file in &listing.files {
        all.extend([
            place.blob(&file.etag),
            place.incomplete(&file.etag),
            place.lock(&file.etag),
            place.snapshot(&listing.commit).join(&file.path),
        ]);
    }
    Ok(all)
}
