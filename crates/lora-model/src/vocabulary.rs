//! Opening a base with the vocabulary that its adapters, or a dataset, were made with: tokens may have been added to it.
use crate::spec::{EMBEDDING, HEAD};
use crate::{Base, Error, tokenizer_folder};
use lora_checkpoint::{Format, Vocabulary};
use lora_core::{Adapter, AdapterVocabulary, adapter_vocabulary};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A base opened for adapters.
#[derive(Debug)]
pub struct Opened {
    /// The base, whose vocabulary may be larger than its files'.
    pub base: Base,
    /// What is said of that, a line each.
    pub notes: Vec<String>,
}

/// Who may add tokens to a base.
#[derive(Debug, Clone, Copy, Default)]
pub struct Adding<'a> {
    /// Adapters' folders.
    pub adapters: &'a [PathBuf],
    /// The folder of a dataset's own tokenizer.
    pub dataset: Option<&'a Path>,
}

/// Tokens that a tokenizer has beyond the base's, and whose it is.
struct Tokens {
    of: PathBuf,
    folder: PathBuf,
    by_id: BTreeMap<u32, String>,
    is_dataset: bool,
}

/// Opens a base with a vocabulary that is large enough for all of them. Added rows whose values no adapter brings are the
/// mean of the base's.
///
/// # Errors
/// If a file can't be read, two of them add other tokens, or the base is a file to which none can be added.
pub fn open_for(path: &Path, adding: Adding<'_>) -> Result<Opened, Error> {
    let base = Base::open(path)?;
    let own = base.config().vocab_size;
    let tokens = one_of(tokens(&base, adding)?)?;
    let mut of_adapters = Vec::new();
    for adapter in adding.adapters {
        let found = adapter_vocabulary(adapter, (EMBEDDING, HEAD), own)?;
        of_adapters.push((adapter, found));
    }
    let mut notes = Vec::new();
    let tokens = tokens.filter(|tokens| {
        let untrained = untrained(&base, tokens, &of_adapters);
        notes.extend(untrained.clone());
        untrained.is_none()
    });
    let rows = rows(own, tokens.as_ref(), &of_adapters)?;
    if rows == own && tokens.is_none() {
        return Ok(Opened { base, notes });
    }
    let (by_id, folder) = tokens.map_or_else(Default::default, |t| (t.by_id, Some(t.folder)));
    notes.extend(said(path, (own, rows), &by_id, &of_adapters));
    let added = Vocabulary {
        rows,
        tokens: by_id,
        tokenizer: folder,
        embedding: brought(&of_adapters, own, rows, |found| found.embedding.as_deref())?,
        head: brought(&of_adapters, own, rows, |found| found.head.as_deref())?,
    };
    Ok(Opened {
        base: base.with_vocabulary(added)?,
        notes,
    })
}

/// The tokens that each tokenizer has beyond the base's; those that have none are left out.
fn tokens(base: &Base, adding: Adding<'_>) -> Result<Vec<Tokens>, Error> {
    let of_adapter = |adapter: &'_ PathBuf| {
        Some((
            adapter.clone(),
            tokenizer_folder(adapter)?.to_owned(),
            false,
        ))
    };
    let of_adapters = adding.adapters.iter().filter_map(of_adapter);
    let of_dataset = adding
        .dataset
        .map(|dir| (dir.to_owned(), dir.to_owned(), true));
    let own_file = base.checkpoint().path().join("tokenizer.json");
    let own_bytes = std::fs::read(own_file).ok();
    let mut own = None;
    let mut found = Vec::new();
    for (of, folder, is_dataset) in of_dataset.into_iter().chain(of_adapters) {
        let bytes = std::fs::read(folder.join("tokenizer.json")).ok();
        if bytes.is_none() || bytes == own_bytes {
            continue;
        }
        if own.is_none() {
            own = base.checkpoint().tokenizer().ok();
        }
        let Some(bundle) = &own else { continue };
        let by_id = bundle.tokens_beyond(&folder)?;
        if !by_id.is_empty() {
            found.push(Tokens {
                of,
                folder,
                by_id,
                is_dataset,
            });
        }
    }
    Ok(found)
}

