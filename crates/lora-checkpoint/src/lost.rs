//! A mapped file that somebody cuts off while it is read: the system answers with SIGBUS, and this says which file it was.
//!
//! What is mapped stands in a table that a signal's handler may read: fixed, without locks.
#[cfg(unix)]
pub(crate) use unix::{forget, watch};

/// Other systems don't let a mapped file be cut off.
#[cfg(not(unix))]
pub(crate) fn watch(_: &[u8], _: &std::path::Path) {}

#[cfg(not(unix))]
pub(crate) fn forget(_: &[u8]) {}

#[cfg(unix)]
mod unix {
    use signal_hook::consts::SIGBUS;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;
    use std::sync::Once;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    /// Files whose names are known at a time; further ones end the process without a word.
    const MOST: usize = 256;

    struct Place {
        /// The first byte's address; 0 for a free place, 1 while it is being filled.
        start: AtomicUsize,
        bytes: AtomicUsize,
        name: AtomicPtr<u8>,
        letters: AtomicUsize,
    }

    static PLACES: [Place; MOST] = [const {
        Place {
            start: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            name: AtomicPtr::new(std::ptr::null_mut()),
            letters: AtomicUsize::new(0),
        }
    }; MOST];

    static LISTENING: Once = Once::new();

    /// Notes where a file is mapped.
    pub(crate) fn watch(map: &[u8], path: &Path) {
        LISTENING.call_once(listen);
        let claim = |place: &&Place| {
            place
                .start
                .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        let Some(place) = PLACES.iter().find(claim) else {
            return;
        };
        // A handler may still read the name of a file that is gone, so no name is ever given back: some bytes a file.
        let name: &'static mut [u8] = Box::leak(path.as_os_str().as_bytes().into());
        place.letters.store(name.len(), Ordering::Relaxed);
        place.name.store(name.as_mut_ptr(), Ordering::Relaxed);
        place.bytes.store(map.len(), Ordering::Relaxed);
        place.start.store(map.as_ptr().addr(), Ordering::Release);
    }

    /// The file is not mapped any more.
    pub(crate) fn forget(map: &[u8]) {
        for place in &PLACES {
            let start = map.as_ptr().addr();
            let _ = place
                .start
                .compare_exchange(start, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    #[allow(unsafe_code)] // a signal's handler
    fn listen() {
        // SAFETY: the handler reads the table and calls `write` and `_exit`, all of which a handler may do; it allocates
        // nothing and takes no lock.
        let listening = unsafe {
            signal_hook_registry::register_sigaction(SIGBUS, |info| {
                // SAFETY: of SIGBUS the system says the address.
                let address = info.si_addr().addr();
                cut_off(address);
            })
        };
        let _ = listening; // without it the process still ends, without a word
    }

    /// Says which file it was, and ends the process. An address of no file of ours is left to the handler that was there
    /// before, which ends it in its own way.
    fn cut_off(address: usize) {
        let Some(place) = PLACES.iter().find(|place| holds(place, address)) else {
            return;
        };
        say(b"error: ");
        say(name_of(place));
        say(b" was cut off while it was read\n");
        say(b"hint: copy or download it again, and start again when nothing writes to it\n");
        signal_hook::low_level::exit(2)
    }

    fn holds(place: &Place, address: usize) -> bool {
        let start = place.start.load(Ordering::Acquire);
        let bytes = place.bytes.load(Ordering::Relaxed);
        start > 1 && address >= start && address - start < bytes
    }

    #[allow(unsafe_code)] // a name that is never given back
    fn name_of(place: &Place) -> &'static [u8] {
        let name = place.name.load(Ordering::Relaxed);
        let letters = place.letters.load(Ordering::Relaxed);
        // SAFETY: both were stored before `start`, which was read; the bytes were leaked, so they live for ever.
        unsafe { std::slice::from_raw_parts(name, letters) }
    }

    fn say(text: &[u8]) {
        let _ = rustix::io::write(rustix::stdio::stderr(), text);
    }
}
