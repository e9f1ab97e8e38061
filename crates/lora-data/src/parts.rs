//! Where a text can be cut so that its parts have the tokens which they have in the whole: before control tokens, which a
//! tokenizer takes out of a text before it does anything else. Parts that many rows have in common are tokenised once.
use crate::refusal::Refusal;
use regex::Regex;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use tokenizers::Tokenizer;

/// Parts that are remembered as seen, of which those seen again are kept.
const SEEN: usize = 1 << 12;

/// Bytes of a part that may be kept, and of all that are.
const LONGEST: usize = 1 << 16;
const MOST: usize = 16 << 20;

/// The parts of texts for one tokenizer.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Tokens that are taken out of a text as it came; none if texts are not cut.
    tokens: Option<Regex>,
    /// Those of them that take a part of what stands before.
    greedy: HashSet<String>,
    seen: Box<[AtomicU64]>,
    kept: RwLock<HashMap<Box<str>, Box<[u32]>>>,
    bytes: AtomicUsize,
}

impl Parts {
    pub(crate) fn of(tokenizer: &Tokenizer) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        let mut tokens: Vec<_> = added
            .values()
            .filter(|token| !token.normalized && !token.content.is_empty())
            .collect();
        // Of two that begin alike the longer one is found, as in the tokenizer.
        tokens.sort_by_key(|token| (std::cmp::Reverse(token.content.len()), &token.content));
        // Whether a whole word is found depends on what stands beside it.
        let is_plain = added.values().all(|token| !token.single_word);
        let names: Vec<String> = tokens.iter().map(|t| regex::escape(&t.content)).collect();
        let greedy = tokens
            .iter()
            .filter(|token| token.lstrip || token.content.starts_with(char::is_whitespace));
        Self {
            greedy: greedy.map(|token| token.content.clone()).collect(),
            tokens: (is_plain && !names.is_empty())
                .then(|| Regex::new(&names.join("|")).ok())
                .flatten(),
            seen: (0..SEEN).map(|_| AtomicU64::new(0)).collect(),
            kept: RwLock::default(),
            bytes: AtomicUsize::new(0),
        }
    }

    /// The parts of a text, each but the first with the control token that it begins with.
    pub(crate) fn cut(&self, text: &str) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut from = 0;
        if let Some(tokens) = &self.tokens {
            for token in tokens.find_iter(text) {
                let is_cut = token.start() > from && !self.greedy.contains(token.as_str());
                if is_cut {
                    parts.push(from..token.start());
                    from = token.start();
                }
            }
        }
        parts.push(from..text.len());
        parts
    }

    /// The tokens of a part: those kept, or what `encode` makes of it.
    pub(crate) fn ids(
        &self,
        part: &str,
        encode: impl FnOnce() -> Result<Vec<u32>, Refusal>,
    ) -> Result<Vec<u32>, Refusal> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(ids) = kept.get(part) {
            return Ok(ids.to_vec());
        }
        let hash = kept.hasher().hash_one(part) | 1;
        drop(kept);
        let ids = encode()?;
        let last = self.seen[hash as usize / 2 % SEEN].swap(hash, Ordering::Relaxed);
        let size = part.len() + 4 * ids.len();
        if last == hash && size <= LONGEST && self.bytes.load(Ordering::Relaxed) + size <= MOST {
            self.bytes.fetch_add(size, Ordering::Relaxed);
            let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
            kept.insert(part.into(), ids.as_slice().into());
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Tokenize;
    use lora_random::Generator;
    use serde_json::{Value, json};

    /// A BPE tokenizer of single letters and some merges, with control tokens that overlap, take spaces and are normalised.
    fn tokenizer(normalizer: &Value, pre_tokenizer: &Value, word: bool) -> Tokenizer {
        let letters = "abc ▁Ġ?<|>xé";
        let mut vocab = serde_json::Map::new();
        for token in letters
            .chars()
            .map(String::from)
            .chain(["ab", "▁a", "Ġa", "bc"].map(Into::into))
        {
            let id = vocab.len();
            vocab.insert(token, id.into());
        }
        let token = |n: usize, content: &str, flags: [bool; 4]| {
            let [lstrip, rstrip, normalized, single_word] = flags;
            json!({"id": 100 + n, "content": content, "lstrip": lstrip, "rstrip": rstrip,
                "normalized": normalized, "single_word": single_word, "special": n.is_multiple_of(2)})
        };
        let added = [
            token(0, "<|x|>", [false; 4]),
            token(1, "<|x|><|a|>", [false; 4]),
            token(2, "<|a|>", [false, true, false, false]),
            token(3, "<|b|>", [true, false, false, false]),
            token(4, "cc", [false, false, true, false]),
            token(5, " <c>", [false; 4]),
            token(6, "xx", [false, false, false, word]),
        ];
        let text = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"], ["▁", "a"], ["Ġ", "a"], ["b", "c"]],
                "unk_token": "?", "dropout": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false},
        });
        text.to_string().parse().unwrap()
    }

    /// What is put together of parts, and of parts that were kept, is what the tokenizer makes of the whole.
    #[test]
    fn parts_have_the_tokens_of_the_whole() {
        let prepend = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
        let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        let pieces = [
            "<|x|>", "<|a|>", "<|b|>", " <c>", "xx", "cc", " ", "a", "abc", "ab é", "\n", "<|x",
            "|>", "",
        ];
        let mut chance = Generator::at_step("parts", 1, 0);
        for (normalizer, pre_tokenizer, word) in [
            (Value::Null, bytes, false),
            (Value::Null, metaspace("first"), false),
            (Value::Null, metaspace("always"), false),
            (prepend, Value::Null, false),
            (
                json!({"type": "Strip", "strip_left": true, "strip_right": true}),
                json!({"type": "Whitespace"}),
                false,
            ),
            (json!({"type": "Lowercase"}), metaspace("first"), true),
        ] {
            let tokenizer = tokenizer(&normalizer, &pre_tokenizer, word);
            let cut = Tokenize::new(tokenizer.clone());
            let mut parts = 0;
            for _ in 0..400 {
                let mut any = |count: usize| chance.below(count as u64) as usize;
                let text = (0..any(12))
                    .map(|_| pieces[any(pieces.len())])
                    .collect::<String>();
                let whole = tokenizer.encode_fast(text.as_str(), false).unwrap();
                parts += Parts::of(&tokenizer).cut(&text).len();
                assert_eq!(
                    cut.ids(&text).unwrap(),
                    whole.get_ids(),
                    "{text:?} {pre_tokenizer}"
                );
            }
            assert_eq!(parts > 600, !word, "{parts} parts");
        }
    }
}
