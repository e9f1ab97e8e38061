//! A path in the hub's cache says by itself what lies there: `models--OWNER--NAME/snapshots/COMMIT`.
use std::path::{Component, Path};

/// What lies at a path in the hub's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPlace {
    /// `OWNER/NAME`.
    pub id: String,
    /// The commit of its snapshot.
    pub commit: String,
    /// The file or folder in it, with `/`; none for all of it.
    pub file: Option<String>,
}

impl HubPlace {
    /// By the path alone; none if it is not one of the cache.
    pub fn of(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let mut parts = Vec::new();
        for part in path.components() {
            if let Component::Normal(part) = part {
                parts.push(part.to_str()?);
            }
        }
        let at = parts.iter().rposition(|part| *part == "snapshots")?;
        let repository = parts.get(at.checked_sub(1)?)?;
        let words: Vec<&str> = repository.split("--").collect();
        let ["models" | "datasets", owner, name] = words[..] else {
            return None;
        };
        let commit = parts.get(at + 1).filter(|commit| is_commit(commit))?;
        let file = parts[at + 2..].join("/");
        Some(Self {
            id: format!("{owner}/{name}"),
            commit: (*commit).to_owned(),
            file: Some(file).filter(|file| !file.is_empty()),
        })
    }
}

/// What people call what lies at a path: its repository or its file on the hub, else the path's last part.
pub fn short_name(path: &Path) -> Option<String> {
    match HubPlace::of(path) {
        Some(HubPlace { id, file, .. }) => {
            let whole = file.unwrap_or(id);
            whole.rsplit('/').next().map(str::to_owned)
        }
        None => Some(path.file_name()?.to_string_lossy().into_owned()),
    }
}

/// [`short_name`], with a number where that is taken already: `tone`, `tone-2`.
pub fn name_among(path: &Path, is_taken: impl Fn(&str) -> bool) -> String {
    let stem = short_name(path).unwrap_or_else(|| "adapter".to_owned());
    let numbered = (2_u64..).map(|n| format!("{stem}-{n}"));
    let mut names = std::iter::once(stem.clone()).chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or(stem)
}

impl std::fmt::Display for HubPlace {
    /// As it is named on a command line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "hub:{}@{}", self.id, self.commit)?;
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::{HubPlace, short_name};
    use std::path::Path;

    #[test]
    fn a_path_of_the_cache_says_its_name() {
        let commit = "5f0b02c75b57c5855da9ae460ce51323ea669d8a";
        let named = |path: String| HubPlace::of(Path::new(&path)).map(|place| place.to_string());
        let snapshot = format!("/c/hub/models--org--tiny/snapshots/{commit}");
        assert_eq!(
            named(snapshot.clone()),
            Some(format!("hub:org/tiny@{commit}"))
        );
        assert_eq!(
            named(format!("{snapshot}/q/m.gguf")),
            Some(format!("hub:org/tiny@{commit}/q/m.gguf"))
        );
        assert_eq!(short_name(Path::new(&snapshot)).unwrap(), "tiny");
        assert_eq!(
            short_name(Path::new(&format!("{snapshot}/q/m.gguf"))).unwrap(),
            "m.gguf"
        );
        assert_eq!(short_name(Path::new("a/b")).unwrap(), "b");
        for other in [
            "/models/tiny".to_owned(),
            "/x/snapshots/1".to_owned(),
            snapshot.replace("5f", "zz"),
        ] {
            assert_eq!(named(other), None);
        }
    }
}
