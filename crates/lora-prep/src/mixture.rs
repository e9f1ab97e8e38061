//! Mixtures: how many rows of each source are drawn, and which. A row is drawn by its own number, so that rows which are
//! added to a source displace few others.
use crate::Args;
use crate::rows::Rows;
use lora_cli::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Rows of each source, by the place of its name.
type Counts = BTreeMap<usize, usize>;

/// The number of a row in the draw.
pub(crate) fn number(args: &Args, id: &str) -> f64 {
    match args.draws() {
        true => lora_random::share("mixture", args.seed, id),
        false => 0.0,
    }
}

/// Which rows are drawn, of sources as the command line names them; rows that are held out by their file are not drawn
/// from.
///
/// # Errors
/// When a flag names no source, a source has too few rows, or shares are not given to all.
pub(crate) fn drawn(args: &Args, names: &[String], rows: &Rows) -> Result<Vec<bool>> {
    if !args.draws() {
        return Ok(vec![true; rows.splits.len()]);
    }
    let is_held_out = |place: usize| rows.splits[place].is_some();
    let mut by_source: BTreeMap<usize, Vec<(f64, usize)>> = BTreeMap::new();
    for (place, source) in rows.sources().enumerate() {
        if !is_held_out(place) {
            let numbered = by_source.entry(source).or_default();
            numbered.push((rows.numbers[place], place));
        }
    }
    let there = by_source.iter().map(|(source, rows)| (*source, rows.len()));
    let wanted = wanted(args, names, &there.collect())?;
    let mut is_drawn: Vec<bool> = (0..rows.splits.len()).map(is_held_out).collect();
    for (source, mut numbered) in by_source {
        numbered.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let count = wanted.get(&source).copied().unwrap_or(numbered.len());
        for (_, place) in numbered.into_iter().take(count) {
            is_drawn[place] = true;
        }
    }
    Ok(is_drawn)
}

/// How many rows of each source: as many as asked for, and of those with shares as many as the scarcest allows.
fn wanted(args: &Args, names: &[String], there: &Counts) -> Result<Counts> {
    let of = |path: &Path, flag: &str| {
        let name = path.display().to_string();
        names
            .iter()
            .position(|other| *other == name)
            .ok_or_else(|| {
                Error::new(format!("{flag} {name}: this is none of the sources"))
                    .hint(format!("they are named as given: {}", names.join(", ")))
            })
    };
    let mut wanted = Counts::new();
    for (path, count) in &args.take {
        let source = of(path, "--take")?;
        let rows = there.get(&source).copied().unwrap_or(0);
        if rows < *count {
            return Err(Error::new(format!(
                "--take {}={count}: it has {rows} rows that can be used",
                path.display()
            ))
            .hint("take fewer; rows are never repeated"));
        }
        wanted.insert(source, *count);
    }
    let mut shares = BTreeMap::new();
    for (path, share) in &args.weight {
        let source = of(path, "--weight")?;
        if wanted.contains_key(&source) || shares.insert(source, *share).is_some() {
            let what = format!("{} has two counts or weights", path.display());
            return Err(Error::new(what).hint("give each source one --take or one --weight"));
        }
    }
    if shares.is_empty() {
        return Ok(wanted);
    }
    let is_told = |source: &usize| wanted.contains_key(source) || shares.contains_key(source);
    if let Some(other) = there.keys().find(|source| !is_told(source)) {
        let what = format!("{} has no weight, and others have", names[*other]);
        return Err(Error::new(what).hint("give every source a --weight, or a --take"));
    }
    let rows = |source: &usize| there.get(source).copied().unwrap_or(0) as f64;
    let total = shares.iter().map(|(source, share)| rows(source) / share);
    let total = total.fold(f64::INFINITY, f64::min);
    for (source, share) in shares {
        // A product that should be whole may lie just below it.
        let count = (total * share + 1e-6).floor() as usize;
        if count == 0 {
            let what = format!("the weights leave no row of {}", names[source]);
            return Err(Error::new(what).hint("the source of fewest rows for its weight decides"));
        }
        wanted.insert(source, count);
    }
    Ok(wanted)
}
