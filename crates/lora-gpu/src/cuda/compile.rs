//! NVRTC: kernels' source to what a card runs. It needs no card and no driver.
use super::libraries;
use crate::Error;
use cudarc::nvrtc::sys::{self as rtc, nvrtcResult};
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

/// NVRTC, found.
#[derive(Debug, Clone)]
pub(super) struct Compiler {
    /// Its version, e.g. (13, 0).
    pub(super) version: (u32, u32),
    /// The compute capabilities that it compiles for, e.g. 90.
    capabilities: Vec<u32>,
}

/// What to compile for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A card's own instructions.
    Cubin(u32),
    /// An older card's, in the form that the driver translates for a newer one.
    Ptx(u32),
}

impl Compiler {
    /// For a driver of CUDA version `major`.
    pub(super) fn find(major: u32) -> Result<Self, Error> {
        libraries::nvrtc(major)?;
        let (mut first, mut second) = (0, 0);
        // SAFETY: writes two ints.
        let told = unsafe { rtc::nvrtcVersion(&raw mut first, &raw mut second) };
        check(told, "tell its version")?;
        let version = (unsigned(first), unsigned(second));
        if version.0 > major {
            return Err(Error::Unavailable {
                message: format!(
                    "NVRTC is of CUDA {}.{}, and the driver is for CUDA {major}",
                    version.0, version.1
                ),
                hint: Some(libraries::toolkit(major)),
            });
        }
        let mut count = 0;
        // SAFETY: writes one int.
        let told = unsafe { rtc::nvrtcGetNumSupportedArchs(&raw mut count) };
        check(told, "tell its cards")?;
        let mut capabilities: Vec<c_int> = vec![0; unsigned(count) as usize];
        // SAFETY: writes as many ints as the call before has said.
        let told = unsafe { rtc::nvrtcGetSupportedArchs(capabilities.as_mut_ptr()) };
        check(told, "tell its cards")?;
        Ok(Self {
            version,
            capabilities: capabilities.into_iter().map(unsigned).collect(),
        })
    }

    /// What to compile for, so that a card of this compute capability runs it.
    pub(super) fn target(&self, capability: u32) -> Result<Target, Error> {
        let below = |c: &u32| *c <= capability;
        match self.capabilities.iter().copied().filter(below).max() {
            Some(known) if known == capability => Ok(Target::Cubin(known)),
            Some(older) => Ok(Target::Ptx(older)),
            None => Err(Error::Unavailable {
                message: format!(
                    "NVRTC {}.{} compiles for no card as old as this one (compute capability {}.{})",
                    self.version.0,
                    self.version.1,
                    capability / 10,
                    capability % 10
                ),
                hint: Some("install an older CUDA toolkit, or use `--device cpu`".to_owned()),
            }),
        }
    }

    /// Compiles a program.
    pub(super) fn compile(
        &self,
        source: &str,
        target: Target,
        definitions: &[&str],
    ) -> Result<Vec<u8>, Error> {
        let program = Program::new(source)?;
        let mut options = vec![target.option(), "--std=c++17".into(), "--fmad=true".into()];
        options.extend(definitions.iter().map(|name| format!("-D{name}")));
        program.compile(&options)?;
        match target {
            Target::Cubin(_) => program.bytes(rtc::nvrtcGetCUBINSize, rtc::nvrtcGetCUBIN),
            Target::Ptx(_) => program.bytes(rtc::nvrtcGetPTXSize, rtc::nvrtcGetPTX),
        }
    }
}

impl Target {
    pub(super) fn option(self) -> String {
        match self {
            Self::Cubin(capability) => format!("--gpu-architecture=sm_{capability}"),
            Self::Ptx(capability) => format!("--gpu-architecture=compute_{capability}"),
        }
    }
}

/// A program of NVRTC's, destroyed when dropped.
struct Program(rtc::nvrtcProgram);

impl Program {
    fn new(source: &str) -> Result<Self, Error> {
        let source = CString::new(source).map_err(|_| failed("read the kernels", "a zero byte"))?;
        let mut program = ptr::null_mut();
        let name = c"kernels.cu".as_ptr();
        // SAFETY: copies two strings that end with zeros; there are no headers, so no lists are read.
        let created = unsafe {
            rtc::nvrtcCreateProgram(
                &raw mut program,
                source.as_ptr(),
                name,
                0,
                ptr::null(),
                ptr::null(),
            )
        };
        check(created, "read the kernels")?;
        Ok(Self(program))
    }

    fn compile(&self, options: &[String]) -> Result<(), Error> {
        let options: Result<Vec<CString>, _> =
            options.iter().map(|o| CString::new(o.as_str())).collect();
        let options = options.map_err(|_| failed("compile the kernels", "a zero byte"))?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let count = c_int::try_from(pointers.len()).unwrap_or_default();
        // SAFETY: `count` strings that end with zeros and live until it returns.
        match unsafe { rtc::nvrtcCompileProgram(self.0, count, pointers.as_ptr()) } {
            nvrtcResult::NVRTC_ERROR_COMPILATION => {
                let log = self.bytes(rtc::nvrtcGetProgramLogSize, rtc::nvrtcGetProgramLog)?;
                Err(failed("compile the kernels", first_error(&log)))
            }
            result => check(result, "compile the kernels"),
        }
    }