/// All of them add the same tokens, or those of one are the first of another's.
fn one_of(mut all: Vec<Tokens>) -> Result<Option<Tokens>, Error> {
    all.sort_by_key(|tokens| std::cmp::Reverse(tokens.by_id.len()));
    let mut all = all.into_iter();
    let Some(first) = all.next() else {
        return Ok(None);
    };
    let differs = |other: &Tokens| {
        other
            .by_id
            .iter()
            .any(|(id, token)| first.by_id.get(id) != Some(token))
    };
    match all.find(differs) {
        None => Ok(Some(first)),
        Some(other) => Err(Error::invalid(format!(
            "{} and {} add different tokens to the base",
            first.of.display(),
            other.of.display()
        ))
        .hint("use them one at a time")),
    }
}

/// Rows behind the base's that may lie between added tokens without being named: vocabularies are padded to a multiple.
const MOST_UNNAMED: usize = 4096;

/// Rows of the vocabulary that all of them need: those that an adapter brings, and one for every token.
fn rows(
    own: usize,
    tokens: Option<&Tokens>,
    adapters: &[(&PathBuf, AdapterVocabulary)],
) -> Result<usize, Error> {
    let brought = adapters.iter().filter_map(|(_, found)| found.rows);
    let brought = brought.fold(own, usize::max);
    let named = tokens.iter().flat_map(|tokens| {
        let ids = tokens.by_id.keys();
        ids.map(|id| (*id as usize, &tokens.of))
    });
    let trained = adapters
        .iter()
        .flat_map(|(path, found)| found.tokens.iter().map(|id| (*id, *path)));
    let behind: BTreeMap<usize, &PathBuf> =
        named.chain(trained).filter(|(id, _)| *id >= own).collect();
    match behind.last_key_value() {
        Some((id, of)) if *id >= brought && id - own > behind.len() + MOST_UNNAMED => {
            Err(Error::invalid(format!(
                "{} names token {id}, and the base has {own} rows: nothing says what the tokens between them are",
                of.display()
            ))
            .hint("name the base that the tokens were added to, with its larger vocabulary"))
        }
        Some((id, _)) => Ok(brought.max(id + 1)),
        None => Ok(brought),
    }
}

/// What is said of tokens that an adapter's tokenizer has and for which nothing was trained, where the base has no place
/// for them: they are passed over, as PEFT does. Of a GGUF file the tokenizer stays in any case.
fn untrained(
    base: &Base,
    tokens: &Tokens,
    adapters: &[(&PathBuf, AdapterVocabulary)],
) -> Option<String> {
    let own = base.config().vocab_size;
    let trains = |found: &AdapterVocabulary| {
        !found.tokens.is_empty() || found.rows.is_some_and(|rows| rows > own)
    };
    let is_gguf = base.checkpoint().format() == Format::Gguf;
    let has_rows = tokens.by_id.keys().all(|id| (*id as usize) < own);
    let is_trained = tokens.is_dataset || adapters.iter().any(|(_, found)| trains(found));
    (!is_trained && (is_gguf || !has_rows)).then(|| {
        format!(
            "the tokenizer of {} has {} that {} does not know: nothing was trained for them, and they are read as text",
            tokens.of.display(),
            listed(&tokens.by_id),
            base.checkpoint().path().display()
        )
    })
}

/// The rows `own..` that adapters bring of the base's embedding or head; None if none does.
fn brought<'v>(
    adapters: &'v [(&PathBuf, AdapterVocabulary)],
    own: usize,
    rows: usize,
    side: impl Fn(&'v AdapterVocabulary) -> Option<&'v [f32]>,
) -> Result<Option<Vec<f32>>, Error> {
    let mut all = adapters.iter().filter_map(|(path, found)| {
        let whole = side(found)?;
        let width = whole.len() / found.rows?.max(1);
        (found.rows == Some(rows)).then(|| (path, &whole[own * width..]))
    });
    let Some((first, values)) = all.next() else {
        return Ok(None);
    };
    match all.find(|(_, other)| *other != values) {
        None => Ok(Some(values.to_vec())),
        Some((other, _)) => Err(Error::invalid(format!(
            "{} and {} bring different rows for the tokens that were added to the base",
            first.display(),
            other.display()
        ))
        .hint("use them one at a time")),
    }
}

