//! The folders where NVIDIA's libraries usually lie, in the order in which they are looked through. The loader's own path is
//! not among them.
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Names the folder of the libraries: that goes before all others.
pub(super) const OVERRIDE: &str = "LORA_CUDA_PATH";

/// Of a toolkit's folder, where its libraries may lie.
const IN_TOOLKIT: [&str; 4] = [
    "lib64",
    "lib",
    "targets/x86_64-linux/lib",
    "targets/sbsa-linux/lib",
];
/// Of a `site-packages` folder, where the wheels put theirs.
const IN_WHEELS: [&str; 3] = [
    "nvidia/cu13/lib",
    "nvidia/cublas/lib",
    "nvidia/cuda_nvrtc/lib",
];
/// Where systems put them.
const IN_SYSTEM: [&str; 7] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "opt/cuda/lib64",
    "usr/lib/wsl/lib",
    "usr/local/nvidia/lib64",
    "run/opengl-driver/lib",
];

/// The folder that the user names, and those below it where a toolkit or a wheel has its libraries.
pub(super) fn named(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let Some(folder) = set(variable, OVERRIDE) else {
        return Vec::new();
    };
    let below = IN_TOOLKIT.iter().chain(&IN_WHEELS);
    let all = below.map(|name| folder.join(name));
    existing([folder.clone()].into_iter().chain(all))
}

/// The other folders, below `root`, which is `/` but in tests.
pub(super) fn usual(root: &Path, variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let named = ["CUDA_HOME", "CUDA_PATH"];
    let mut toolkits: Vec<PathBuf> = named.iter().filter_map(|n| set(variable, n)).collect();
    toolkits.extend(toolkits_in(&root.join("usr/local")));
    for toolkit in &toolkits {
        all.extend(IN_TOOLKIT.iter().map(|name| toolkit.join(name)));
    }
    all.extend(IN_SYSTEM.iter().map(|name| root.join(name)));
    for prefix in pythons(root, variable) {
        all.push(prefix.join("lib"));
        for packages in packages(&prefix) {
            all.extend(IN_WHEELS.iter().map(|name| packages.join(name)));
        }
    }
    existing(all)
}

/// `cuda`, which the system's owner points to the one to use, and then `cuda-13.0` and the like, the newest first.
fn toolkits_in(folder: &Path) -> Vec<PathBuf> {
    let version = |path: &Path| -> Option<Vec<u32>> {
        let name = path.file_name()?.to_str()?.strip_prefix("cuda-")?;
        name.split('.').map(|part| part.parse().ok()).collect()
    };
    let mut versions: Vec<(Vec<u32>, PathBuf)> = entries(folder)
        .into_iter()
        .filter_map(|path| Some((version(&path)?, path)))
        .collect();
    versions.sort();
    let newest_first = versions.into_iter().rev().map(|(_, path)| path);
    [folder.join("cuda")]
        .into_iter()
        .chain(newest_first)
        .collect()
}

/// Where Pythons are installed: the active environment, the one that `python3` is, the user's own packages.
fn pythons(root: &Path, variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"];
    let mut all: Vec<PathBuf> = environments
        .iter()
        .filter_map(|n| set(variable, n))
        .collect();
    let path = variable("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        let python = folder.join("python3");
        if let Some(prefix) = folder.parent()
            && python.exists()
        {
            all.push(prefix.to_path_buf());
            let real = fs::canonicalize(&python).ok();
            all.extend(real.and_then(|p| Some(p.parent()?.parent()?.to_path_buf())));
        }
    }
    all.extend(set(variable, "HOME").map(|home| home.join(".local")));
    all.extend(["usr/local", "usr", "opt/conda"].map(|name| root.join(name)));
    all
}

/// `lib/python3.*/site-packages` and Debian's `dist-packages`.
fn packages(prefix: &Path) -> Vec<PathBuf> {
    let is_python = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("python3"))
    };
    let mut versions = entries(&prefix.join("lib"));
    versions.retain(is_python);
    versions
        .iter()
        .flat_map(|folder| ["site-packages", "dist-packages"].map(|name| folder.join(name)))
        .collect()
}

fn set(variable: &dyn Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    variable(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// What a folder holds, in order; nothing if it can't be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    paths
}

/// Those that are there, each once.
fn existing(folders: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    folders
        .into_iter()
        .filter(|folder| folder.is_dir() && seen.insert(folder.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own, with folders in it.
    fn tree(name: &str, folders: &[&str]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("lora-gpu-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for folder in folders {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        root
    }

    #[test]
    fn what_the_user_names_comes_with_the_folders_of_toolkits_and_wheels() {
        let root = tree("named", &["wheel/nvidia/cu13/lib", "toolkit/lib64"]);
        let at = |name: &'static str| {
            let folder = root.join(name);
            named(&move |n| (n == OVERRIDE).then(|| folder.clone().into_os_string()))
        };
        let wheel = root.join("wheel");
        assert_eq!(at("wheel"), [wheel.clone(), wheel.join("nvidia/cu13/lib")]);
        let toolkit = root.join("toolkit");
        assert_eq!(at("toolkit"), [toolkit.clone(), toolkit.join("lib64")]);
        assert!(at("absent").is_empty());
        assert!(named(&|_| None).is_empty());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn toolkits_come_before_the_system_and_pythons_packages() {
        let folders = [
            "usr/local/cuda-9.2/lib64",
            "usr/local/cuda-13.0/targets/x86_64-linux/lib",
            "usr/local/cuda/lib64",
            "usr/lib/x86_64-linux-gnu",
            "env/lib/python3.12/site-packages/nvidia/cublas/lib",
            "home/.local/lib/python3.9/site-packages/nvidia/cu13/lib",
        ];
        let root = tree("usual", &folders);
        let found = usual(&root, &|name| {
            let value = match name {
                "VIRTUAL_ENV" => root.join("env"),
                "HOME" => root.join("home"),
                _ => return None,
            };
            Some(value.into_os_string())
        });
        let expected = [
            "usr/local/cuda/lib64",
            "usr/local/cuda-13.0/targets/x86_64-linux/lib",
            "usr/local/cuda-9.2/lib64",
            "usr/lib/x86_64-linux-gnu",
            "env/lib",
            "env/lib/python3.12/site-packages/nvidia/cublas/lib",
            "home/.local/lib",
            "home/.local/lib/python3.9/site-packages/nvidia/cu13/lib",
            "usr/lib",
        ];
        assert_eq!(found, expected.map(|name| root.join(name)));
        fs::remove_dir_all(&root).unwrap();
    }
}
