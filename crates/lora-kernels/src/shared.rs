//! A mutable slice whose parts are written by different tasks: the one place where aliasing is promised by hand.
//!
//! The promise is that each value belongs to one task, for as long as the slice is shared. In this
//! crate's own tests it is checked, whatever the threads' timing: the first task that asks for a value owns it, and another
//! one that asks panics.
use std::marker::PhantomData;

/// A slice, borrowed for 'a, whose parts are handed to the tasks that own them.
#[derive(Debug)]
pub(crate) struct SharedMut<'a> {
    pointer: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
    #[cfg(test)]
    owners: owners::Owners,
}

// SAFETY: the slice is reached through `part` and `pointer` alone, whose callers promise that no two tasks share a value.
unsafe impl Send for SharedMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedMut<'_> {}

impl<'a> SharedMut<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self {
            pointer: slice.as_mut_ptr(),
            len: slice.len(),
            life: PhantomData,
            #[cfg(test)]
            owners: owners::Owners::of(slice.len()),
        }
    }

    /// The part `start..start + len`, for `task`.
    ///
    /// # Panics
    /// If it lies outside the slice.
    ///
    /// # Safety
    /// Each value belongs to one task, and no task holds two parts that overlap at the same time.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub(crate) unsafe fn part(&self, task: usize, start: usize, len: usize) -> &mut [f32] {
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.len),
            "part outside the slice"
        );
        self.claim(task, start, len);
        // SAFETY: inside the slice (asserted), which is borrowed for as long as this; disjointness is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), len) }
    }

    /// Where `rows` pieces of `columns` values begin, `stride` apart and the first at `start`, for `task`.
    ///
    /// # Safety
    /// All pieces lie inside the slice; otherwise as for [`Self::part`].
    #[inline(always)]
    pub(crate) unsafe fn pieces(&self, task: usize, start: usize, shape: Pieces) -> *mut f32 {
        if cfg!(debug_assertions) {
            for row in 0..shape.rows {
                let at = start + row * shape.stride;
                assert!(at + shape.columns <= self.len, "piece outside the slice");
                self.claim(task, at, shape.columns);
            }
        }
        // SAFETY: inside the slice, as the caller promises.
        unsafe { self.pointer.add(start) }
    }

    #[inline(always)]
    fn claim(&self, _task: usize, _start: usize, _len: usize) {
        #[cfg(test)]
        self.owners.claim(_task, _start.._start + _len);
    }
}

/// The shape of pieces that lie `stride` values apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) stride: usize,
}

#[cfg(test)]
mod owners {
    //! Which task owns which value.
    use std::ops::Range;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// One entry a value: 0, or the owner's number modulo 255 and 1. A byte each, so that what is measured of memory stays
    /// true; two tasks 255 apart are taken for one.
    #[derive(Debug)]
    pub(super) struct Owners {
        entries: Vec<AtomicU8>,
    }

    /// Entries that are not in use, kept so that what is measured of allocations stays true.
    static FREE: Mutex<Vec<Vec<AtomicU8>>> = Mutex::new(Vec::new());

    impl Owners {
        pub(super) fn of(len: usize) -> Self {
            let mut free = FREE.lock().unwrap_or_else(|e| e.into_inner());
            let mut entries = free.pop().unwrap_or_default();
            drop(free);
            entries.clear();
            entries.resize_with(len, AtomicU8::default);
            Self { entries }
        }

        pub(super) fn claim(&self, task: usize, values: Range<usize>) {
            let mark = (task % 255) as u8 + 1;
            for entry in &self.entries[values] {
                let owner = entry
                    .compare_exchange(0, mark, Ordering::Relaxed, Ordering::Relaxed)
                    .unwrap_or_else(|owner| owner);
                assert!(
                    owner == 0 || owner == mark,
                    "tasks {} and {task} share a value",
                    owner.wrapping_sub(1)
                );
            }
        }
    }

    impl Drop for Owners {
        fn drop(&mut self) {
            let mut free = FREE.lock().unwrap_or_else(|e| e.into_inner());
            free.push(std::mem::take(&mut self.entries));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_get_what_they_own() {
        let mut values = [0.0; 6];
        {
            let shared = SharedMut::new(&mut values);
            // SAFETY: the tasks' parts are disjoint, and a task's second part follows its first.
            unsafe {
                shared.part(0, 0, 3).fill(1.0);
                shared.part(1, 3, 3).fill(2.0);
                shared.part(0, 1, 2).fill(3.0);
            }
        }
        assert_eq!(values, [1.0, 3.0, 3.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    #[should_panic(expected = "part outside the slice")]
    fn a_part_lies_inside() {
        let mut values = [0.0; 6];
        let shared = SharedMut::new(&mut values);
        // SAFETY: one part only.
        unsafe { shared.part(0, usize::MAX, 2) };
    }

    #[test]
    #[should_panic(expected = "tasks 0 and 1 share a value")]
    fn a_value_has_one_task() {
        let mut values = [0.0; 6];
        let shared = SharedMut::new(&mut values);
        // SAFETY: none: this is what the check is for, and neither part is used.
        unsafe {
            shared.part(0, 0, 3);
            shared.part(1, 2, 3);
        }
    }
}
