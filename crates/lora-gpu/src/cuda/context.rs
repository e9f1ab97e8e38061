//! The driver, a card's primary context and the one stream that all operations are queued on.
use super::libraries;
use crate::{Error, Identity};
use cudarc::driver::sys::{self as cu, CUresult};
use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::{Mutex, PoisonError};

/// The oldest CUDA version of a driver that is good enough: 12.0.
const OLDEST: i32 = 12_000;

/// The driver, found and initialised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Driver {
    /// CUDA's version, e.g. 13000.
    version: i32,
}

impl Driver {
    pub(super) fn open() -> Result<Self, Error> {
        libraries::driver()?;
        let mut version = 0;
        // SAFETY: writes one int; it may be called before `cuInit`.
        let asked = unsafe { cu::cuDriverGetVersion(&raw mut version) };
        check(asked, "tell its driver's version")?;
        let driver = Self { version };
        if version < OLDEST {
            return Err(Error::Unavailable {
                message: format!("the driver is for {}, and 12.0 is needed", driver.name()),
                hint: Some("install a newer driver of NVIDIA's, or use `--device cpu`".to_owned()),
            });
        }
        // SAFETY: takes no pointers.
        match unsafe { cu::cuInit(0) } {
            CUresult::CUDA_SUCCESS => Ok(driver),
            code => Err(Error::Unavailable {
                message: format!("NVIDIA's driver finds no card: {}", text(code)),
                hint: Some(
                    "`nvidia-smi` must list a card and CUDA_VISIBLE_DEVICES must not hide it; \
                     `--device cpu` needs none"
                        .to_owned(),
                ),
            }),
        }
    }

    /// The first number of CUDA's version.
    pub(super) fn major(self) -> u32 {
        u32::try_from(self.version / 1000).unwrap_or_default()
    }

    fn name(self) -> String {
        format!("CUDA {}.{}", self.version / 1000, self.version % 1000 / 10)
    }

    pub(super) fn count(self) -> Result<usize, Error> {
        let mut count = 0;
        // SAFETY: writes one int.
        let counted = unsafe { cu::cuDeviceGetCount(&raw mut count) };
        check(counted, "count the cards")?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    fn device(self, ordinal: usize) -> Result<cu::CUdevice, Error> {
        let mut device = 0;
        let number = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
        // SAFETY: writes one int.
        let got = unsafe { cu::cuDeviceGet(&raw mut device, number) };
        check(got, "name a card")?;
        Ok(device)
    }

    pub(super) fn identity(self, ordinal: usize) -> Result<Identity, Error> {
        let device = self.device(ordinal)?;
        let mut name: [c_char; 256] = [0; 256];
        // SAFETY: writes at most 255 characters and a zero.
        let named = unsafe { cu::cuDeviceGetName(name.as_mut_ptr(), 255, device) };
        check(named, "tell its name")?;
        let mut total = 0;
        // SAFETY: writes one number.
        let told = unsafe { cu::cuDeviceTotalMem_v2(&raw mut total, device) };
        check(told, "tell its memory")?;
        // SAFETY: the array ends with a zero.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        Ok(Identity {
            name: name.to_string_lossy().into_owned(),
            driver: self.name(),
            total_memory: total as u64,
        })
    }

    /// The card's instructions, e.g. 90 for compute capability 9.0.
    pub(super) fn capability(self, ordinal: usize) -> Result<u32, Error> {
        use cu::CUdevice_attribute as Attribute;
        let device = self.device(ordinal)?;
        let ask = |attribute| {
            let mut value = 0;
            // SAFETY: writes one int.
            let asked = unsafe { cu::cuDeviceGetAttribute(&raw mut value, attribute, device) };
            check(asked, "tell its compute capability")?;
            Ok::<_, Error>(u32::try_from(value).unwrap_or_default())
        };
        let major = ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(10 * major + minor)
    }
}

/// A card's context and stream. Whoever holds memory of the card holds this, too.
#[derive(Debug)]
pub(super) struct Context {
    device: cu::CUdevice,
    context: cu::CUcontext,
    stream: cu::CUstream,
    /// The last kernel or product that was queued.
    last: Mutex<&'static str>,
}

