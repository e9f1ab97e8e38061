//! Keys that were seen, in little memory: 16 bytes a key, and some 8 to find it by.
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
    /// Whether a key is new.
    ///
    /// At most 2³² keys are told apart.
    pub fn is_new(&mut self, key: Key) -> bool {
        let keys = &self.keys;
        let is_same = |at: &u32| keys[*at as usize] == key;
        if self.places.find(start(&key), is_same).is_some() {
            return false;
        }
        let place = self.keys.len() as u32;
        self.keys.push(key);
        let keys = &self.keys;
        let hash = |at: &u32| start(&keys[*at as usize]);
        self.places.insert_unique(start(&key), place, hash);
        true
    }
}

/// The first bytes of a key, by which the table is laid out.
fn start(key: &Key) -> u64 {
    key.iter()
        .take(8)
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}
