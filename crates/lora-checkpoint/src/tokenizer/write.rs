//! Writing tokenizer files.
