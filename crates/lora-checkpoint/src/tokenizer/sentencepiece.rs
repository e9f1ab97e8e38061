//! SentencePiece BPE in the terms of tokenizer.json, as transformers converts it (convert_slow_tokenizer.py).
use crate::error::Fault;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Merges recovered from the scores: every split of a piece into two pieces merges with the piece's rank. Sorted as
/// `generate_merges` sorts: by score, then by the parts' lengths in characters, all descending; ties keep their order.
pub(super) fn merges(
    tokens: &[String],
    scores: &[f32],
    plain: impl Fn(usize) -> bool,
) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .filter(|&(id, _)| plain(id))
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    let mut all = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|&(id, _)| plain(id)) {
        let mut splits: Vec<(usize, usize)> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| Some((*ids.get(&token[..at])?, *ids.get(&token[at..])?)))
            .collect();
        splits.sort_unstable();
        all.extend(
            splits
                .into_iter()
                .map(|(left, right)| (scores[id], left, right)),
        );
    }
    let length = |id: usize| tokens[id].chars().count();
    all.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
            .then_with(|| length(b.1).cmp(&length(a.1)))
            .then_with(|| length(b.2).cmp(&length(a.2)))
    });
    all.into_iter()
        .map(|(_, left, right)| (tokens[left].clone(), tokens[right].clone()))
        .collect()
}

/// Spaces become ▁, with one before the text (and after each special token) if the model was trained so.
pub(super) fn normalizer(space_prefix: bool) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    match space_prefix {
        true => {
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]})
        }
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

/// Scores that give llama.cpp the order of these merges: minus the rank of the piece that a merge produces. Refused if
/// the merges are not those of a SentencePiece model, where every split of a piece merges and a piece has one rank.
pub(super) fn scores(
    tokens: &[String],
    types: &[i32],
    pairs: &[(String, String)],
) -> Result<Vec<f32>, String> {
    let not_sentencepiece = "the merges of this tokenizer are not those of a SentencePiece model, which is all that GGUF can \
                             hold beside byte-level BPE";
    let mut rank: HashMap<String, usize> = HashMap::new();
    let mut last = String::new();
    for (left, right) in pairs {
        let piece = format!("{left}{right}");
        if piece != last {
            let next = rank.len();
            if rank.insert(piece.clone(), next).is_some() {
                return Err(not_sentencepiece.to_owned());
            }
            last = piece;
        }
    }
    let unmerged = rank.len();
    let mut scores = Vec::with_capacity(tokens.len());
    for (id, (token, &kind)) in tokens.iter().zip(types).enumerate() {
        scores.push(match rank.get(token) {
            Some(&rank) => -(rank as f32),
            None if kind == 1 => -((unmerged + id) as f32),
            None => 0.0,
        });
    }
    let plain = |id: usize| matches!(types[id], 1 | 4);
    let mut expected = merges(tokens, &scores, plain);
    let mut found = pairs.to_vec();
    expected.sort();
    found.sort();
    match expected == found {
        true => Ok(scores),
        false => Err(not_sentencepiece.to_owned()),
    }
}

/// Whether a space goes before the text, from a tokenizer.json; and a warning where llama.cpp differs.
pub(super) fn space_prefix(tokenizer: &Value) -> Result<(bool, Option<String>), Fault> {
    let (normalizer, splitter) = (&tokenizer["normalizer"], &tokenizer["pre_tokenizer"]);
    // Gemma splits at spaces, of which the normalizer leaves none.
    let splits_nothing = splitter["type"] == "Split"
        && splitter["pattern"]["String"] == " "
        && !normalizer.is_null();
    if splitter.is_null() || splits_nothing {
        return match [true, false]
            .into_iter()
            .find(|&prefix| *normalizer == self::normalizer(prefix))
        {
            Some(prefix) => Ok((prefix, None)),
            None => Err(unknown_spaces()),
        };
    }
    let metaspace = normalizer.is_null()
        && splitter["type"] == "Metaspace"
        && splitter["replacement"] == "▁"
        && splitter["split"] == false;
    match splitter["prepend_scheme"].as_str() {
        Some("never") if metaspace => Ok((false, None)),
        Some("always") if metaspace => Ok((true, None)),
        Some("first") if metaspace => Ok((
            true,
            Some(
                "llama.cpp puts a space before the text after every special token, this tokenizer only at the start"
                    .to_owned(),
            ),
        )),
        _ => Err(unknown_spaces()),
    }
}

fn unknown_spaces() -> Fault {
    Fault::new("how this tokenizer treats spaces can't be said in GGUF")
        .hint("known are Llama 2's normalizer and Metaspace without split")
}
