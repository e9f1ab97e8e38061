//! The weights of a Hugging Face folder: one `model.safetensors`, or shards that an index names.
use crate::error::{Result, invalid};
use crate::files::read_json;
use crate::mapped::Mapped;
use crate::storage::StorageDtype;
use crate::view::Entry;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How names end of tensors of bytes that hold blocks of MXFP4, and of those that hold their exponents.
pub(crate) const BLOCKS: &str = "_blocks";
pub(crate) const EXPONENTS: &str = "_scales";

/// Opens every safetensors file of a folder. Returns the mapped files and where each tensor lies in them.
pub(crate) fn open(dir: &Path) -> Result<(Vec<Mapped>, BTreeMap<String, Entry>)> {
    let single = dir.join("model.safetensors");
    let index = dir.join("model.safetensors.index.json");
    let mut files = Vec::new();
    let mut entries = BTreeMap::new();
    if single.is_file() {
        add_file(&single, &mut files, &mut entries)?;
    } else if index.is_file() {
        let named = read_index(&index)?;
        for shard in named.values().collect::<BTreeSet<_>>() {
            add_file(&dir.join(shard), &mut files, &mut entries)?;
        }
        if let Some((name, shard)) = named.iter().find(|(name, _)| !entries.contains_key(*name)) {
            return Err(invalid(&index, format!("tensor {name} is not in {shard}")));
        }
    } else {
        let hint = match dir.join("pytorch_model.bin").exists() {
            true => "pytorch_model.bin can't be read; save the model with safetensors",
            false => "is the download complete?",
        };
        let what = "no model.safetensors and no model.safetensors.index.json";
        return Err(invalid(dir, what).hint(hint));
    }
    Ok((files, entries))
}

/// tensor → shard file name; names that would leave the folder are refused.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    let json = read_json(path)?;
    let map = json
        .get("weight_map")
        .and_then(|m| m.as_object())
        .ok_or_else(|| invalid(path, "no weight_map"))?;
    let mut named = BTreeMap::new();
    for (tensor, shard) in map {
        let shard = shard
            .as_str()
            .ok_or_else(|| invalid(path, format!("the shard of {tensor} is not a string")))?;
        if shard.is_empty() || shard.contains(['/', '\\']) || shard == ".." {
            return Err(invalid(
                path,
                format!("shard {shard:?} is not a plain file name"),
            ));
        }
        named.insert(tensor.clone(), shard.to_owned());
    }
    Ok(named)
}

fn add_file(
    path: &Path,
    files: &mut Vec<Mapped>,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<()> {
    let mapped = Mapped::open(path)?;
    for (name, mut entry) in parse(path, mapped.bytes())? {
        entry.file = files.len();
        if let Some(other) = entries.insert(name.clone(), entry) {
            let other: &Mapped = &files[other.file];
            return Err(invalid(
                path,
                format!("tensor {name} is also in {}", other.path().display()),
            ));
        }
    }
    files.push(mapped);
    Ok(())
}

/// The tensors of one safetensors file. The format's own checks (sizes, gaps, overlaps, overflow) are the safetensors
/// crate's; duplicate names are checked here, because its map would swallow them.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Entry)>> {
    let (header, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(|e| {
        invalid(path, format!("not a whole safetensors file: {e}"))
            .hint("was the download or the copy cut off?")
    })?;
    let start = header + 8;
    if let Some(name) = duplicate_key(&bytes[8..start]) {
        return Err(invalid(path, format!("tensor {name} is listed twice")));
    }
    let mut tensors = Vec::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else {
            continue;
        };
        let dtype = match info.dtype {
            safetensors::Dtype::F32 => StorageDtype::F32,
            safetensors::Dtype::F16 => StorageDtype::F16,
            safetensors::Dtype::BF16 => StorageDtype::BF16,
            // Blocks and exponents, of which `expert_stacks` makes matrices.
            safetensors::Dtype::U8 if name.ends_with(BLOCKS) || name.ends_with(EXPONENTS) => {
                StorageDtype::Mxfp4Apart
            }
            other => {
                return Err(invalid(
                    path,
                    format!("tensor {name} has dtype {other}, which can't be read"),
                )
                .hint("F32, F16 and BF16 can"));
            }
        };
        let (from, to) = info.data_offsets;
        let range = start + from..start + to;
        tensors.push((name, Entry::plain(0, range, info.shape.clone(), dtype)));
    }
    Ok(tensors)
}

/// The first key that a JSON object has twice.
fn duplicate_key(json: &[u8]) -> Option<String> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Option<String>;
        fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut seen = BTreeSet::new();
            let mut twice = None;
            while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                if !seen.insert(key.clone()) {
                    twice = Some(key);
                }
            }
            Ok(twice)
        }
    }
    serde_json::Deserializer::from_slice(json)
        .deserialize_map(Keys)
        .ok()
        .flatten()
}
