//! A mutable slice that several threads write in disjoint parts: the one place where aliasing is promised by hand.

/// A pointer to a slice whose parts are handed to different threads.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut {
    pointer: *mut f32,
    len: usize,
}

// SAFETY: a SharedMut is only dereferenced through `part`, whose callers promise disjoint parts.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    pub(crate) fn new(slice: &mut [f32]) -> Self {
        Self {
            pointer: slice.as_mut_ptr(),
            len: slice.len(),
        }
    }

    /// The part `start..start + len`.
    ///
    /// # Safety
    /// No two parts that live at the same time may overlap, and the slice that this was made of must outlive them.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.len),
            "part outside the slice"
        );
        // SAFETY: inside the slice (asserted), disjointness promised by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), len) }
    }
}
