//! Texts as ids, and where borders in a text lie among them.
use crate::parts::Parts;
use crate::refusal::Refusal;
use crate::special::{CLOSE, OPEN};
use std::ops::Range;
use tokenizers::Tokenizer;

/// Ids of a text with borders.
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// Where each border of the text lies among the ids.
    pub(crate) borders: Vec<usize>,
    /// True if a token would have spanned a border, so that the pieces between were tokenised apart.
    pub(crate) apart: bool,
}

/// A text's ids with those of its parts.
struct Whole<'t> {
    text: &'t str,
    ids: Vec<u32>,
    /// Each part, and where its ids end.
    parts: Vec<(Range<usize>, usize)>,
}

impl Whole<'_> {
    /// The ids of a part, if there is one just there.
    fn known(&self, at: &Range<usize>) -> Option<&[u32]> {
        let place = self
            .parts
            .binary_search_by_key(&at.start, |(part, _)| part.start);
        let (part, end) = self.parts.get(place.ok()?)?;
        let start = match place.ok()? {
            0 => 0,
            place => self.parts[place - 1].1,
        };
        (part == at).then(|| &self.ids[start..*end])
    }
}

/// A tokenizer without added special tokens, and the same one that reads control tokens as text.
#[derive(Debug)]
pub(crate) struct Tokenize {
    pub(crate) tokenizer: Tokenizer,
    as_text: Tokenizer,
    parts: Parts,
}

impl Tokenize {
    pub(crate) fn new(tokenizer: Tokenizer) -> Self {
        let mut as_text = tokenizer.clone();
        as_text.set_encode_special_tokens(true);
        Self {
            parts: Parts::of(&tokenizer),
            tokenizer,
            as_text,
        }
    }

    /// Ids of a text; what stands between the marks of an escaped control token is read as text.
    pub(crate) fn ids(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        Ok(self.whole(text)?.ids)
    }

    /// The ids of a text part by part.
    fn whole<'t>(&self, text: &'t str) -> Result<Whole<'t>, Refusal> {
        let mut whole = Whole {
            text,
            ids: Vec::with_capacity(text.len() / 4),
            parts: Vec::new(),
        };
        if text.contains(OPEN) {
            for (at, piece) in text.split([OPEN, CLOSE]).enumerate() {
                let tokenizer = match at % 2 {
                    0 => &self.tokenizer,
                    _ => &self.as_text,
                };
                whole.ids.extend(encode(tokenizer, piece)?);
            }
            return Ok(whole);
        }
        for part in self.parts.cut(text) {
            whole.ids.extend(self.part(&text[part.clone()])?);
            whole.parts.push((part, whole.ids.len()));
        }
        Ok(whole)
    }

    /// The ids of a part of a text.
    fn part(&self, part: &str) -> Result<Vec<u32>, Refusal> {
        self.parts.ids(part, || encode(&self.tokenizer, part))
    }

    /// The ids that a piece of a text has by itself. Parts of the whole that lie in it are known.
    fn piece(&self, whole: &Whole<'_>, piece: Range<usize>) -> Result<Vec<u32>, Refusal> {
        let text = &whole.text[piece.clone()];
        if text.contains(OPEN) || whole.parts.is_empty() {
            return self.ids(text);
        }
        let mut ids = Vec::new();
        for part in self.parts.cut(text) {
            let at = piece.start + part.start..piece.start + part.end;
            match whole.known(&at) {
                Some(known) => ids.extend(known),
                None => ids.extend(self.part(&text[part])?),
            }
        }
        Ok(ids)
    }

    /// Ids of a text in which `borders` (bytes, rising) are looked up. What a generation has before a border is the
    /// tokens of the text up to there; where these don't begin the tokens of the whole, the pieces are tokenised apart.
    pub(crate) fn with_borders(&self, text: &str, borders: &[usize]) -> Result<Tokens, Refusal> {
        let whole = self.whole(text)?;
        self.with_borders_in(whole, borders)
    }

    fn with_borders_in(&self, whole: Whole<'_>, borders: &[usize]) -> Result<Tokens, Refusal> {
        let mut made = Vec::with_capacity(borders.len());
        for border in borders {
            let before = self.piece(&whole, 0..*border)?;
            if !whole.ids.starts_with(&before) {
                return self.apart(&whole, borders);
            }
            made.push(before.len());
        }
        Ok(Tokens {
            ids: whole.ids,
            borders: made,
            apart: false,
        })
    }

    /// The same from the pieces, if these join to the tokens of the whole: fewer texts to tokenise where there are many
    /// borders.
    pub(crate) fn with_many_borders(
        &self,
        text: &str,
        borders: &[usize],
    ) -> Result<Tokens, Refusal> {
        let whole = self.whole(text)?;
        let pieces = self.pieces(&whole, borders)?;
        match pieces.ids == whole.ids {
            true => Ok(pieces),
            false => self.with_borders_in(whole, borders),
        }
    }

    fn pieces(&self, whole: &Whole<'_>, borders: &[usize]) -> Result<Tokens, Refusal> {
        let mut ids = Vec::with_capacity(whole.ids.len());
        let mut made = Vec::with_capacity(borders.len());
        let mut from = 0;
        for border in borders {
            ids.extend(self.piece(whole, from..*border)?);
            made.push(ids.len());
            from = *border;
        }
        ids.extend(self.piece(whole, from..whole.text.len())?);
        Ok(Tokens {
            ids,
            borders: made,
            apart: false,
        })
    }

    /// Pieces tokenised each by itself; some tokenizers write another text then (a space before each piece).
    fn apart(&self, whole: &Whole<'_>, borders: &[usize]) -> Result<Tokens, Refusal> {
        let mut pieces = self.pieces(whole, borders)?;
        if self.decode(&pieces.ids)? != self.decode(&whole.ids)? {
            return Err(Refusal::SharedToken);
        }
        pieces.apart = true;
        Ok(pieces)
    }

    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String, Refusal> {
        self.tokenizer
            .decode(ids, false)
            .map_err(|error| Refusal::Tokenizer(error.to_string()))
    }

    /// A token's text.
    pub(crate) fn text_of(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Refusal> {
    let encoding = tokenizer
        .encode_fast(text, false)
        .map_err(|error| Refusal::Tokenizer(error.to_string()))?;
    Ok(encoding.get_ids().to_vec())
}
