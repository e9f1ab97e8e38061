//! Names of steps in one run: unique, short enough, and never those of a file that belongs to another step.
use super::step::Step;
use crate::values::shown;
use serde_json::Value;
use std::collections::HashSet;

/// What lora-run and the tools put behind a step's name for files of their own.
const SUFFIXES: [&str; 8] = [
    ".log",
    ".partial",
    ".partial.mark",
    ".kept",
    ".replaced.partial",
    ".step.json",
    ".attempt",
    ".receipt.json",
];

/// Longest name of a step, so that every file system takes it with each suffix.
const LONGEST_ID: usize = 160;

/// The name before what is numbered, or named after a key: `.kept-2`, `.log.1`, `.waiting-` and twelve hexadecimal digits.
fn before_family(id: &str) -> Option<&str> {
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let is_key = |text: &str| text.len() == 12 && text.chars().all(|c| c.is_ascii_hexdigit());
    [".kept-", ".log.", ".waiting-"].iter().find_map(|family| {
        let (before, rest) = id.rsplit_once(family)?;
        let fits = match *family {
            ".waiting-" => is_key(rest),
            _ => is_number(rest),
        };
        fits.then_some(before)
    })
}

/// Names that steps have, in small letters: some file systems take small and capital ones for the same.
#[derive(Debug, Default)]
pub(super) struct Taken {
    ids: HashSet<String>,
    /// Names before a family: whoever is called so has files there.
    before: HashSet<String>,
}

impl Taken {
    /// True if an output of that name would stand where another, or a file of another's, stands, or the other way round.
    fn collides(&self, id: &str) -> bool {
        let id = id.to_lowercase();
        let stands_on = |suffix: &&str| {
            id.strip_suffix(*suffix)
                .is_some_and(|name| self.ids.contains(name))
                || self.ids.contains(&format!("{id}{suffix}"))
        };
        self.ids.contains(&id)
            || SUFFIXES.iter().any(stands_on)
            || self.before.contains(&id)
            || before_family(&id).is_some_and(|name| self.ids.contains(name))
    }

    /// `train`, or `train@lr=1e-4,rank=8` where it depends on the matrix; a number makes it unique.
    pub(super) fn unique_id(&mut self, step: &Step, combination: &[(String, Value)]) -> String {
        let id = shortened(id(step, combination));
        let mut unique = id.clone();
        let mut number = 2;
        while self.collides(&unique) {
            unique = format!("{id}~{number}");
            number += 1;
        }
        let known = unique.to_lowercase();
        self.before.extend(before_family(&known).map(str::to_owned));
        self.ids.insert(known);
        unique
    }
}

/// A name that is too long keeps its beginning, and a hash of all of it.
fn shortened(id: String) -> String {
    if id.len() <= LONGEST_ID {
        return id;
    }
    let hash = lora_receipt::hash_bytes(id.as_bytes());
    let beginning: String = id.chars().take(LONGEST_ID - 20).collect();
    format!("{beginning}~{}", &hash[..16])
}

fn id(step: &Step, combination: &[(String, Value)]) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "._+-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let chosen = combination
        .iter()
        .filter(|(name, _)| step.varies.contains(name));
    let suffix: Vec<String> = chosen
        .map(|(name, value)| {
            format!(
                "{name}={}",
                shown(value).chars().map(safe).collect::<String>()
            )
        })
        .collect();
    if suffix.is_empty() {
        step.name.clone()
    } else {
        format!("{}@{}", step.name, suffix.join(","))
    }
}
