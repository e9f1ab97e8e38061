//! Where things are kept that can be made again: `$XDG_CACHE_HOME/lora-tools`, or below `~/.cache`.
use std::env;
use std::path::PathBuf;

/// The folder; none where the environment does not say, or says a path that depends on where the tool is started.
pub(crate) fn folder() -> Option<PathBuf> {
    let set = |name| {
        let value = env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    base.is_absolute().then(|| base.join("lora-tools"))
}
