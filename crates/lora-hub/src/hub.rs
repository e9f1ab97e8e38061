//! From a name to a path in the cache: which commit it is, which files it needs, and those that are not here yet.
use crate::answer::Asked;
use crate::download::Download;
use crate::error::{Error, Result, refused};
use crate::http::{Client, Fault};
use crate::layout::Place;
use crate::listing::{Entry, Listing};
use crate::name::{Kind, Name};
use crate::retry::Attempts;
use crate::settings::{Patience, Settings};
use crate::want::Want;
use crate::watch::Watch;
use std::path::PathBuf;

/// Attempts to reach the hub where the cache could do without it.
const WITH_CACHE: u32 = 2;

/// The hub and its cache.
pub struct Hub<'a> {
    settings: &'a Settings,
    watch: &'a mut dyn Watch,
}

/// A commit, and its files if the hub has told them.
struct Found {
    commit: String,
    listing: Option<Listing>,
}

impl<'a> Hub<'a> {
    /// A hub that `watch` hears of.
    pub fn new(settings: &'a Settings, watch: &'a mut dyn Watch) -> Self {
        Self { settings, watch }
    }

    /// The name with the commit that it stands for now; no file is fetched. A name with a commit is asked about nowhere.
    ///
    /// # Errors
    /// When there is no such repository or revision, or when the hub can't be reached and the cache knows of none.
    pub fn pin(&mut self, name: &Name, kind: Kind) -> Result<Name> {
        match name.commit() {
            Some(_) => Ok(name.clone()),
            None => Ok(name.at(&self.find(name, kind)?.commit)),
        }
    }

    /// The same by what is in the cache alone; none if it was never fetched.
    pub fn pinned_in_cache(settings: &Settings, name: &Name, kind: Kind) -> Option<Name> {
        let commit = Place::of(settings, kind, name).known(name.revision())?;
        Some(name.at(&commit))
    }

    /// Fetches what is needed and not here yet; gives the folder or file in the cache.
    ///
    /// # Errors
    /// When there is no such thing, when it is not what is wanted, when it can't be fetched, or when it arrives damaged.
    pub fn fetch(&mut self, name: &Name, want: Want) -> Result<PathBuf> {
        let found = self.find(name, want.kind())?;
        let place = Place::of(self.settings, want.kind(), name);
        let Some(listing) = &found.listing else {
            return of_cache(name, want, &place, &found.commit);
        };
        let chosen = want.choose(name, &listing.files)?;
        let is_missing = |file: &&Entry| !place.has(&found.commit, &file.path, file.bytes);
        let missing: Vec<&Entry> = chosen.files.iter().filter(is_missing).collect();
        if let (Some(first), true) = (missing.first(), self.settings.offline) {
            return Err(partly(name, &first.path));
        }
        if !missing.is_empty() {
            self.download(&name.at(&found.commit), want.kind(), &place, &missing)?;
        }
        Ok(inside(&place, &found.commit, &chosen.place))
    }

    /// Fetches files, the small ones first.
    fn download(&mut self, name: &Name, kind: Kind, place: &Place, files: &[&Entry]) -> Result<()> {
        let client = Client::new(self.settings)?;
        let download = Download {
            asked: Asked {
                client: &client,
                name,
                kind,
            },
            place,
            commit: name.revision(),
            patience: self.settings.patience,
        };
        let mut files = files.to_vec();
        files.sort_by_key(|file| file.bytes);
        let bytes = files.iter().map(|file| file.bytes).sum();
        let started = files
            .iter()
            .map(|file| std::fs::metadata(place.incomplete(&file.etag)));
        let already = started.flatten().map(|about| about.len()).sum();
        self.watch.begin(&name.repository(), bytes, already);
        let fetched = files.iter().try_for_each(|file| {
            self.watch.file(&file.path);
            download.file(file, self.watch)
        });
        self.watch.end();
        fetched
    }

