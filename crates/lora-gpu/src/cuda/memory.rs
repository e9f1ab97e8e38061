//! The card's memory, and the way to it: copies go through pinned memory of the host, a ring of it, so that the next piece is
//! filled while the last one is on its way.
use super::context::Context;
use crate::{Error, Memory};
use cudarc::driver::sys::{self as cu, CUresult};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

/// Bytes of the ring.
const RING: usize = 32 << 20;
/// Bytes of a piece at most.
const PIECE: usize = 8 << 20;
/// Pieces begin at multiples of this.
const ALIGNMENT: usize = 256;
/// Pieces on their way at most.
const PIECES: usize = 64;

/// Takes memory on the card.
pub(super) fn alloc(context: &Arc<Context>, bytes: usize) -> Result<Memory, Error> {
    context.current()?;
    let mut address = 0;
    // SAFETY: writes an address, which is freed when its owner is dropped.
    match unsafe { cu::cuMemAlloc_v2(&raw mut address, bytes.max(1)) } {
        CUresult::CUDA_SUCCESS => Ok(Memory {
            address,
            bytes,
            owner: Box::new(Allocation {
                address,
                context: Arc::clone(context),
            }),
        }),
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            let (free, total) = context.memory()?;
            Err(Error::Memory {
                asked: bytes as u64,
                free,
                total,
            })
        }
        code => Err(context.failed(code, format!("allocate {bytes} bytes"))),
    }
}

struct Allocation {
    address: u64,
    context: Arc<Context>,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // What was queued may still use it. What fails here can't be helped.
        if self.context.synchronize().is_ok() || self.context.current().is_ok() {
            // SAFETY: allocated by `alloc` in this context, and freed once; nothing uses it any more.
            unsafe { cu::cuMemFree_v2(self.address) };
        }
    }
}

/// Pinned memory of the host that copies pass through.
pub(super) struct Staging {
    context: Arc<Context>,
    base: *mut u8,
    ring: Ring<Event>,
}

// SAFETY: the memory belongs to this alone, and the driver's functions may be called from any thread.
unsafe impl Send for Staging {}

impl Staging {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, Error> {
        context.current()?;
        let mut base = ptr::null_mut();
        // SAFETY: writes an address, which is freed when this is dropped.
        let allocated = unsafe { cu::cuMemAllocHost_v2(&raw mut base, RING) };
        context.check(allocated, || {
            format!("pin {RING} bytes of the host's memory")
        })?;
        Ok(Self {
            context: Arc::clone(context),
            base: base.cast(),
            ring: Ring::new(RING),
        })
    }

    /// Queues copies to the card; when this returns, nothing of `from` is needed any more.
    pub(super) fn upload(&mut self, from: &[u8], to: u64) -> Result<(), Error> {
        self.context.current()?;
        let mut to = to;
        for piece in from.chunks(PIECE) {
            let place = self.place(piece.len())?;
            // SAFETY: the piece lies in the ring, and no copy that is on its way uses it; the host's memory is another.
            let staged = unsafe {
                let staged = self.base.add(place.start);
                ptr::copy_nonoverlapping(piece.as_ptr(), staged, piece.len());
                staged.cast::<c_void>()
            };
            let stream = self.context.stream();
            // SAFETY: the ring's memory stays as it is until the event that is recorded next has passed.
            let queued = unsafe { cu::cuMemcpyHtoDAsync_v2(to, staged, piece.len(), stream) };
            let all = from.len();
            self.context
                .check(queued, || format!("take an upload of {all} bytes"))?;
            let event = Event::record(&self.context)?;
            self.ring.taken(place, event);
            to += piece.len() as u64;
        }
        Ok(())
    }

    /// Copies from the card, after all that was queued. Two pieces are used in turn, which never meet, since the ring has
    /// room for three.
    pub(super) fn download(&mut self, from: u64, to: &mut [u8]) -> Result<(), Error> {
        self.context.current()?;
        let mut from = from;
        let mut coming: Option<(Range<usize>, Event, &mut [u8])> = None;
        for piece in to.chunks_mut(PIECE) {
            let place = self.place(piece.len())?;
            let stream = self.context.stream();
            // SAFETY: the piece lies in the ring, and nothing else uses it until it was read.
            let queued = unsafe {
                let staged = self.base.add(place.start).cast::<c_void>();
                cu::cuMemcpyDtoHAsync_v2(staged, from, piece.len(), stream)
            };
            let bytes = piece.len();
            self.context
                .check(queued, || format!("send {bytes} bytes"))?;
            let next = (place, Event::record(&self.context)?, piece);
            from += bytes as u64;
            if let Some(last) = coming.replace(next) {
                self.receive(last)?;
            }
        }
        if let Some(last) = coming {
            self.receive(last)?;
        }
        Ok(())
    }

