//! A tensor of a folder that holds one weight or several.
use crate::error::Fault;
use crate::view::Entry;
use std::collections::BTreeMap;

/// A tensor of a folder, and the weights that lie in it one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Names of the weights, one or those of all experts of a layer.
    pub weights: Vec<String>,
    /// How they lie in it.
    pub(crate) laid: Laid,
}

impl Stored {
    /// Whether it holds bytes, and no values.
    pub(crate) fn is_of_bytes(&self) -> bool {
        matches!(self.laid, Laid::Blocks(_) | Laid::Exponents(_))
    }
}

/// How weights lie in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Laid {
    /// One behind the other.
    Whole,
    /// Those of each expert turned round, so many with their columns in turn.
    Columns(usize),
    /// So many of each expert with their rows in turn, as blocks of MXFP4: the blocks, or their exponents.
    Blocks(usize),
    Exponents(usize),
}

/// Puts a weight under its name, which no other may have.
pub(crate) fn put(
    entries: &mut BTreeMap<String, Entry>,
    name: String,
    entry: Entry,
    found_in: &str,
) -> Result<(), Fault> {
    match entries.insert(name.clone(), entry) {
        None => Ok(()),
        Some(_) => Err(Fault::new(format!("tensor {name} is also in {found_in}"))),
    }
}
