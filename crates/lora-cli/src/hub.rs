//! `hub:OWNER/NAME[@REVISION][/FILE]` in place of a path: what the environment says of the hub, and how people see a
//! download.
use crate::{Error, Progress, Result, Ui, cache, environment};
use lora_hub::{ENDPOINT, Hub, Kind, Name, Patience, Settings, Token, Want, Watch};
use lora_receipt::Artefact;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Who is told how a download goes.
static TOLD: OnceLock<Ui> = OnceLock::new();

/// What progress is counted in.
const MEGABYTE: u64 = 1_000_000;

/// Flags and inputs that name rows: theirs are repositories of datasets. All others name models and adapters.
const ROWS: [&str; 8] = [
    "raw",
    "rows",
    "data",
    "guard",
    "valid-file",
    "test-file",
    "verify",
    "importance",
];

/// Downloads are told here from now on.
pub(crate) fn tell(ui: Ui) {
    let _ = TOLD.set(ui); // once, by `main`
}

/// True if a path is a name on the hub.
pub fn is_hub(path: &Path) -> bool {
    lora_hub::is_name(path)
}

/// The path itself, or where what it names on the hub lies now.
pub(crate) fn artefact(path: &Path, kind: Artefact) -> Result<PathBuf> {
    let want = match kind {
        Artefact::Dataset => Want::Dataset,
        Artefact::Adapter => Want::Adapter,
        _ => Want::Model,
    };
    here(path, want)
}

/// Raw rows: the path itself, or where what it names on the hub lies now.
///
/// # Errors
/// When the name is none, or when what it names can't be had.
pub fn hub_rows(path: &Path) -> Result<PathBuf> {
    here(path, Want::Rows)
}

/// A model of which only the configuration is read: the path itself, or where what it names on the hub lies now.
///
/// # Errors
/// When the name is none, or when what it names can't be had.
pub fn hub_shape(path: &Path) -> Result<PathBuf> {
    here(path, Want::Shape)
}

fn here(path: &Path, want: Want) -> Result<PathBuf> {
    if !is_hub(path) {
        return Ok(path.to_path_buf());
    }
    let name = Name::parse(path)?;
    let settings = settings()?;
    with_watch(|watch| Ok(Hub::new(&settings, watch).fetch(&name, want)?))
}

/// The name with the commit that it stands for now, by which it is the same for ever; nothing is fetched. `flag` is the
/// flag or the input that it is given to.
///
/// # Errors
/// When the name is none, or when neither the hub nor the cache knows it.
pub fn pin_hub(path: &Path, flag: &str) -> Result<PathBuf> {
    let name = Name::parse(path)?;
    let settings = settings()?;
    let pinned = with_watch(|watch| Ok(Hub::new(&settings, watch).pin(&name, kind_of(flag))?))?;
    Ok(pinned.to_string().into())
}

/// The same without asking the hub: none of what was never fetched.
///
/// # Errors
/// When the name is none.
pub fn pinned_in_cache(path: &Path, flag: &str) -> Result<Option<PathBuf>> {
    let name = Name::parse(path)?;
    let found = Hub::pinned_in_cache(&settings()?, &name, kind_of(flag));
    Ok(found.map(|name| name.to_string().into()))
}

fn kind_of(flag: &str) -> Kind {
    match ROWS.contains(&flag) {
        true => Kind::Dataset,
        false => Kind::Model,
    }
}

/// What the environment says, as huggingface_hub reads it.
fn settings() -> Result<Settings> {
    let offline = is_set("HF_HUB_OFFLINE")? || is_set("TRANSFORMERS_OFFLINE")?;
    Ok(Settings {
        cache: cache_folder()?,
        lists: cache::folder().map(|folder| folder.join("hub")),
        endpoint: text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.to_owned()),
        token: if offline { None } else { token()? },
        offline,
        patience: Patience::default(),
    })
}

/// A text of the environment that is not empty.
fn text(name: &str) -> Result<Option<String>> {
    Ok(environment(name)?.filter(|text| !text.trim().is_empty()))
}

fn is_set(name: &str) -> Result<bool> {
    let value = text(name)?.unwrap_or_default().to_uppercase();
    Ok(["1", "ON", "YES", "TRUE"].contains(&value.trim()))
}

/// A folder of the environment; `~` is the home.
fn folder(name: &str) -> Result<Option<PathBuf>> {
    let Some(text) = text(name)? else {
        return Ok(None);
    };
    Ok(Some(match text.strip_prefix("~/") {
        Some(below) => home()?.join(below),
        None => text.into(),
    }))
}

fn home() -> Result<PathBuf> {
    let found = match text("HOME")? {
        Some(home) => Some(home),
        None => text("USERPROFILE")?,
    };
    found.map(PathBuf::from).ok_or_else(|| {
        Error::new("nothing says where the cache of the hub lies")
            .hint("name a folder: HF_HOME=/path/to/cache")
    })
}

/// `HF_HOME`, or where it is where nothing says otherwise.
fn hub_home() -> Result<PathBuf> {
    if let Some(home) = folder("HF_HOME")? {
        return Ok(home);
    }
    Ok(match folder("XDG_CACHE_HOME")? {
        Some(caches) => caches.join("huggingface"),
        None => home()?.join(".cache/huggingface"),
    })
}

fn cache_folder() -> Result<PathBuf> {
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
        if let Some(cache) = folder(name)? {
            return Ok(cache);
        }
    }
    Ok(hub_home()?.join("hub"))
}

/// HF_TOKEN, else the file that huggingface-cli login writes.
fn token() -> Result<Option<Token>> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(text) = text(name)? {
            return Ok(Token::new(&text, name)?);
        }
    }
    if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN")? {
        return Ok(None);
    }
    let path = match folder("HF_TOKEN_PATH")? {
        Some(path) => path,
        None => hub_home()?.join("token"),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Token::new(&text, &path.display().to_string())?),
        Err(_) => Ok(None), // most have none
    }
}

fn with_watch<T>(work: impl FnOnce(&mut Told) -> Result<T>) -> Result<T> {
    let silent = Ui::silent();
    let mut told = Told {
        ui: TOLD.get().unwrap_or(&silent),
        progress: None,
        rest: 0,
    };
    match work(&mut told) {
        Err(_) if told.ui.interrupted_by().is_some() => Err(Error::interrupted()),
        done => done,
    }
}

/// A download as people see it.
struct Told<'u> {
    ui: &'u Ui,
    progress: Option<Progress>,
    /// Bytes that are no whole megabyte yet.
    rest: u64,
}

impl Watch for Told<'_> {
    fn begin(&mut self, what: &str, bytes: u64, already: u64) {
        let label = format!("fetching {what}");
        let progress = self.ui.progress(&label, bytes.div_ceil(MEGABYTE), "MB");
        if already > 0 {
            progress.already(already / MEGABYTE);
        }
        self.rest = already % MEGABYTE;
        self.progress = Some(progress);
    }

    fn file(&mut self, name: &str) {
        if let Some(progress) = &self.progress {
            progress.message(name.to_owned());
        }
    }

    fn more(&mut self, bytes: u64) {
        self.rest += bytes;
        if let Some(progress) = &self.progress {
            progress.inc(self.rest / MEGABYTE);
        }
        self.rest %= MEGABYTE;
    }

    fn end(&mut self) {
        self.progress = None;
    }

    fn say(&mut self, line: &str) {
        self.ui.say(line);
    }

    fn goes_on(&mut self) -> bool {
        self.ui.interrupted_by().is_none()
    }
}
