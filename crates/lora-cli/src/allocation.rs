//! Memory that can't be had ends a tool as any other error does: one line, a hint, exit code 2. (A program is asked to stop
//! here only where the system counts what it gives away, e.g. under `ulimit -v`; elsewhere it is killed later.)
use crate::last_words;
use std::alloc::{GlobalAlloc, Layout, System};

const HINT: &str = "give the process more memory (ulimit -v), or ask for less: a smaller --batch, shorter rows, a quantised base";

/// The system's allocator, whose refusals are told.
struct Telling;

#[global_allocator]
static ALLOCATOR: Telling = Telling;

// SAFETY: every call is passed on to the system's allocator as it is; where that has nothing to give, the process ends.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        given(unsafe { System.realloc(at, layout, size) }, size)
    }
}

fn given(at: *mut u8, bytes: usize) -> *mut u8 {
    if at.is_null() {
        refused(bytes);
    }
    at
}

#[cold]
fn refused(bytes: usize) -> ! {
    last_words::end(
        format_args!("out of memory: {bytes} bytes could not be had"),
        HINT,
    )
}
