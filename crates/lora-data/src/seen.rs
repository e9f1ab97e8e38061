//! Keys in the order in which they were first seen, in little memory: 16 bytes a key, and some 8 to find it by.
use hashbrown::HashTable;

/// A hash that stands for what it is of: two things are never expected to share it.
pub type Key = [u8; 16];

/// The keys that were seen.
#[derive(Debug, Default)]
pub struct Seen {
    keys: Vec<Key>,
    places: HashTable<u32>,
}

impl Seen {
    /// The number of a key, by the order in which keys were first seen, and whether it is new.
    ///
    /// At most 2³² keys are told apart.
    pub fn number(&mut self, key: Key) -> (usize, bool) {
        let keys = &self.keys;
        let known = self
            .places
            .find(start(&key), |at| keys[*at as usize] == key);
        if let Some(at) = known {
            return (*at as usize, false);
        }
        let number = self.keys.len();
        self.keys.push(key);
        let keys = &self.keys;
        let hash = |at: &u32| start(&keys[*at as usize]);
        self.places.insert_unique(start(&key), number as u32, hash);
        (number, true)
    }
}

/// The first bytes of a hash, by which tables are laid out.
pub(crate) fn start<const N: usize>(hash: &[u8; N]) -> u64 {
    hash.iter()
        .take(8)
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}
