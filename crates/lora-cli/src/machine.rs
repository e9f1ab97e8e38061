//! What this machine has to give to this process.
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that this process could take without swapping, within the limits of its control groups and of its address space
/// (Linux); none where unknown.
pub fn available_memory() -> Option<u64> {
    let free = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let bounds = within_groups(Path::new("/sys/fs/cgroup"), &groups).chain(address_space());
    Some(bounds.fold(free, u64::min))
}

/// Bytes that this process may have in all, by the limits of its control groups and of its address space (Linux); none
/// where there is no limit. What it has already is counted in.
pub fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let left = within_groups(Path::new("/sys/fs/cgroup"), &groups).chain(address_space());
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let has = kilobytes(&status, "VmRSS")?;
    left.min().map(|left| left.saturating_add(has))
}

/// What each control group above this process has left, by `/proc/self/cgroup`: of version 2 (`0::/a/b`), and of version 1
/// (`4:memory:/a/b`, below the folder `memory`). A container may see its own group as the root.
fn within_groups<'a>(root: &'a Path, groups: &'a str) -> impl Iterator<Item = u64> + 'a {
    let controller = |line: &'a str| -> Option<(PathBuf, Files, &'a str)> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        match controllers {
            "" => Some((root.to_path_buf(), VERSION_2, path)),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some((root.join("memory"), VERSION_1, path))
            }
            _ => None,
        }
    };
    groups
        .lines()
        .filter_map(controller)
        .flat_map(|(root, files, path)| {
            let path = Path::new(path.trim_start_matches('/'));
            let folders: Vec<PathBuf> = path.ancestors().map(|part| root.join(part)).collect();
            folders
                .into_iter()
                .filter_map(move |folder| left(&folder, files))
        })
}

/// What the files of a control group are called: its limit, what it uses, and the part of that which can be given back.
type Files = (&'static str, &'static str, &'static str);
const VERSION_2: Files = ("memory.max", "memory.current", "inactive_file ");
const VERSION_1: Files = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file ",
);

/// What a control group may still take; none if it has no limit.
fn left(folder: &Path, (limit, used, cache): Files) -> Option<u64> {
    let number = |file: &str| -> Option<u64> {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        text.trim().parse().ok()
    };
    let most = number(limit)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix(cache));
    let cache = cache.and_then(|bytes| bytes.trim().parse::<u64>().ok());
    let used = number(used).unwrap_or(0).saturating_sub(cache.unwrap_or(0));
    Some(most.saturating_sub(used))
}

/// What `ulimit -v` leaves of the address space; none without a limit.
fn address_space() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    let most: u64 = line.split_whitespace().next()?.parse().ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(most.saturating_sub(kilobytes(&status, "VmSize")?))
}

/// The bytes of a line `NAME: 123 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let number: u64 = value.split_whitespace().next()?.parse().ok()?;
    Some(number.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_above_a_process_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let least = |groups: &str| within_groups(dir.path(), groups).min();
        let groups = "1:cpu:/x\n0::/user/job\n";
        assert_eq!(least(groups), None);
        write("user/job/memory.max", "max\n");
        assert_eq!(least(groups), None);
        write("user/memory.max", "1000\n");
        write("user/memory.current", "700\n");
        write("user/memory.stat", "anon 300\ninactive_file 400\n");
        assert_eq!(least(groups), Some(700));
        write("user/job/memory.max", "500\n");
        assert_eq!(least(groups), Some(500));
        write("memory/a/memory.limit_in_bytes", "90\n");
        write("memory/a/memory.usage_in_bytes", "60\n");
        assert_eq!(least("4:memory:/a/b\n"), Some(30));
    }

    #[test]
    fn lines_of_proc_are_read() {
        let text = "VmPeak:\t    9 kB\nVmSize:\t    12 kB\n";
        assert_eq!(kilobytes(text, "VmSize"), Some(12 * 1024));
        assert_eq!(kilobytes(text, "Vm"), None);
    }
}
