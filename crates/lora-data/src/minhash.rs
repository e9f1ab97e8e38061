//! Texts that are nearly the same: MinHash (Broder 1997) over pieces of five characters, with bands to find candidates
//! among many, each of which is then compared by its pieces.
use std::collections::{HashMap, HashSet};

/// Characters of a piece.
const PIECE: usize = 5;
/// Hashes of a text.
const HASHES: usize = 128;

/// Finds earlier texts that share at least a part of their pieces.
#[derive(Debug)]
pub(crate) struct Near {
    least: f64,
    /// Hashes of a band: all of them must agree for two texts to be compared.
    rows: usize,
    bands: HashMap<(usize, u64), Vec<usize>>,
    pieces: HashMap<usize, HashSet<u64>>,
}

impl Near {
    /// `least` is the Jaccard index from which on two texts are near, within 0 and 1.
    pub(crate) fn new(least: f64) -> Self {
        // Of two texts at the border a band of r agrees with chance least^r; of all 128/r bands nearly always one does.
        let finds = |rows: &usize| {
            let band = least.powi(*rows as i32);
            1.0 - (1.0 - band).powi((HASHES / rows) as i32) > 0.99
        };
        let rows = [16, 8, 4, 2].into_iter().find(finds).unwrap_or(1);
        Self {
            least,
            rows,
            bands: HashMap::new(),
            pieces: HashMap::new(),
        }
    }

    /// Adds a text, and returns the numbers of earlier ones that are near.
    pub(crate) fn add(&mut self, number: usize, text: &str) -> Vec<usize> {
        let pieces = pieces(text);
        let mut compared = HashSet::new();
        let mut near = Vec::new();
        for (band, hashes) in signature(&pieces).chunks(self.rows).enumerate() {
            let hash = hashes.iter().fold(0u64, |hash, one| mixed(hash ^ one));
            let bucket = self.bands.entry((band, hash)).or_default();
            for other in bucket.iter().filter(|other| compared.insert(**other)) {
                if jaccard(&pieces, &self.pieces[other]) >= self.least {
                    near.push(*other);
                }
            }
            bucket.push(number);
        }
        self.pieces.insert(number, pieces);
        near
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
                let mut near = Near::new(least);
                near.add(0, &base);
                let share = jaccard(&pieces(&base), &pieces(&changed(letters)));
                let found = near.add(1, &changed(letters));
                assert_eq!(
                    !found.is_empty(),
                    share >= least,
                    "{least} {letters} {share}"
                );
            }
        }
    }
}
