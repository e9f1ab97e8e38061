//! Finding the driver, NVRTC and cuBLAS when the program runs. Each is looked for before anything of it is called, and so is
//! each of its functions that we call: what is missing is an error with a way out.
use super::places;
use crate::Error;
use cudarc::{cublas, driver, nvrtc};
use std::path::{Path, PathBuf};

/// The first of the functions named that a library hasn't.
type Missing = fn(&'static str) -> Option<&'static str>;

/// A library that is loaded when it is needed.
struct Library {
    name: &'static str,
    /// `libSTEM.so.N`.
    stem: &'static str,
    /// What it loads itself by name: loaded with it from the same folder.
    needs: &'static [&'static str],
    /// The functions called.
    functions: &'static str,
    present: fn() -> bool,
    missing: Missing,
}

/// Whether the library of `$of` is there, and what it hasn't.
macro_rules! of_library {
    ($of:path) => {{
        use $of as sys;
        fn present() -> bool {
            // SAFETY: loads the library and runs its initialisers, which NVIDIA's may be trusted with.
            unsafe { sys::is_culib_present() }
        }
        fn missing(functions: &'static str) -> Option<&'static str> {
            // SAFETY: called once `present` is true; the symbols are looked up and not called.
            let has = |name: &str| unsafe {
                let symbol = sys::culib().get::<unsafe extern "C" fn()>(name.as_bytes());
                symbol.is_ok()
            };
            functions.split_whitespace().find(|name| !has(name))
        }
        (present as fn() -> bool, missing as Missing)
    }};
}

/// The driver.
pub(super) fn driver() -> Result<(), Error> {
    let (present, missing) = of_library!(driver::sys);
    let library = Library {
        name: "NVIDIA's driver",
        stem: "cuda",
        needs: &[],
        functions: "cuInit cuDriverGetVersion cuDeviceGetCount cuDeviceGet cuDeviceGetName \
                    cuDeviceTotalMem_v2 cuDeviceGetAttribute cuDevicePrimaryCtxRetain \
                    cuDevicePrimaryCtxRelease_v2 cuCtxSetCurrent cuStreamCreate \
                    cuStreamDestroy_v2 cuStreamSynchronize cuMemAlloc_v2 cuMemFree_v2 \
                    cuMemGetInfo_v2 cuMemAllocHost_v2 cuMemFreeHost cuMemcpyHtoDAsync_v2 \
                    cuMemcpyDtoHAsync_v2 cuMemcpyDtoDAsync_v2 cuMemsetD8Async cuMemsetD2D8Async \
                    cuModuleLoadData cuModuleUnload cuModuleGetFunction cuLaunchKernel \
                    cuEventCreate cuEventRecord cuEventSynchronize cuEventDestroy_v2 \
                    cuGetErrorName cuGetErrorString",
        present,
        missing,
    };
    library.load(&[1], || {
        "install it (`nvidia-smi` then lists the cards; a container is started with `--gpus all`); \
         `--device cpu` needs none"
            .to_owned()
    })
}

/// The compiler of kernels, for a driver of CUDA version `major`.
pub(super) fn nvrtc(major: u32) -> Result<(), Error> {
    let (present, missing) = of_library!(nvrtc::sys);
    let library = Library {
        name: "NVRTC",
        stem: "nvrtc",
        needs: &["nvrtc-builtins"],
        functions: "nvrtcVersion nvrtcGetNumSupportedArchs nvrtcGetSupportedArchs \
                    nvrtcCreateProgram nvrtcCompileProgram nvrtcDestroyProgram nvrtcGetCUBINSize \
                    nvrtcGetCUBIN nvrtcGetPTXSize nvrtcGetPTX nvrtcGetProgramLogSize \
                    nvrtcGetProgramLog nvrtcGetErrorString",
        present,
        missing,
    };
    library.load(&majors(major), || toolkit(major))
}

/// The products, for a driver of CUDA version `major`.
pub(super) fn cublas(major: u32) -> Result<(), Error> {
    let (present, missing) = of_library!(cublas::sys);
    let library = Library {
        name: "cuBLAS",
        stem: "cublas",
        needs: &["cublasLt"],
        functions: "cublasCreate_v2 cublasDestroy_v2 cublasSetStream_v2 cublasSetWorkspace_v2 \
                    cublasSetMathMode cublasGetVersion_v2 cublasGemmEx \
                    cublasGemmStridedBatchedEx cublasGetStatusString",
        present,
        missing,
    };
    library.load(&majors(major), || toolkit(major))
}

/// What to do where a part of the toolkit is missing, or doesn't go with a driver of CUDA version `major`.
pub(super) fn toolkit(major: u32) -> String {
    let suffix = if major < 13 { "-cu12" } else { "" };
    format!(
        "install NVIDIA's CUDA toolkit {major}, or `pip install nvidia-cublas{suffix} \
         nvidia-cuda-nvrtc{suffix}`, and if it is still not found name its folder in {}; \
         `--device cpu` needs neither",
        places::OVERRIDE
    )
}

/// Versions of the toolkit that a driver of CUDA version `major` runs and that we know, the newest first.
fn majors(major: u32) -> Vec<u32> {
    (12..=major.clamp(12, 20)).rev().collect()
}

impl Library {
    fn load(&self, versions: &[u32], hint: impl Fn() -> String) -> Result<(), Error> {
        let environment = |name: &str| std::env::var_os(name);
        let named = places::named(&environment);
        let mut present = self.load_from(&named, versions) && (self.present)();
        present = present || (self.present)();
        if !present && self.load_from(&places::usual(Path::new("/"), &environment), versions) {
            present = (self.present)();
        }
        if !present {
            return Err(Error::Unavailable {
                message: format!(
                    "{} isn't found: there is no {}",
                    self.name,
                    self.files(versions)
                ),
                hint: Some(hint()),
            });
        }
        match (self.missing)(self.functions) {
            None => Ok(()),
            Some(function) => Err(Error::Unavailable {
                message: format!("{} is too old: it has no `{function}`", self.name),
                hint: Some(hint()),
            }),
        }
    }

    fn files(&self, versions: &[u32]) -> String {
        let names: Vec<String> = versions.iter().map(|v| file_name(self.stem, *v)).collect();
        names.join(" or ")
    }

    /// Loads the newest version that one of the folders has; a library that is loaded is found again by its name.
    fn load_from(&self, folders: &[PathBuf], versions: &[u32]) -> bool {
        let candidates = candidates(self.stem, folders, versions);
        candidates.iter().any(|file| {
            for needed in self.needed_beside(file) {
                keep(&needed);
            }
            keep(file)
        })
    }

    /// The files beside `file`, and of its version, that it will ask for by name.
    fn needed_beside(&self, file: &Path) -> Vec<PathBuf> {
        let version = file
            .extension()
            .and_then(|v| v.to_str())
            .unwrap_or_default();
        let Some(Ok(entries)) = file.parent().map(std::fs::read_dir) else {
            return Vec::new();
        };
        let is_needed = |path: &PathBuf| {
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            let starts = |stem: &&'static str| name.starts_with(&format!("lib{stem}.so.{version}"));
            self.needs.iter().any(starts)
        };
        let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        files.retain(is_needed);
        files.sort();
        files
    }
}

fn file_name(stem: &str, version: u32) -> String {
    format!("lib{stem}.so.{version}")
}

/// The files that are there, a newer version before an older one, an earlier folder before a later one.
fn candidates(stem: &str, folders: &[PathBuf], versions: &[u32]) -> Vec<PathBuf> {
    let of_version = |version: &u32| {
        let name = file_name(stem, *version);
        folders.iter().map(move |folder| folder.join(&name))
    };
    let all = versions.iter().flat_map(of_version);
    all.filter(|file| file.is_file()).collect()
}

/// Loads a library for as long as the program runs. False if it can't be.
#[cfg(unix)]
fn keep(file: &Path) -> bool {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: runs the initialisers of a library of NVIDIA's, or of what the user named.
    let library = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) };
    library.map(std::mem::forget).is_ok()
}

#[cfg(not(unix))]
fn keep(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_newest_version_of_the_first_folder_is_taken() {
        let root = std::env::temp_dir().join(format!("lora-gpu-files-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let files = [
            "one/libcublas.so.12",
            "two/libcublas.so.13",
            "two/libcublas.so.12",
        ];
        let files = files.map(|file| root.join(file));
        for file in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let folders = ["one", "two"].map(|name| root.join(name));
        let found = candidates("cublas", &folders, &majors(13));
        assert_eq!(found, [1, 0, 2].map(|i: usize| files[i].clone()));
        assert_eq!(
            candidates("cublas", &folders, &majors(12)),
            [0, 2].map(|i: usize| files[i].clone())
        );
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_driver_runs_toolkits_of_its_version_and_older() {
        assert_eq!(majors(12), [12]);
        assert_eq!(majors(13), [13, 12]);
        assert!(toolkit(12).contains("nvidia-cublas-cu12 nvidia-cuda-nvrtc-cu12"));
    }
}
