//! Facts about this machine and this process, as far as the system tells them without asking a library.
use serde_json::{Value, json};

/// Peak resident memory of this process in bytes (Linux: VmHWM), 0 where unknown.
pub fn peak_rss_bytes() -> u64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return 0;
    };
    field(&status, "VmHWM")
        .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Operating system, architecture, processor and number of usable cores.
pub(crate) fn facts() -> Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cpu": field(&cpuinfo, "model name"),
        "cpus": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    })
}

/// The value of the first `KEY : value` line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}
