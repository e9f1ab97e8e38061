//! [`share`]: a name's place between 0 and 1.
use sha2::{Digest, Sha256};

/// A hash of a name, keyed by purpose and seed, as a share in [0, 1): it stays what it is when other names come or go.
pub fn share(purpose: &str, seed: u64, name: &str) -> f64 {
    let key = Sha256::new()
        .chain_update(purpose)
        .chain_update(seed.to_le_bytes())
        .chain_update(name);
    let digest: [u8; 32] = key.finalize().into();
    let bits = digest[..8]
        .iter()
        .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte))
        >> 11;
    bits as f64 / (1u64 << 53) as f64
}
