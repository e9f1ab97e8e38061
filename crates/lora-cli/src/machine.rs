//! What this machine has to give.

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

/// Bytes written as people write them: 700MB, 2GiB, 1.5G, 4096M, 900000000.
///
/// # Errors
/// What was expected instead.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return Err("expected a size such as 700MB, 2GiB or 1.5G".to_owned()),
    };
    match number.parse::<f64>() {
        Ok(n) if n > 0.0 && n * factor < 1e18 => Ok((n * factor) as u64),
        _ => Err("expected a size such as 700MB, 2GiB or 1.5G".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_as_people_write_them() {
        let sizes = [
            ("700MB", 700_000_000),
            ("2GiB", 2 << 30),
            ("1.5G", 3 << 29),
            ("4096 m", 4 << 30),
            ("12", 12),
        ];
        for (text, want) in sizes {
            assert_eq!(parse_bytes(text), Ok(want), "{text}");
        }
        for text in [
            "",
            "GB",
            "-1G",
            "0",
            "2 apples",
            "1e3",
            "1..5G",
            "99999999999G",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