    /// Bytes whose number one function tells and that another writes.
    fn bytes(
        &self,
        size: unsafe fn(rtc::nvrtcProgram, *mut usize) -> nvrtcResult,
        get: unsafe fn(rtc::nvrtcProgram, *mut c_char) -> nvrtcResult,
    ) -> Result<Vec<u8>, Error> {
        let mut len = 0;
        // SAFETY: writes one number.
        let told = unsafe { size(self.0, &raw mut len) };
        check(told, "tell the size of a result")?;
        let mut bytes = vec![0_u8; len];
        // SAFETY: writes as many bytes as the call before has said.
        let given = unsafe { get(self.0, bytes.as_mut_ptr().cast()) };
        check(given, "give a result")?;
        Ok(bytes)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and destroyed once.
        unsafe { rtc::nvrtcDestroyProgram(&raw mut self.0) };
    }
}

/// The first line of a log that tells of an error, or its first line.
fn first_error(log: &[u8]) -> String {
    let log = String::from_utf8_lossy(log);
    let log = log.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    let error = log.lines().find(|line| line.contains("error"));
    error
        .or(log.lines().next())
        .unwrap_or("no log")
        .trim()
        .to_owned()
}

fn check(result: nvrtcResult, action: &str) -> Result<(), Error> {
    if result == nvrtcResult::NVRTC_SUCCESS {
        return Ok(());
    }
    // SAFETY: returns a static string that ends with a zero.
    let words = unsafe { CStr::from_ptr(rtc::nvrtcGetErrorString(result)) };
    Err(failed(action, words.to_string_lossy()))
}

fn failed(action: &str, message: impl Into<String>) -> Error {
    Error::Failed {
        action: format!("{action} (NVRTC)"),
        message: message.into(),
    }
}

fn unsigned(value: c_int) -> u32 {
    u32::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    fn compiler() -> Compiler {
        Compiler::find(13).expect("NVRTC in the folder that LORA_CUDA_PATH names")
    }

    #[test]
    fn a_card_that_is_newer_than_the_compiler_gets_what_the_driver_translates() {
        let compiler = Compiler {
            version: (13, 0),
            capabilities: vec![75, 80, 89, 90],
        };
        assert_eq!(compiler.target(89).unwrap(), Target::Cubin(89));
        assert_eq!(compiler.target(103).unwrap(), Target::Ptx(90));
        let error = compiler.target(70).unwrap_err();
        assert!(
            matches!(error, Error::Unavailable { hint: Some(_), .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("compute capability 7.0"),
            "{error}"
        );
    }

    #[test]
    fn the_line_that_tells_of_an_error_is_what_is_told() {
        let log = b"kernels.cu(1): warning: odd\n\nkernels.cu(7): error: no `x`\n  x;\n\0";
        assert_eq!(first_error(log), "kernels.cu(7): error: no `x`");
        assert_eq!(first_error(b"\0"), "no log");
    }

    #[test]
    #[ignore = "needs NVRTC: LORA_CUDA_PATH=FOLDER cargo test -p lora-gpu -- --ignored nvrtc"]
    fn nvrtc_compiles_every_kernel_for_every_card_that_is_meant() {
        let compiler = compiler();
        let mut compiled = 0;
        for capability in [80, 86, 89, 90, 100, 120] {
            for definitions in [&[][..], &["ACT_F32"]] {
                let target = compiler.target(capability).unwrap();
                let cubin = compiler
                    .compile(kernels::SOURCES, target, definitions)
                    .unwrap();
                let more = match definitions {
                    [] => kernels::BF16_NAMES,
                    _ => &[],
                };
                for &name in kernels::NAMES.iter().chain(more) {
                    let text = format!(".text.{name}");
                    let found = cubin.windows(text.len()).any(|w| w == text.as_bytes());
                    assert!(found, "{name} is not in what was compiled for {capability}");
                }
                compiled += 1;
            }
        }
        assert_eq!(compiled, 12);
    }

    #[test]
    #[ignore = "needs NVRTC: LORA_CUDA_PATH=FOLDER cargo test -p lora-gpu -- --ignored nvrtc"]
    fn nvrtc_tells_of_a_mistake_in_one_line() {
        let compiler = compiler();
        let source = "extern \"C\" __global__ void wrong() { nonsense; }";
        let error = compiler.compile(source, Target::Ptx(90), &[]).unwrap_err();
        let line = error.to_string();
        assert!(
            line.contains("nonsense") && line.contains("kernels.cu(1)"),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }
}
