//! Products by cuBLAS.
use super::call::Call;
use super::context::Context;
use super::libraries;
use super::memory;
use crate::device::{Gemm, Matrix};
use crate::{Error, Memory};
use cudarc::cublas::sys::{self as blas, cublasStatus_t as Status};
use cudarc::driver::sys as cu;
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;

/// Bytes that cuBLAS computes in; always the same, so that it always chooses the same way to compute.
const WORKSPACE: usize = 64 << 20;

/// cuBLAS on a context's stream.
pub(super) struct Products {
    context: Arc<Context>,
    handle: blas::cublasHandle_t,
    workspace: Memory,
}

// SAFETY: the handle is used by one thread at a time, since `multiply` takes `&mut self`.
unsafe impl Send for Products {}

impl Products {
    /// For a driver of CUDA version `major`.
    pub(super) fn new(context: &Arc<Context>, major: u32) -> Result<Self, Error> {
        libraries::cublas(major)?;
        check_version(major)?;
        let workspace = memory::alloc(context, WORKSPACE)?;
        let mut handle = ptr::null_mut();
        // SAFETY: writes a handle, which is destroyed when this is dropped; the context is current.
        let created = unsafe { blas::cublasCreate_v2(&raw mut handle) };
        check(created, || "start cuBLAS".to_owned())?;
        let this = Self {
            context: Arc::clone(context),
            handle,
            workspace,
        };
        this.set_up()?;
        Ok(this)
    }

    /// Sums of bf16 products in f32 throughout, f32 without shortened factors; a stream takes the workspace back, so it is
    /// set first.
    fn set_up(&self) -> Result<(), Error> {
        let stream = self.context.stream().cast();
        // SAFETY: the stream lives as long as the context, which this holds.
        let set = unsafe { blas::cublasSetStream_v2(self.handle, stream) };
        check(set, || "give cuBLAS a stream".to_owned())?;
        let at = self.workspace.address as *mut c_void;
        // SAFETY: the workspace is this one's alone, and lives as long as the handle.
        let set = unsafe { blas::cublasSetWorkspace_v2(self.handle, at, WORKSPACE) };
        check(set, || "give cuBLAS memory".to_owned())?;
        let mode = blas::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: takes no pointers.
        let set = unsafe { blas::cublasSetMathMode(self.handle, mode) };
        check(set, || "keep cuBLAS's sums in f32".to_owned())
    }

    /// Queues a product.
    pub(super) fn multiply(&mut self, gemm: &Gemm) -> Result<(), Error> {
        if gemm.k == 0 && (gemm.beta == 0.0 || gemm.beta == 1.0) {
            return self.without_terms(gemm);
        }
        self.context.current()?;
        self.context.queued("a product");
        let call = Call::of(gemm).ok_or_else(|| Error::Failed {
            action: describe(gemm),
            message: "a size has more than 31 bits".to_owned(),
        })?;
        // SAFETY: the matrices lie in the card's memory, as the caller of `Device::gemm` promises, with the sizes that `Call`
        // was made of; the factors are read before this returns.
        let queued = unsafe { call.queue(self.handle) };
        check(queued, || describe(gemm))
    }

    /// A sum of nothing: c stays as it is, or is zero.
    fn without_terms(&self, gemm: &Gemm) -> Result<(), Error> {
        if gemm.beta == 1.0 {
            return Ok(());
        }
        self.context.current()?;
        let size = gemm.c.dtype.bytes();
        let (pitch, width) = (gemm.c.stride.max(gemm.n) * size, gemm.n * size);
        for i in 0..gemm.batch.count {
            let at = gemm.c.address + (i * gemm.batch.c * size) as u64;
            let stream = self.context.stream();
            // SAFETY: the result lies in the card's memory, as the caller of `Device::gemm` promises.
            let queued = unsafe { cu::cuMemsetD2D8Async(at, pitch, 0, width, gemm.m, stream) };
            self.context.check(queued, || describe(gemm))?;
        }
        Ok(())
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        // Products may still be queued that use the workspace. What fails here can't be helped.
        let _ = self.context.synchronize();
        // SAFETY: made by `new`, and destroyed once.
        unsafe { blas::cublasDestroy_v2(self.handle) };
    }
}

fn check_version(major: u32) -> Result<(), Error> {
    let mut version = 0;
    // SAFETY: writes one int; it takes no handle to tell the version.
    let asked = unsafe { blas::cublasGetVersion_v2(ptr::null_mut(), &raw mut version) };
    check(asked, || "tell cuBLAS's version".to_owned())?;
    let version = u32::try_from(version).unwrap_or_default() / 10_000;
    if version <= major {
        return Ok(());
    }
    Err(Error::Unavailable {
        message: format!("cuBLAS is of CUDA {version}, and the driver is for CUDA {major}"),
        hint: Some(libraries::toolkit(major)),
    })
}

fn describe(gemm: &Gemm) -> String {
    let Gemm {
        m,
        n,
        k,
        a,
        b,
        c,
        batch,
        ..
    } = gemm;
    let t = |matrix: &Matrix| if matrix.transposed { "ᵀ" } else { "" };
    format!(
        "multiply ({m}, {k}){} · ({k}, {n}){} of {:?} into {:?}, {} times",
        t(a),
        t(b),
        a.dtype,
        c.dtype,
        batch.count
    )
}

fn check(status: Status, action: impl FnOnce() -> String) -> Result<(), Error> {
    if status == Status::CUBLAS_STATUS_SUCCESS {
        return Ok(());
    }
    // SAFETY: returns a static string that ends with a zero.
    let words = unsafe { CStr::from_ptr(blas::cublasGetStatusString(status)) };
    Err(Error::Failed {
        action: action(),
        message: format!(
            "cuBLAS says {} ({})",
            words.to_string_lossy(),
            status as u32
        ),
    })
}