    fn receive(&self, (place, event, to): (Range<usize>, Event, &mut [u8])) -> Result<(), Error> {
        event.wait(&self.context)?;
        // SAFETY: the copy to this piece of the ring is over, and it has `to.len()` bytes.
        unsafe { ptr::copy_nonoverlapping(self.base.add(place.start), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// A piece of the ring that no copy uses any more.
    fn place(&mut self, bytes: usize) -> Result<Range<usize>, Error> {
        let (place, waits) = self.ring.place(bytes);
        for event in waits {
            event.wait(&self.context)?;
        }
        Ok(place)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Copies may still be on their way. What fails here can't be helped.
        if self.context.synchronize().is_ok() || self.context.current().is_ok() {
            // SAFETY: allocated by `new`; all copies are over, or the context is lost.
            unsafe { cu::cuMemFreeHost(self.base.cast()) };
        }
    }
}

/// A point in the stream.
struct Event {
    event: cu::CUevent,
    context: Arc<Context>,
}

// SAFETY: the driver's functions may be called from any thread.
unsafe impl Send for Event {}

impl Event {
    /// After all that is queued by now.
    fn record(context: &Arc<Context>) -> Result<Self, Error> {
        let mut event = ptr::null_mut();
        let flags = cu::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: writes a handle, which is destroyed when this is dropped.
        let created = unsafe { cu::cuEventCreate(&raw mut event, flags) };
        context.check(created, || "make an event".to_owned())?;
        let this = Self {
            event,
            context: Arc::clone(context),
        };
        // SAFETY: both are of this context.
        let recorded = unsafe { cu::cuEventRecord(event, context.stream()) };
        context.check(recorded, || "record an event".to_owned())?;
        Ok(this)
    }

    fn wait(&self, context: &Context) -> Result<(), Error> {
        // SAFETY: the event lives as long as this.
        let waited = unsafe { cu::cuEventSynchronize(self.event) };
        context.check(waited, || "finish a copy".to_owned())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.current().is_ok() {
            // SAFETY: made by `record`, and destroyed once.
            unsafe { cu::cuEventDestroy_v2(self.event) };
        }
    }
}

/// Which parts of a ring are in use, each until something that is kept with it.
struct Ring<T> {
    bytes: usize,
    next: usize,
    used: VecDeque<(Range<usize>, T)>,
}

impl<T> Ring<T> {
    fn new(bytes: usize) -> Self {
        Self {
            bytes,
            next: 0,
            used: VecDeque::new(),
        }
    }

    /// The next `bytes` bytes, and what must be waited for before they are written; oldest first.
    fn place(&mut self, bytes: usize) -> (Range<usize>, Vec<T>) {
        assert!(
            bytes <= self.bytes,
            "{bytes} bytes of a ring of {}",
            self.bytes
        );
        let start = if self.next + bytes <= self.bytes {
            self.next
        } else {
            0
        };
        let place = start..start + bytes;
        let meets =
            |(used, _): &(Range<usize>, T)| used.start < place.end && place.start < used.end;
        let met = self.used.iter().rposition(meets).map_or(0, |last| last + 1);
        let too_many = (self.used.len() + 1).saturating_sub(PIECES);
        let waits = self.used.drain(..met.max(too_many));
        let waits = waits.map(|(_, until)| until).collect();
        self.next = place.end.next_multiple_of(ALIGNMENT);
        (place, waits)
    }

    /// A place is in use until `until`.
    fn taken(&mut self, place: Range<usize>, until: T) {
        self.used.push_back((place, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_ring_waits_for_what_used_it_and_for_what_was_before() {
        let mut ring = Ring::new(1024);
        for (number, start) in [0, 256, 512].into_iter().enumerate() {
            let (place, waits) = ring.place(200);
            assert_eq!(
                (place.clone(), waits),
                (start..start + 200, Vec::<usize>::new())
            );
            ring.taken(place, number);
        }
        assert_eq!(ring.place(300), (0..300, vec![0, 1]));
        ring.taken(0..300, 3);
        assert_eq!(ring.place(256), (512..768, vec![2]));
        ring.taken(512..768, 4);
        assert_eq!(ring.place(257), (0..257, vec![3]));
        assert_eq!(ring.place(1024), (0..1024, vec![4]));
    }

    #[test]
    fn small_places_wait_for_the_oldest_once_there_are_many() {
        let mut ring = Ring::new(1 << 20);
        for number in 0..1000 {
            let (place, waits) = ring.place(8);
            assert_eq!(place, 256 * number..256 * number + 8);
            let oldest = number.checked_sub(PIECES);
            assert_eq!(waits, oldest.into_iter().collect::<Vec<_>>());
            ring.taken(place, number);
        }
    }
}