/// What is said of a vocabulary that was made larger.
fn said(
    path: &Path,
    (own, rows): (usize, usize),
    tokens: &BTreeMap<u32, String>,
    adapters: &[(&PathBuf, AdapterVocabulary)],
) -> Vec<String> {
    let mut notes = Vec::new();
    if !tokens.is_empty() {
        let behind = match rows > own {
            true => format!("its vocabulary has {rows} rows in place of {own}"),
            false => format!("they have rows among its {own}"),
        };
        notes.push(format!(
            "{} added to {}: {behind}",
            listed(tokens),
            path.display()
        ));
    }
    let unnamed = rows - own.min(rows) > tokens.len();
    if let Some((adapter, _)) = adapters
        .iter()
        .find(|(_, found)| unnamed && found.rows == Some(rows))
    {
        notes.push(format!(
            "{} was trained on a vocabulary of {rows} rows, {} has {own}: rows were added, for tokens that no tokenizer file \
             beside the adapter names",
            adapter.display(),
            path.display()
        ));
    }
    notes
}

/// `2 tokens (<a>, <b>)`.
fn listed(tokens: &BTreeMap<u32, String>) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = tokens.values().take(SHOWN).map(String::as_str).collect();
    let more = if tokens.len() > SHOWN { ", …" } else { "" };
    let plural = if tokens.len() == 1 { "" } else { "s" };
    format!(
        "{} token{plural} ({}{more})",
        tokens.len(),
        shown.join(", ")
    )
}

/// What of the base's added rows an adapter's file brought, does not train, and would not be in a folder that is written
/// of it here; None if nothing.
#[must_use]
pub fn rows_left_behind(base: &Base, adapter: &Adapter) -> Option<String> {
    let checkpoint = base.checkpoint();
    let added = checkpoint.added_vocabulary()?;
    let is_tied = base.config().tie_word_embeddings;
    let sides = [
        (EMBEDDING, &added.embedding),
        (
            HEAD,
            if is_tied {
                &added.embedding
            } else {
                &added.head
            },
        ),
    ];
    let is_kept = |path: &str| {
        let is_whole = adapter.replacement(&format!("{path}.weight")).is_some();
        let rows = adapter.rows_of(path);
        let mut ids = checkpoint.file_rows()..added.rows;
        is_whole || rows.is_some_and(|(rows, _)| ids.all(|id| rows.place_of(id).is_some()))
    };
    let lost = sides
        .into_iter()
        .find(|(path, brought)| brought.is_some() && !is_kept(path));
    lost.map(|(path, _)| format!("rows of {path} for the tokens that were added to its base"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number in a file must not take memory that nothing in the files asks for.
    #[test]
    fn a_token_far_behind_the_base_is_refused_by_its_number() {
        let path = PathBuf::from("adapter");
        let of = |tokens: &[usize], rows: Option<usize>| {
            let found = AdapterVocabulary {
                tokens: tokens.to_vec(),
                rows,
                ..AdapterVocabulary::default()
            };
            super::rows(100, None, &[(&path, found)])
        };
        assert_eq!(of(&[5, 99], None).unwrap(), 100);
        assert_eq!(of(&[100, 101], None).unwrap(), 102);
        assert_eq!(of(&[127], None).unwrap(), 128, "padded to a multiple");
        assert_eq!(of(&[9000], Some(10_000)).unwrap(), 10_000);
        for far in [9_000, 200_000_000, usize::MAX] {
            let error = of(&[100, far], None).unwrap_err().to_string();
            let wanted = format!("adapter names token {far}, and the base has 100 rows");
            assert!(error.starts_with(&wanted), "{error}");
        }
    }
}
