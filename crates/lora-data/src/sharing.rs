//! Which rows share a key, of more rows than there is memory for: keys wait in a spool, parted by their first byte, and one
//! part after the other is compared once all are there.
use crate::seen::Key;
use crate::spool::Spool;
use std::io;

const PARTS: usize = 256;
/// Bytes of a key and the number of its row.
const ENTRY: usize = size_of::<Key>() + 4;
/// Bytes of a part that are written at a time.
const BLOCK: usize = 512 * ENTRY;

/// Keys of rows.
#[derive(Debug)]
pub(crate) struct Sharing {
    parts: Vec<Part>,
    waiting: Spool,
}

/// The keys that begin with the same byte.
#[derive(Debug, Clone, Default)]
struct Part {
    /// Where blocks of them begin in the spool.
    blocks: Vec<u64>,
    /// Those that wait in no block yet.
    last: Vec<u8>,
}

impl Sharing {
    pub(crate) fn new(waiting: Spool) -> Self {
        Self {
            parts: vec![Part::default(); PARTS],
            waiting,
        }
    }

    /// A key of a row.
    ///
    /// # Errors
    /// When the spool can't be written.
    pub(crate) fn add(&mut self, key: &Key, row: u32) -> io::Result<()> {
        let part = &mut self.parts[usize::from(key[0])];
        part.last.extend(key);
        part.last.extend(row.to_le_bytes());
        if part.last.len() == BLOCK {
            part.blocks.push(self.waiting.push(&part.last)?);
            part.last.clear();
        }
        Ok(())
    }

    /// Gives each row that has the key of an earlier one, with the first that has it.
    ///
    /// # Errors
    /// When the spool can't be read.
    pub(crate) fn each(mut self, mut take: impl FnMut(u32, u32)) -> io::Result<()> {
        for part in std::mem::take(&mut self.parts) {
            let mut bytes = vec![0; BLOCK * part.blocks.len()];
            for (start, block) in part.blocks.iter().zip(bytes.chunks_exact_mut(BLOCK)) {
                self.waiting.read(*start, block)?;
            }
            bytes.extend(part.last);
            let (entries, _) = bytes.as_chunks::<ENTRY>();
            let mut entries: Vec<(Key, u32)> = entries.iter().map(read).collect();
            drop(bytes);
            entries.sort_unstable();
            for shared in entries.chunk_by(|a, b| a.0 == b.0) {
                let (_, first) = shared[0];
                shared[1..].iter().for_each(|(_, row)| take(first, *row));
            }
        }
        Ok(())
    }
}

fn read(entry: &[u8; ENTRY]) -> (Key, u32) {
    let key = std::array::from_fn(|at| entry[at]);
    let row = std::array::from_fn(|at| entry[size_of::<Key>() + at]);
    (key, u32::from_le_bytes(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Each later row is given once with the first that has its key, wherever keys wait.
    #[test]
    fn rows_meet_the_first_that_has_their_key() {
        let key = |n: u32| -> Key {
            let mixed = n.wrapping_mul(2_654_435_761);
            std::array::from_fn(|at| (mixed >> (8 * (at % 4))) as u8)
        };
        let of_row = |row: u32| key(row % 70_000);
        for memory in [0, 1 << 16, usize::MAX] {
            let folder = tempfile::tempdir().unwrap();
            let mut sharing = Sharing::new(Spool::new(memory, folder.path()));
            let rows = 0..300_000;
            for row in rows.clone() {
                sharing.add(&of_row(row), row).unwrap();
            }
            let mut found = HashMap::new();
            sharing
                .each(|first, row| assert_eq!(found.insert(row, first), None))
                .unwrap();
            let known = rows.filter(|row| *row >= 70_000);
            let known: HashMap<u32, u32> = known.map(|row| (row, row % 70_000)).collect();
            assert!(found == known, "{}", found.len());
        }
    }
}