// SAFETY: the driver's functions may be called from any thread that has made the context current, which `current` does
// before each; the handles themselves are never written after `new`.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn new(driver: Driver, ordinal: usize) -> Result<Self, Error> {
        let device = driver.device(ordinal)?;
        let mut context = ptr::null_mut();
        // SAFETY: writes a handle, which is released when this is dropped.
        let retained = unsafe { cu::cuDevicePrimaryCtxRetain(&raw mut context, device) };
        check(retained, "be taken into use")?;
        let mut this = Self {
            device,
            context,
            stream: ptr::null_mut(),
            last: Mutex::new(""),
        };
        this.current()?;
        let flags = cu::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: writes a handle, which is destroyed when this is dropped.
        let created = unsafe { cu::cuStreamCreate(&raw mut this.stream, flags) };
        check(created, "make a stream")?;
        Ok(this)
    }

    /// Makes the context the calling thread's: each thread that calls the driver needs it.
    pub(super) fn current(&self) -> Result<(), Error> {
        // SAFETY: the context lives until this is dropped.
        let set = unsafe { cu::cuCtxSetCurrent(self.context) };
        self.check(set, || "be taken into use by a thread".to_owned())
    }

    pub(super) fn stream(&self) -> cu::CUstream {
        self.stream
    }

    pub(super) fn synchronize(&self) -> Result<(), Error> {
        self.current()?;
        // SAFETY: the stream lives until this is dropped.
        let waited = unsafe { cu::cuStreamSynchronize(self.stream) };
        self.check(waited, || "finish what was queued".to_owned())?;
        self.queued("");
        Ok(())
    }

    /// Bytes that are free, and all.
    pub(super) fn memory(&self) -> Result<(u64, u64), Error> {
        self.current()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        let asked = unsafe { cu::cuMemGetInfo_v2(&raw mut free, &raw mut total) };
        self.check(asked, || "tell its free memory".to_owned())?;
        Ok((free as u64, total as u64))
    }

    /// Notes what was queued last, for errors that show later.
    pub(super) fn queued(&self, name: &'static str) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// What was queued before may be what failed: then it is named.
    pub(super) fn check(
        &self,
        code: CUresult,
        action: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        match code {
            CUresult::CUDA_SUCCESS => Ok(()),
            code => Err(self.failed(code, action())),
        }
    }

    /// The error for a code that is no success.
    pub(super) fn failed(&self, code: CUresult, action: String) -> Error {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let queued = match last {
            "" => String::new(),
            name => {
                format!("; `{name}` was queued last, CUDA_LAUNCH_BLOCKING=1 tells which failed")
            }
        };
        Error::Failed {
            action,
            message: text(code) + &queued,
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: nothing that uses the context is left, since all that does holds this. What fails here can't be helped.
        unsafe {
            cu::cuCtxSetCurrent(self.context);
            if !self.stream.is_null() {
                cu::cuStreamDestroy_v2(self.stream);
            }
            cu::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

fn check(code: CUresult, action: &str) -> Result<(), Error> {
    match code {
        CUresult::CUDA_SUCCESS => Ok(()),
        code => Err(Error::Failed {
            action: action.to_owned(),
            message: text(code),
        }),
    }
}

/// The driver's words for a code, and the code's name.
fn text(code: CUresult) -> String {
    let of = |words: unsafe fn(CUresult, *mut *const c_char) -> CUresult| {
        let mut pointer = ptr::null();
        // SAFETY: writes a pointer to a static string, or null for a code that it doesn't know.
        let known = unsafe { words(code, &raw mut pointer) } == CUresult::CUDA_SUCCESS;
        if !known || pointer.is_null() {
            return None;
        }
        // SAFETY: a static string that ends with a zero.
        let words = unsafe { CStr::from_ptr(pointer) };
        Some(words.to_string_lossy().into_owned())
    };
    let words = of(cu::cuGetErrorString).unwrap_or_else(|| "an unknown error".to_owned());
    let name = of(cu::cuGetErrorName).unwrap_or_else(|| format!("code {}", code as u32));
    format!("{words} ({name})")
}
