//! What the path of a repository's file says of it.

/// Files whose reading runs code.
pub(super) const PICKLES: [&str; 6] = ["bin", "pth", "pt", "pkl", "pickle", "ckpt"];
/// What stands beside a model's weights and is read.
const BESIDE_WEIGHTS: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.json",
    "SYSTEM_PROMPT.txt",
    "receipt.json",
];
/// What is read of an adapter or of a prepared dataset.
const READ: [&str; 7] = [
    "json",
    "jsonl",
    "jinja",
    "safetensors",
    "parquet",
    "model",
    "txt",
];
/// Files of rows, which may be packed.
pub(super) const ROWS: [&str; 7] = ["jsonl", "json", "ndjson", "csv", "tsv", "parquet", "arrow"];
const PACKED: [&str; 4] = ["gz", "zst", "zstd", "xz"];
/// What says how a folder of rows is laid out.
pub(super) const LAYOUT: [&str; 2] = ["state.json", "dataset_dict.json"];
/// Files about rows.
const ABOUT: [&str; 3] = ["dataset_info.json", "dataset_infos.json", "config.json"];

/// The model that a GGUF file is a part of, by its name: `MODEL-00001-of-00003.gguf`.
pub(super) fn split_model(path: &str) -> Option<(&str, &str)> {
    let is_number = |digits: &str| digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
    let (rest, count) = path.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (model, number) = rest.rsplit_once('-')?;
    (is_number(number) && is_number(count)).then_some((model, count))
}

/// The folder of a file, without a `/` at its end.
pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

pub(super) fn is_beside_weights(path: &str) -> bool {
    let is_template = ending(path) == "jinja";
    let folder = path.rsplit_once('/').map(|(folder, _)| folder);
    match folder {
        None => is_template || BESIDE_WEIGHTS.contains(&path),
        Some(folder) => is_template && folder == "additional_chat_templates",
    }
}

pub(super) fn is_read(path: &str) -> bool {
    READ.contains(&ending(path))
}

/// True for a file of rows, packed or not, that is not one about rows.
pub(super) fn is_rows(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let packed = PACKED
        .iter()
        .find_map(|end| name.strip_suffix(&format!(".{end}")));
    let is_about = LAYOUT.contains(&name) || ABOUT.contains(&name) || name.starts_with('.');
    !is_about && ROWS.contains(&ending(packed.unwrap_or(name)))
}

/// What a name ends in, behind its last dot.
pub(super) fn ending(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}
