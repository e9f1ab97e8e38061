//! Asking the machine for what is read soon.

/// A cache that bytes are asked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// For what is read a few rows later.
    First,
    /// For what is read when a block has been multiplied: its panels need the first.
    Second,
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Brings bytes into a cache, on machines where Rust can ask for it; nothing else changes.
pub(super) fn prefetch(bytes: &[u8], into: Cache) {
    #[cfg(target_arch = "x86_64")]
    for byte in bytes.iter().step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let byte = std::ptr::from_ref(byte).cast();
        // SAFETY: SSE, which all of x86-64 has; a prefetch reads nothing.
        unsafe {
            match into {
                Cache::First => _mm_prefetch::<_MM_HINT_T0>(byte),
                Cache::Second => _mm_prefetch::<_MM_HINT_T1>(byte),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, into, LINE);
}
