//! What this machine has to give.
use crate::{Error, Result};
use std::env::VarError;

/// Bytes that this process could take without swapping, and within its control group's limit (Linux); none where unknown.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let free = line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
    let group = |file: &str| {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{file}"))
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let within =
        group("memory.max").map(|most| most.saturating_sub(group("memory.current").unwrap_or(0)));
    Some(within.map_or(free, |within| within.min(free)))
}

/// A text of the environment.
///
/// # Errors
/// When there is one that is no UTF-8.
pub fn environment(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(Error::new(format!("{name} in the environment is no text"))
                .hint(format!("set it anew, or unset it: unset {name}")))
        }
    }
}
