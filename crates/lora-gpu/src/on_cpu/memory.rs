//! Allocations of the machine's memory, with margins around each that nobody may write into.
use crate::Error;
use crate::device::Memory;
use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes before and behind an allocation; also what its address is a multiple of, as on a GPU.
const MARGIN: usize = 256;

/// What memory holds that nobody wrote: NaN in both types of values.
const UNWRITTEN: u8 = 0xff;

/// What margins hold.
const GUARD: u8 = 0xa5;

/// The allocations that live: their addresses and sizes.
#[derive(Debug)]
pub(super) struct Allocations {
    total: u64,
    live: Mutex<BTreeMap<u64, usize>>,
}

/// Gives an allocation back.
struct Owner {
    allocations: Arc<Allocations>,
    address: u64,
    layout: Layout,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.allocations.live().remove(&self.address);
        let start = (self.address - MARGIN as u64) as *mut u8;
        // SAFETY: it was allocated with this layout, and nobody knows of it any more.
        unsafe { dealloc(start, self.layout) };
    }
}

impl Allocations {
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            live: Mutex::default(),
        }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn free(&self) -> u64 {
        let taken: u64 = self.live().values().map(|&bytes| bytes as u64).sum();
        self.total.saturating_sub(taken)
    }

    pub(super) fn take(this: &Arc<Self>, bytes: usize) -> Result<Memory, Error> {
        let full = || Error::Memory {
            asked: bytes as u64,
            free: this.free(),
            total: this.total,
        };
        if bytes as u64 > this.free() {
            return Err(full());
        }
        let layout = Layout::from_size_align(bytes.saturating_add(2 * MARGIN), MARGIN)
            .map_err(|_| full())?;
        // SAFETY: the layout is not empty; all that is written lies in it.
        let start = unsafe {
            let start = alloc(layout);
            if start.is_null() {
                return Err(full());
            }
            start.write_bytes(GUARD, MARGIN);
            start.add(MARGIN).write_bytes(UNWRITTEN, bytes);
            start.add(MARGIN + bytes).write_bytes(GUARD, MARGIN);
            start
        };
        let address = start as u64 + MARGIN as u64;
        this.live().insert(address, bytes);
        Ok(Memory {
            address,
            bytes,
            owner: Box::new(Owner {
                allocations: this.clone(),
                address,
                layout,
            }),
        })
    }

    /// That bytes lie inside of one allocation.
    pub(super) fn check(&self, action: &str, address: u64, bytes: usize) -> Result<(), Error> {
        let live = self.live();
        let inside = live
            .range(..=address)
            .next_back()
            .is_some_and(|(&start, &size)| {
                let offset = address - start;
                offset
                    .checked_add(bytes as u64)
                    .is_some_and(|end| end <= size as u64)
            });
        if inside || bytes == 0 {
            return Ok(());
        }
        Err(Error::Failed {
            action: action.to_owned(),
            message: format!("{bytes} bytes at {address:#x} don't lie in an allocation"),
        })
    }

    /// That nobody wrote around an allocation.
    pub(super) fn check_margins(&self) -> Result<(), String> {
        for (&address, &bytes) in self.live().iter() {
            let margin = |start: u64| {
                // SAFETY: the allocation lives while the lock is held, and its margins are bytes of it.
                unsafe { std::slice::from_raw_parts(start as *const u8, MARGIN) }
            };
            let before = margin(address - MARGIN as u64);
            let behind = margin(address + bytes as u64);
            if before.iter().chain(behind).any(|&byte| byte != GUARD) {
                return Err(format!("it wrote beyond the {bytes} bytes at {address:#x}"));
            }
        }
        Ok(())
    }
}
