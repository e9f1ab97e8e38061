//! `--device`: where a tool computes.
use crate::Ui;
use std::fmt;
use std::str::FromStr;

/// Where a tool computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU if there is one that can do it, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// What `open` makes of the GPU of that number; None if the CPU is asked for. With `auto`, what stands in the way of a GPU
    /// is said, and the CPU is taken.
    ///
    /// # Errors
    /// If a GPU was asked for by name and can't be had.
    pub fn open<T>(
        self,
        ui: &Ui,
        open: impl FnOnce(usize) -> crate::Result<T>,
    ) -> crate::Result<Option<T>> {
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda(ordinal) => open(ordinal).map(Some),
            Self::Auto => match open(0) {
                Ok(found) => Ok(Some(found)),
                Err(why) => {
                    ui.say(&format!("device: cpu ({why})"));
                    Ok(None)
                }
            },
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|n| *n < 64);
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(number)
                .map(Self::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".to_owned()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl serde::Serialize for DeviceChoice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_anything_else_is_refused() {
        for text in ["auto", "cpu", "cuda", "cuda:3"] {
            let choice: DeviceChoice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
        }
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:64", "cuda:x", "CPU"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }
}
