//! Texts as ids, and where borders in a text lie among them.
use crate::refusal::Refusal;
use crate::special::{CLOSE, OPEN};
use tokenizers::Tokenizer;

/// Ids of a text with borders.
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// Where each border of the text lies among the ids.
    pub(crate) borders: Vec<usize>,
    /// True if a token would have spanned a border, so that the pieces between were tokenised apart.
    pub(crate) apart: bool,
}

/// A tokenizer without added special tokens, and the same one that reads control tokens as text.
#[derive(Debug)]
pub(crate) struct Tokenize {
    pub(crate) tokenizer: Tokenizer,
    as_text: Tokenizer,
}

impl Tokenize {
    pub(crate) fn new(tokenizer: Tokenizer) -> Self {
        let mut as_text = tokenizer.clone();
        as_text.set_encode_special_tokens(true);
        Self { tokenizer, as_text }
    }

    /// Ids of a text; what stands between the marks of an escaped control token is read as text.
    pub(crate) fn ids(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        if !text.contains(OPEN) {
            return encode(&self.tokenizer, text);
        }
        let mut ids = Vec::new();
        for (at, piece) in text.split([OPEN, CLOSE]).enumerate() {
            let tokenizer = match at % 2 {
                0 => &self.tokenizer,
                _ => &self.as_text,
            };
            ids.extend(encode(tokenizer, piece)?);
        }
        Ok(ids)
    }

    /// Ids of a text in which `borders` (bytes, rising) are looked up. What a generation has before a border is the
    /// tokens of the text up to there; where these don't begin the tokens of the whole, the pieces are tokenised apart.
    pub(crate) fn with_borders(&self, text: &str, borders: &[usize]) -> Result<Tokens, Refusal> {
        let whole = self.ids(text)?;
        let mut made = Vec::with_capacity(borders.len());
        for border in borders {
            let before = self.ids(&text[..*border])?;
            if !whole.starts_with(&before) {
                return self.apart(text, borders, &whole);
            }
            made.push(before.len());
        }
        Ok(Tokens {
            ids: whole,
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
        let pieces = self.pieces(text, borders)?;
        match pieces.ids == self.ids(text)? {
            true => Ok(pieces),
            false => self.with_borders(text, borders),
        }
    }

    fn pieces(&self, text: &str, borders: &[usize]) -> Result<Tokens, Refusal> {
        let mut ids = Vec::new();
        let mut made = Vec::with_capacity(borders.len());
        let mut from = 0;
        for border in borders {
            ids.extend(self.ids(&text[from..*border])?);
            made.push(ids.len());
            from = *border;
        }
        ids.extend(self.ids(&text[from..])?);
        Ok(Tokens {
            ids,
            borders: made,
            apart: false,
        })
    }

    /// Pieces tokenised each by itself; some tokenizers write another text then (a space before each piece).
    fn apart(&self, text: &str, borders: &[usize], whole: &[u32]) -> Result<Tokens, Refusal> {
        let mut pieces = self.pieces(text, borders)?;
        if self.decode(&pieces.ids)? != self.decode(whole)? {
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
