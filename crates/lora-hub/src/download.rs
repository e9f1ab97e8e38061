//! One file from the hub into the cache: from where an earlier attempt ended, and checked before it gets its name.
use crate::answer::{Asked, header_text};
use crate::error::{Error, Result, io, refused};
use crate::http::Fault;
use crate::layout::{Place, make_folder_of};
use crate::listing::Entry;
use crate::partial::{CHUNK, Partial};
use crate::retry::Attempts;
use crate::settings::Patience;
use crate::watch::Watch;
use std::fs::{self, File, TryLockError};
use std::io::Read as _;
use std::time::Duration;
use ureq::Body;
use ureq::http::{Response, StatusCode};

/// How often a lock is tried that another process holds.
const BEAT: Duration = Duration::from_millis(100);

/// A file whose hash is wrong is fetched so often.
const FETCHES: usize = 2;

/// Where files come from and where they go.
pub(crate) struct Download<'a> {
    pub(crate) asked: Asked<'a>,
    pub(crate) place: &'a Place,
    pub(crate) commit: &'a str,
    pub(crate) patience: Patience,
}

impl Download<'_> {
    /// Puts one file into the snapshot.
    pub(crate) fn file(&self, entry: &Entry, watch: &mut dyn Watch) -> Result<()> {
        let blob = self.place.blob(&entry.etag);
        make_folder_of(&blob)?;
        let _lock = self.lock(entry, watch)?;
        // Another process may have fetched it while we waited.
        let is_here = fs::metadata(&blob).is_ok_and(|about| about.len() == entry.bytes);
        if is_here {
            watch.more(entry.bytes);
        } else {
            self.blob(entry, watch)?;
        }
        self.place.link(self.commit, &entry.path, &entry.etag)
    }

    /// One process fetches a file; the others wait for it. The lock is huggingface_hub's, too.
    fn lock(&self, entry: &Entry, watch: &mut dyn Watch) -> Result<File> {
        let path = self.place.lock(&entry.etag);
        make_folder_of(&path)?;
        let options = || {
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
        };
        let file = options().map_err(io("write", &path))?;
        let mut has_said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if !watch.goes_on() => {
                    return Err(Error::Interrupted);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(BEAT),
                Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
            }
            if !std::mem::replace(&mut has_said, true) {
                watch.say(&format!(
                    "another process is fetching {}: waiting for it",
                    entry.path
                ));
            }
        }
    }

    fn blob(&self, entry: &Entry, watch: &mut dyn Watch) -> Result<()> {
        let path = self.place.incomplete(&entry.etag);
        let mut found = None;
        for _ in 0..FETCHES {
            let mut partial = Partial::open(&path, entry)?;
            self.fill(&mut partial, entry, watch)?;
            found = partial.finish(&self.place.blob(&entry.etag))?;
            if found.is_none() {
                return Ok(());
            }
        }
        Err(refused(
            format!(
                "{}: what arrives as {} has the hash {}, and the hub says {}",
                self.asked.name,
                entry.path,
                found.unwrap_or_default(),
                entry.etag
            ),
            "nothing of it was kept; try again later, or on another network: something on the way changes the file",
        ))
    }

    /// Asks until all bytes are here.
    fn fill(&self, partial: &mut Partial<'_>, entry: &Entry, watch: &mut dyn Watch) -> Result<()> {
        let mut attempts = Attempts::new(self.patience);
        while !partial.is_whole() {
            let before = partial.here;
            let fault = match self.part(partial, entry, watch) {
                Ok(()) => continue,
                Err(fault) => fault,
            };
            if partial.here > before {
                attempts.succeed();
            }
            attempts.after(fault, watch)?;
        }
        Ok(())
    }

    /// Takes as much as one answer brings.
    fn part(
        &self,
        partial: &mut Partial<'_>,
        entry: &Entry,
        watch: &mut dyn Watch,
    ) -> Result<(), Fault> {
        let path = self.address(&entry.path);
        let answer = self.asked.client.get(&path, partial.here)?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            partial.empty()?;
            return Err(self
                .asked
                .broken("it has less of the file than is here already"));
        }
        let answer = self.asked.good(answer)?;
        self.check_begin(&answer, partial, entry)?;
        let mut body = answer.into_body().into_reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            if !watch.goes_on() {
                return Err(Error::Interrupted.into());
            }
            let count = match body.read(&mut chunk) {
                Ok(count) => count,
                Err(_) => return Err(self.broke_off(partial, entry)),
            };
            if count == 0 && partial.is_whole() {
                return Ok(());
            }
            if count == 0 {
                return Err(self.broke_off(partial, entry));
            }
            if partial.here + count as u64 > entry.bytes {
                partial.empty()?;
                return Err(self.lies(entry, "and it sends more"));
            }
            partial.add(&chunk[..count])?;
            watch.more(count as u64);
        }
    }

    /// The answer begins where we asked it to, and is as long as the list says. One from the first byte on is taken, too.
    fn check_begin(
        &self,
        answer: &Response<Body>,
        partial: &mut Partial<'_>,
        entry: &Entry,
    ) -> Result<(), Fault> {
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            let range = header_text(answer, "content-range").unwrap_or_default();
            if !range.starts_with(&format!("bytes {}-", partial.here)) {
                partial.empty()?;
                return Err(self.lies(entry, "and it sends another part than was asked for"));
            }
        } else {
            partial.empty()?;
        }
        let length =
            header_text(answer, "content-length").and_then(|text| text.parse::<u64>().ok());
        match length {
            Some(length) if length != entry.bytes - partial.here => {
                let what = format!("and it announces {}", partial.here.saturating_add(length));
                Err(self.lies(entry, &what))
            }
            _ => Ok(()),
        }
    }

    fn broke_off(&self, partial: &Partial<'_>, entry: &Entry) -> Fault {
        let what = format!(
            "{} broke off after {} of {} bytes",
            entry.path, partial.here, entry.bytes
        );
        self.asked.broken(&what)
    }

    fn lies(&self, entry: &Entry, how: &str) -> Fault {
        let what = format!(
            "{}: {} has {} bytes by the hub's list, {how}",
            self.asked.name, entry.path, entry.bytes
        );
        Fault::Final(refused(
            what,
            "nothing of it was kept; does something stand between us and the hub (a login page, a proxy)?",
        ))
    }

    fn address(&self, file: &str) -> String {
        let prefix = match self.asked.kind {
            crate::name::Kind::Model => "",
            crate::name::Kind::Dataset => "datasets/",
        };
        let id = self.asked.name.id();
        format!("/{prefix}{id}/resolve/{}/{}", self.commit, escaped(file))
    }
}

/// A path as an address has it; `/` stays.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
        match is_plain {
            true => text.push(char::from(byte)),
            false => text += &format!("%{byte:02X}"),
        }
    }
    text
}