    /// The commit of a name, and the list of its files: one that was kept, else the hub's.
    fn find(&mut self, name: &Name, kind: Kind) -> Result<Found> {
        let place = Place::of(self.settings, kind, name);
        let kept = |commit: &str| Listing::kept(&place.list(commit)?);
        if let Some(listing) = name.commit().and_then(kept) {
            return Ok(Found {
                commit: listing.commit.clone(),
                listing: Some(listing),
            });
        }
        let known = || {
            let commit = place.known(name.revision())?;
            let listing = kept(&commit);
            let is_here = listing.is_some() || place.snapshot(&commit).is_dir();
            is_here.then_some(Found { commit, listing })
        };
        if self.settings.offline {
            return known().ok_or_else(|| absent(name));
        }
        let tries = match known().is_some() {
            true => self.settings.patience.tries.min(WITH_CACHE),
            false => self.settings.patience.tries,
        };
        match self.ask(name, kind, tries) {
            Ok(listing) => {
                place.note(name.revision(), &listing.commit)?;
                if let Some(path) = place.list(&listing.commit) {
                    listing.keep(&path);
                }
                Ok(Found {
                    commit: listing.commit.clone(),
                    listing: Some(listing),
                })
            }
            Err(Missed::Unreachable(error)) => match known() {
                None => Err(error),
                Some(found) => {
                    let commit = &found.commit[..12];
                    self.watch.say(&format!(
                        "{error}; going on with {name} as it was last fetched ({commit})"
                    ));
                    Ok(found)
                }
            },
            Err(Missed::Other(error)) => Err(error),
        }
    }

    fn ask(&mut self, name: &Name, kind: Kind, tries: u32) -> Result<Listing, Missed> {
        let client = Client::new(self.settings)?;
        let asked = Asked {
            client: &client,
            name,
            kind,
        };
        let revision = name.revision().replace('/', "%2F");
        let path = format!(
            "/api/{}/{}/revision/{revision}?blobs=true",
            kind.plural(),
            name.id()
        );
        let mut attempts = Attempts::new(Patience {
            tries,
            ..self.settings.patience
        });
        loop {
            let answer = client.get(&path, 0).and_then(|answer| asked.good(answer));
            let listing = answer.and_then(|answer| {
                let bytes = asked.list(answer)?;
                Listing::parse(&bytes).map_err(|what| asked.not_a_hub(&what))
            });
            let fault = match listing {
                Ok(listing) if name.commit().is_some_and(|commit| commit != listing.commit) => {
                    asked.not_a_hub("another commit than was asked for")
                }
                Ok(listing) => return Ok(listing),
                Err(fault) => fault,
            };
            let is_unreachable = matches!(fault, Fault::Unreachable(..));
            attempts
                .after(fault, self.watch)
                .map_err(|error| match is_unreachable {
                    true if !matches!(error, Error::Interrupted) => Missed::Unreachable(error),
                    _ => Missed::Other(error),
                })?;
        }
    }
}

/// Why there is no list of files.
enum Missed {
    Unreachable(Error),
    Other(Error),
}

impl From<Error> for Missed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// What another tool has fetched, of whose list of files nothing is known here.
fn of_cache(name: &Name, want: Want, place: &Place, commit: &str) -> Result<PathBuf> {
    let entry = |(path, bytes)| Entry {
        path,
        bytes,
        etag: String::new(),
    };
    let here: Vec<Entry> = place.files(commit).into_iter().map(entry).collect();
    if here.is_empty() {
        return Err(absent(name));
    }
    let chosen = want.choose(name, &here)?;
    let path = inside(place, commit, &chosen.place);
    match first_missing_shard(&path) {
        Some(shard) => Err(partly(name, &shard)),
        None => Ok(path),
    }
}

fn inside(place: &Place, commit: &str, file: &str) -> PathBuf {
    let snapshot = place.snapshot(commit);
    match file {
        "" => snapshot,
        file => snapshot.join(file),
    }
}

/// A shard that the index of a model's weights names and that is not here.
fn first_missing_shard(folder: &std::path::Path) -> Option<String> {
    let index = std::fs::read(folder.join("model.safetensors.index.json")).ok()?;
    let index: serde_json::Value = serde_json::from_slice(&index).ok()?;
    let mut shards = index["weight_map"]
        .as_object()?
        .values()
        .filter_map(|v| v.as_str());
    let is_whole = folder.join("model.safetensors").is_file();
    let is_gone = |shard: &&str| !is_whole && !folder.join(shard).is_file();
    shards.find(is_gone).map(str::to_owned)
}

fn absent(name: &Name) -> Error {
    refused(
        format!("{name} is not in the cache, and the hub is not asked: HF_HUB_OFFLINE is set"),
        "unset HF_HUB_OFFLINE to fetch it; HF_HUB_CACHE or HF_HOME name another cache",
    )
}

fn partly(name: &Name, file: &str) -> Error {
    refused(
        format!("{name} is only partly in the cache: {file} is missing, and the hub is not asked"),
        "unset HF_HUB_OFFLINE to fetch the rest",
    )
}
