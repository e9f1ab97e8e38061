//! Typed look-ups in GGUF metadata; messages name the key.
use super::parse::Gguf;
use super::value::Value;
use crate::families::GgufCap;

/// Metadata under the keys of one architecture.
pub(super) struct Keys<'a> {
    pub(super) gguf: &'a Gguf,
    architecture: &'static str,
}

impl<'a> Keys<'a> {
    pub(super) fn new(gguf: &'a Gguf, architecture: &'static str) -> Self {
        Self { gguf, architecture }
    }

    pub(super) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.gguf.metadata.get(&self.name(key))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    pub(super) fn need(&self, key: &str) -> Result<usize, String> {
        self.size(key)?
            .ok_or_else(|| format!("no {} in the metadata", self.name(key)))
    }

    /// A whole number, which a file may repeat for each layer.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let number = match numbers(value) {
            None => value.as_u64().and_then(|n| usize::try_from(n).ok()),
            Some(list) => {
                let first = list.first().copied();
                first.filter(|first| list.iter().all(|n| n == first))
            }
        };
        number.map(Some).ok_or_else(|| {
            format!(
                "{} is not a whole number (different ones in different layers are not supported)",
                self.name(key)
            )
        })
    }

    /// A whole number for each layer: a list, or one for all.
    pub(super) fn list(&self, key: &str, count: usize) -> Result<Vec<usize>, String> {
        let is_list = |value: &&Value| matches!(value, Value::I32s(_) | Value::Others { .. });
        match self.value(key).filter(is_list).map(numbers) {
            None => Ok(vec![self.need(key)?; count]),
            Some(Some(list)) if list.len() >= count => Ok(list[..count].to_vec()),
            Some(_) => Err(format!(
                "{} is no list of {count} whole numbers",
                self.name(key)
            )),
        }
    }

    /// A list of truth values.
    pub(super) fn flags(&self, key: &str) -> Option<Vec<bool>> {
        match self.value(key)? {
            Value::Others { code: 7, bytes } => Some(bytes.iter().map(|&b| b != 0).collect()),
            _ => None,
        }
    }

    /// A soft cap; 0 is llama.cpp's own "none" where a file may go without.
    pub(super) fn cap(&self, key: &str, cap: GgufCap) -> Result<Option<f64>, String> {
        match cap {
            GgufCap::Never => Ok(None),
            GgufCap::Named => Ok(self.real(key)?.filter(|&cap| cap != 0.0)),
            GgufCap::Default(default) => Ok(Some(self.real(key)?.unwrap_or(default))),
        }
    }

    pub(super) fn real(&self, key: &str) -> Result<Option<f64>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(v) => v
                .as_f64()
                .map(Some)
                .ok_or_else(|| format!("{} is not a number", self.name(key))),
        }
    }
}

/// The whole numbers of a list; None if it is none, or one of others.
fn numbers(value: &Value) -> Option<Vec<usize>> {
    match value {
        Value::I32s(list) => list.iter().map(|&n| n.try_into().ok()).collect(),
        Value::Others { code: 4, bytes } => {
            let (four, _) = bytes.as_chunks();
            let number = |four: &[u8; 4]| u32::from_le_bytes(*four).try_into().ok();
            four.iter().map(number).collect()
        }
        _ => None,
    }
}
