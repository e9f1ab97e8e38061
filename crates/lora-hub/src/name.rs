//! `hub:OWNER/NAME[@REVISION][/FILE]`, and nothing in it that could lead out of the cache.
use crate::error::{Result, refused};
use std::path::Path;

/// How a name on the hub begins.
pub const PREFIX: &str = "hub:";

/// How a name is written.
const FORM: &str =
    "a name on the hub is hub:OWNER/NAME, hub:OWNER/NAME@REVISION or hub:OWNER/NAME/FILE";

/// Digits of a commit.
const COMMIT: usize = 40;

/// Longest part of a name that is taken.
const LONGEST: usize = 255;

/// The two kinds of repositories: one of each may have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Models and adapters.
    Model,
    /// Rows, raw or prepared.
    Dataset,
}

impl Kind {
    /// As the hub's addresses and the cache's folders have it.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        })
    }
}

/// A repository on the hub, at a revision, or something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub(crate) owner: String,
    pub(crate) name: String,
    /// A branch, a tag, or a commit; none is the main branch.
    pub(crate) revision: Option<String>,
    /// A file or a folder.
    pub(crate) file: Option<String>,
}

/// True if a path is meant for the hub.
pub fn is_name(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .starts_with(PREFIX.as_bytes())
}

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is not written as one, or holds what could lead elsewhere.
    pub fn parse(path: &Path) -> Result<Self> {
        let shown = path.to_string_lossy().escape_debug().to_string();
        let bad = |what: &str| refused(format!("{shown}: {what}"), FORM);
        let text = path
            .to_str()
            .ok_or_else(|| bad("this is not text in UTF-8"))?;
        let text = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| bad("this does not begin with hub:"))?;
        let (owner, rest) = text
            .split_once('/')
            .ok_or_else(|| bad("the owner is missing"))?;
        if matches!(owner, "models" | "datasets" | "spaces") {
            return Err(refused(
                format!("{shown}: `{owner}` is not an owner"),
                format!("leave `{owner}/` out: the flag says what is meant"),
            ));
        }
        let end = rest.find(['@', '/']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let (revision, file) = match rest.strip_prefix('@') {
            Some(rest) => {
                let (revision, file) = split_revision(rest);
                (Some(revision), file)
            }
            None => (None, rest.strip_prefix('/')),
        };
        if !is_word(owner) || !is_word(name) {
            return Err(bad("owner and name are letters, digits, `-`, `_` and `.`"));
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return Err(bad("this is no revision: a branch, a tag or a commit is"));
        }
        if file.is_some_and(|file| !is_inside(file)) {
            return Err(bad(
                "the file is not named by its way inside the repository",
            ));
        }
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }

    /// `OWNER/NAME`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The repository alone, as people write it.
    pub(crate) fn repository(&self) -> String {
        format!("{PREFIX}{}/{}", self.owner, self.name)
    }

    /// The branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The commit, where the name has one.
    pub fn commit(&self) -> Option<&str> {
        self.revision
            .as_deref()
            .filter(|revision| is_commit(revision))
    }

    /// The same at a commit.
    pub(crate) fn at(&self, commit: &str) -> Self {
        Self {
            revision: Some(commit.to_owned()),
            ..self.clone()
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.owner, self.name)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}

/// The revision, and what stands behind it. `refs/pr/1` and `refs/convert/parquet` hold slashes of their own.
fn split_revision(text: &str) -> (&str, Option<&str>) {
    let parts = if text.starts_with("refs/") { 3 } else { 1 };
    match text.match_indices('/').nth(parts - 1) {
        Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// True for 40 hexadecimal digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == COMMIT && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// True for an owner's or a repository's name: it stands in the name of a folder, where `--` separates.
fn is_word(text: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_edge = |c: char| matches!(c, '-' | '.');
    (1..=96).contains(&text.len())
        && text.bytes().all(is_letter)
        && !text.starts_with(is_edge)
        && !text.ends_with(is_edge)
        && !text.contains("--")
        && !text.contains("..")
}

fn is_revision(text: &str) -> bool {
    is_inside(text)
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"~^:?*[@%".contains(&b))
}

/// True for a path that stays inside the folder from which it counts, on every system.
pub(crate) fn is_inside(path: &str) -> bool {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= LONGEST;
    path.len() <= 4 * LONGEST
        && path.split('/').all(is_plain)
        && !path.contains(|c: char| c.is_control() || matches!(c, '\\' | ':'))
}

#[cfg(test)]
mod tests {
    use super::Name;
    use std::path::Path;

    fn parsed(text: &str) -> Option<[Option<String>; 3]> {
        let name = Name::parse(Path::new(text)).ok()?;
        assert_eq!(name.to_string(), text);
        Some([Some(name.id()), name.revision, name.file])
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let cases = [
            ("hub:o/n", ["o/n", "", ""]),
            ("hub:o/n@v1.0", ["o/n", "v1.0", ""]),
            ("hub:Org-1/n_2.5/q/m.gguf", ["Org-1/n_2.5", "", "q/m.gguf"]),
            ("hub:o/n@refs/pr/1", ["o/n", "refs/pr/1", ""]),
            ("hub:o/n@refs/pr/1/a/b", ["o/n", "refs/pr/1", "a/b"]),
            ("hub:o/n/a@b", ["o/n", "", "a@b"]),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|part| (!part.is_empty()).then(|| part.to_owned()));
            assert_eq!(parsed(text), Some(expected), "{text}");
        }
        let pinned = Name::parse(Path::new(&format!("hub:o/n@{commit}/f"))).unwrap();
        assert_eq!(pinned.commit(), Some(commit));
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_is_none() {
        for text in [
            "hub:n",
            "hub:o/",
            "hub:/n",
            "hub:o/n@",
            "hub:o/n/",
            "hub:../n",
            "hub:o/..",
            "hub:o/n/../x",
            "hub:o/n//x",
            "hub:o/n//etc/passwd",
            "hub:o/n/a\\b",
            "hub:o/n/a\0b",
            "hub:o/n/C:x",
            "hub:o--p/n",
            "hub:o/n@../x",
            "hub:o/n@a..b/../c",
            "hub:o/n@refs/../x",
            "hub:o/n@a b",
            "hub:o/n@-/./x",
            "hub:datasets/o/n",
            "hub:o/n\nx",
            "hub:.o/n",
            "hub:o/n@x\\y",
            "hub:o/n/./x",
            "hub:o/n/a\u{7}b",
        ] {
            let error = Name::parse(Path::new(text)).unwrap_err();
            let said = error.to_string();
            assert!(!said.contains(['\n', '\0', '\u{7}']), "{said:?}");
        }
    }
}
