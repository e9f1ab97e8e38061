//! Texts that are nearly the same: MinHash (Broder 1997) over pieces of five characters, with bands to find candidates
//! among many, each of which is then compared by its pieces.
use crate::seen::Key;
use crate::spool::Spool;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::io;

/// Characters of a piece.
const PIECE: usize = 5;
/// Hashes of a text.
const HASHES: usize = 128;

/// What a text is compared by.
#[derive(Debug)]
pub(crate) struct Sketch {
    text: String,
    key: Key,
    pieces: HashSet<u64>,
    bands: Vec<u64>,
}

impl Sketch {
    /// Of a text, for the Jaccard index from which on two are near.
    pub(crate) fn of(text: String, least: f64) -> Self {
        let pieces = pieces(&text);
        let rows = rows(least);
        let bands = signature(&pieces);
        let bands = bands.chunks(rows).enumerate().map(|(band, hashes)| {
            let band = mixed(band as u64);
            hashes.iter().fold(band, |hash, one| mixed(hash ^ one))
        });
        let hash = Sha256::digest(&text);
        Self {
            bands: bands.collect(),
            key: std::array::from_fn(|at| hash[at]),
            text,
            pieces,
        }
    }
}

/// Hashes of a band: all of them must agree for two texts to be compared.
fn rows(least: f64) -> usize {
    // Of two texts at the border a band of r agrees with chance least^r; of all 128/r bands nearly always one does.
    let finds = |rows: &usize| {
        let band = least.powi(*rows as i32);
        1.0 - (1.0 - band).powi((HASHES / rows) as i32) > 0.99
    };
    [16, 8, 4, 2].into_iter().find(finds).unwrap_or(1)
}

/// Finds earlier texts that share at least a part of their pieces. A text takes some 30 bytes a band; its letters wait in a
/// spool.
#[derive(Debug)]
pub(crate) struct Near {
    least: f64,
    /// The first and the last place in `next` of those of a band.
    bands: HashMap<u64, (u32, u32)>,
    /// For each band of each text the next one that shares it; itself for the last.
    next: Vec<u32>,
    /// The first text of those that are equal; the others are compared with nothing.
    firsts: HashMap<Key, u32>,
    texts: Spool,
    /// Where each text ends.
    ends: Vec<u64>,
}

impl Near {
    /// `least` is the Jaccard index from which on two texts are near, within 0 and 1.
    pub(crate) fn new(least: f64, texts: Spool) -> Self {
        Self {
            least,
            bands: HashMap::new(),
            next: Vec::new(),
            firsts: HashMap::new(),
            texts,
            ends: Vec::new(),
        }
    }

    /// Adds a text, and gives the numbers of earlier ones that may be near, with a way to know.
    pub(crate) fn add(
        &mut self,
        sketch: Sketch,
        mut candidate: impl FnMut(usize, &mut dyn FnMut() -> io::Result<bool>) -> io::Result<()>,
    ) -> io::Result<()> {
        let bands = sketch.bands.len();
        let start = self.ends.last().copied().unwrap_or(0);
        let number = self.ends.len() as u32;
        if let Some(first) = self.firsts.get(&sketch.key) {
            let own = self.next.len() as u32;
            self.next.extend(own..own + bands as u32);
            self.ends.push(start);
            return candidate(*first as usize, &mut || Ok(true));
        }
        self.firsts.insert(sketch.key, number);
        let mut compared = HashSet::new();
        for band in &sketch.bands {
            let own = self.next.len() as u32;
            let Some((first, last)) = self.bands.get_mut(band) else {
                self.bands.insert(*band, (own, own));
                self.next.push(own);
                continue;
            };
            let before = std::mem::replace(last, own);
            let mut at = *first;
            loop {
                let other = at as usize / bands;
                if compared.insert(other) {
                    candidate(other, &mut || self.is_near(&sketch, other))?;
                }
                if at == before {
                    break;
                }
                at = self.next[at as usize];
            }
            self.next[before as usize] = own;
            self.next.push(own);
        }
        self.texts.push(sketch.text.as_bytes())?;
        self.ends.push(start + sketch.text.len() as u64);
        Ok(())
    }

    fn is_near(&mut self, sketch: &Sketch, other: usize) -> io::Result<bool> {
        let start = match other {
            0 => 0,
            _ => self.ends[other - 1],
        };
        let mut text = vec![0; (self.ends[other] - start) as usize];
        self.texts.read(start, &mut text)?;
        let other = pieces(&String::from_utf8_lossy(&text));
        Ok(jaccard(&sketch.pieces, &other) >= self.least)
    }
}

/// Hashes of all pieces of a text; of a shorter text, the text.
fn pieces(text: &str) -> HashSet<u64> {
    let letters: Vec<char> = text.chars().collect();
    let hash = |piece: &[char]| {
        piece
            .iter()
            .fold(1, |hash, c| mixed(hash ^ u64::from(u32::from(*c))))
    };
    match letters.len() {
        0..=PIECE => HashSet::from([hash(&letters)]),
        _ => letters.windows(PIECE).map(hash).collect(),
    }
}

fn signature(pieces: &HashSet<u64>) -> Vec<u64> {
    let least = |n: u64| {
        let seed = mixed(n + 1);
        pieces
            .iter()
            .map(|piece| mixed(piece ^ seed))
            .min()
            .unwrap_or(0)
    };
    (0..HASHES as u64).map(least).collect()
}

fn jaccard(a: &HashSet<u64>, b: &HashSet<u64>) -> f64 {
    let common = a.intersection(b).count();
    common as f64 / (a.len() + b.len() - common) as f64
}

/// SplitMix64's finaliser.
fn mixed(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Among texts of which each differs from the first in a few letters, those are found that share enough pieces.
    #[test]
    fn what_is_found_is_what_is_near() {
        let base: String = (0..200u32)
            .map(|n| char::from(b'a' + (mixed(n.into()) % 26) as u8))
            .collect();
        let changed = |letters: usize| {
            let mut text: Vec<u8> = base.bytes().collect();
            (0..letters).for_each(|n| text[10 + 17 * n] = b'_');
            String::from_utf8(text).unwrap()
        };
        for least in [0.5, 0.8, 0.9] {
            for letters in 0..10 {
                let folder = std::env::temp_dir();
                let mut near = Near::new(least, Spool::new(1 << 20, &folder));
                let mut found = Vec::new();
                for text in [base.clone(), changed(letters)] {
                    near.add(Sketch::of(text, least), |other, is_near| {
                        found.extend(is_near()?.then_some(other));
                        Ok(())
                    })
                    .unwrap();
                }
                let share = jaccard(&pieces(&base), &pieces(&changed(letters)));
                assert_eq!(
                    !found.is_empty(),
                    share >= least,
                    "{least} {letters} {share}"
                );
            }
        }
    }
    /// A text that many rows have is compared once.
    #[test]
    fn equal_texts_meet_the_first() {
        let folder = std::env::temp_dir();
        let mut near = Near::new(0.9, Spool::new(1 << 20, &folder));
        let text = |n: usize| format!("which is number {} of these?", "no ".repeat(40 * (n % 2)));
        for n in 0..60_000 {
            let mut candidates = Vec::new();
            near.add(Sketch::of(text(n), 0.9), |other, is_near| {
                candidates.push((other, is_near()?));
                Ok(())
            })
            .unwrap();
            if n < 2 {
                assert!(candidates.iter().all(|(_, is_near)| !is_near));
            } else {
                assert_eq!(candidates, [(n % 2, true)], "{n}");
            }
        }
    }
}
