//! The kernels, compiled for the card and loaded.
use super::cache;
use super::compile::Compiler;
use super::context::Context;
use crate::device::{Arg, Grid};
use crate::{Error, Precision, kernels};
use cudarc::driver::sys as cu;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

/// The loaded kernels.
pub(super) struct Module {
    context: Arc<Context>,
    module: cu::CUmodule,
    functions: HashMap<&'static str, cu::CUfunction>,
}

// SAFETY: handles that are never written after `load`; the driver's functions may be called from any thread.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// For a card of this compute capability and a driver of CUDA version `major`.
    pub(super) fn load(
        context: &Arc<Context>,
        precision: Precision,
        capability: u32,
        major: u32,
    ) -> Result<Self, Error> {
        let image = image(precision, capability, major)?;
        context.current()?;
        let mut module = ptr::null_mut();
        // SAFETY: reads a whole cubin, or PTX that ends with a zero, both as NVRTC made them.
        let loaded = unsafe { cu::cuModuleLoadData(&raw mut module, image.as_ptr().cast()) };
        context.check(loaded, || "load the kernels".to_owned())?;
        let mut this = Self {
            context: Arc::clone(context),
            module,
            functions: HashMap::new(),
        };
        let more = match precision {
            Precision::Bf16 => kernels::BF16_NAMES,
            Precision::F32 => &[],
        };
        for &name in kernels::NAMES.iter().chain(more) {
            let function = this.function(name)?;
            this.functions.insert(name, function);
        }
        Ok(this)
    }

    fn function(&self, name: &str) -> Result<cu::CUfunction, Error> {
        let mut function = ptr::null_mut();
        let terminated = CString::new(name).unwrap_or_default();
        // SAFETY: writes a handle, which lives as long as the module; the name ends with a zero.
        let found =
            unsafe { cu::cuModuleGetFunction(&raw mut function, self.module, terminated.as_ptr()) };
        self.context
            .check(found, || format!("find the kernel `{name}`"))?;
        Ok(function)
    }

    /// Queues a kernel.
    pub(super) fn launch(
        &self,
        kernel: &'static str,
        grid: Grid,
        args: &[Arg],
    ) -> Result<(), Error> {
        let action = || {
            let [x, y, z] = grid.blocks;
            format!(
                "launch `{kernel}` in ({x}, {y}, {z}) blocks of {} threads",
                grid.threads
            )
        };
        let Some(function) = self.functions.get(kernel) else {
            return Err(Error::Failed {
                action: action(),
                message: "there is no such kernel".to_owned(),
            });
        };
        let [x, y, z] = grid.blocks;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        self.context.current()?;
        let slots: Vec<u64> = args.iter().map(|arg| slot(*arg)).collect();
        let mut pointers: Vec<*mut c_void> = slots
            .iter()
            .map(|slot| ptr::from_ref(slot).cast_mut().cast())
            .collect();
        let stream = self.context.stream();
        // SAFETY: the arguments are read before it returns. That they are the kernel's, and the addresses its sizes', is what
        // the caller of `Device::launch` promises.
        let launched = unsafe {
            cu::cuLaunchKernel(
                *function,
                x,
                y,
                z,
                grid.threads,
                1,
                1,
                0,
                stream,
                pointers.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        self.context.check(launched, action)?;
        self.context.queued(kernel);
        Ok(())
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Kernels may still be queued. What fails here can't be helped.
        let _ = self.context.synchronize();
        // SAFETY: loaded by `load`, and unloaded once.
        unsafe { cu::cuModuleUnload(self.module) };
    }
}

/// The kernels for a card: kept from a run before, or compiled.
fn image(precision: Precision, capability: u32, major: u32) -> Result<Vec<u8>, Error> {
    let compiler = Compiler::find(major)?;
    let target = compiler.target(capability)?;
    let definitions: &[&str] = match precision {
        Precision::Bf16 => &[],
        Precision::F32 => &["ACT_F32"],
    };
    let version = format!("{:?}", compiler.version);
    let options = target.option() + " " + &definitions.join(" ");
    let folder = cache::folder();
    cache::kept(
        folder.as_deref(),
        &[kernels::SOURCES, &version, &options],
        || compiler.compile(kernels::SOURCES, target, definitions),
    )
}

/// An argument where the driver reads it: its first bytes are the value's.
fn slot(arg: Arg) -> u64 {
    let mut bytes = [0; 8];
    match arg {
        Arg::Address(value) | Arg::Long(value) => bytes = value.to_ne_bytes(),
        Arg::Int(value) => bytes[..4].copy_from_slice(&value.to_ne_bytes()),
        Arg::Float(value) => bytes[..4].copy_from_slice(&value.to_ne_bytes()),
    }
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_begins_where_its_slot_begins() {
        assert_eq!(
            slot(Arg::Int(-2)).to_ne_bytes()[..4],
            (-2_i32).to_ne_bytes()
        );
        assert_eq!(
            slot(Arg::Float(1.5)).to_ne_bytes()[..4],
            1.5_f32.to_ne_bytes()
        );
        assert_eq!(slot(Arg::Long(1 << 40)), 1 << 40);
        assert_eq!(slot(Arg::Address(3)), 3);
    }
}
