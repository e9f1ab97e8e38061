//! SentencePiece BPE in the terms of tokenizer.json, as transformers converts it (convert_slow_tokenizer.py).
use serde_json::{Value, json};
use std::collections::HashMap;

/// Merges recovered from the scores: every split of a piece into two pieces merges with the piece's rank. Sorted as
/// `generate_merges` sorts: by score, then by the parts' lengths in characters, all descending; ties keep their order.
pub(super) fn merges(tokens: &[String], scores: &[f32], plain: impl Fn(usize) -> bool) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> =
        tokens.iter().enumerate().filter(|&(id, _)| plain(id)).map(|(id, token)| (token.as_str(), id)).collect();
    let mut all = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|&(id, _)| plain(id)) {
        let mut splits: Vec<(usize, usize)> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| Some((*ids.get(&token[..at])?, *ids.get(&token[at..])?)))
            .collect();
        splits.sort_unstable();
        all.extend(splits.into_iter().map(|(left, right)| (scores[id], left, right)));
    }
    let length = |id: usize| tokens[id].chars().count();
    all.sort_by(|a, b| {
        b.0.total_cmp(&a.0).then_with(|| length(b.1).cmp(&length(a.1))).then_with(|| length(b.2).cmp(&length(a.2)))
    });
    all.into_iter().map(|(_, left, right)| (tokens[left].clone(), tokens[right].clone())).collect()
}

/// Spaces become ▁, with one before the text (and after each special token) if the model was trained so.
pub(super) fn normalizer(space_prefix: bool) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    match space_prefix {
        true => json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}),
        false => replace,
    }
}

/// The way back.
pub(super) fn decoder(space_prefix: bool) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if space_prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}
