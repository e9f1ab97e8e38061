//! What an error in each column of a weight matters: the mean square of the activations that meet it (llama.cpp's
//! importance matrix), and llama.cpp's files of it: the GGUF of today, read and written, and the older `.dat`, read.
//! Measuring it is a model's business.
use crate::error::{Error, Fault, invalid, io};
use crate::gguf::{GgufFile, Value};
use crate::{GgufDtype, GgufTensor, write_gguf};
use std::collections::BTreeMap;
use std::path::Path;

/// A weight for each column of some matrices, by their GGUF names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Importance {
    columns: BTreeMap<String, Columns>,
}

/// The columns of one matrix, as a file has them: sums and their number, so that what is read gives the weights, to the bit,
/// that what was measured gave.
#[derive(Debug, Clone, PartialEq)]
struct Columns {
    sums: Vec<f32>,
    count: f32,
    /// Σ x² / count.
    weights: Vec<f32>,
}

impl Columns {
    fn new(sums: Vec<f32>, count: f32) -> Self {
        let weights = sums.iter().map(|sum| sum / count).collect();
        Self {
            sums,
            count,
            weights,
        }
    }
}

/// Behind a matrix's name: Σ x² of its columns, and how many x that is.
const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

impl Importance {
    /// Of the matrices named: Σ x² of their columns over `tokens` tokens, at least one.
    pub fn of_sums(sums: BTreeMap<String, Vec<f32>>, tokens: u64) -> Self {
        let entry = |(name, sums)| (name, Columns::new(sums, tokens as f32));
        Self {
            columns: sums.into_iter().map(entry).collect(),
        }
    }

    /// The weights of a matrix's columns.
    pub fn of(&self, tensor: &str) -> Option<&[f32]> {
        let columns = self.columns.get(tensor)?;
        Some(&columns.weights)
    }

    /// Matrices of which something is known.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Reads a file of llama.cpp's.
    ///
    /// # Errors
    /// If it is none, is damaged, or holds weights that are negative or not finite.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let start = std::fs::read(path).map_err(io("read", path))?;
        let read = match start.starts_with(b"GGUF") {
            true => from_gguf(&GgufFile::open(path)?),
            false => from_dat(&start),
        };
        let found = read.map_err(|fault| invalid(path, fault))?;
        let is_bad = |weight: &f32| !weight.is_finite() || *weight < 0.0;
        let bad = |columns: &Columns| columns.weights.iter().any(is_bad);
        match found.columns.iter().find(|(_, columns)| bad(columns)) {
            None => Ok(found),
            Some((name, _)) => Err(invalid(
                path,
                format!("the importance of {name} has a weight that is negative or not finite"),
            )),
        }
    }

    /// Writes the GGUF file that llama.cpp's tools read; `dataset` is where the sums came from.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, path: &Path, dataset: &str) -> Result<(), Error> {
        let mut tensors = Vec::new();
        let mut values: Vec<Vec<f32>> = Vec::new();
        let tokens = self.columns.values().map(|columns| columns.count);
        let tokens = tokens.fold(0.0, f32::max);
        for (name, columns) in &self.columns {
            for (suffix, of) in [(COUNTS, vec![columns.count]), (SUMS, columns.sums.clone())] {
                tensors.push(GgufTensor {
                    name: format!("{name}{suffix}"),
                    shape: vec![of.len()],
                    dtype: GgufDtype::F32,
                });
                values.push(of);
            }
        }
        let metadata = [
            ("general.type", Value::String("imatrix".to_owned())),
            ("imatrix.datasets", Value::Strings(vec![dataset.to_owned()])),
            ("imatrix.chunk_count", Value::U32(1)),
            ("imatrix.chunk_size", Value::U32(tokens as u32)),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        write_gguf(path, &metadata, &tensors, |index, _, rows| {
            rows.copy_from_slice(&values[index]);
            Ok(())
        })
    }
}

fn from_gguf(file: &GgufFile) -> Result<Importance, Fault> {
    if file.metadata("general.type").and_then(Value::as_str) != Some("imatrix") {
        return Err(
            Fault::new("no importance matrix: general.type is not \"imatrix\"")
                .hint("name a dataset, or a file that llama-imatrix wrote"),
        );
    }
    let mut columns = BTreeMap::new();
    for name in file.tensor_names() {
        let Some(matrix) = name.strip_suffix(SUMS) else {
            continue;
        };
        let values = |name: &str| file.tensor(name).map(|tensor| tensor.to_f32());
        let counts = values(&format!("{matrix}{COUNTS}")).unwrap_or_default();
        let [count] = counts[..] else {
            return Err(Fault::new(format!(
                "{matrix} has {} counts, expected one",
                counts.len()
            )));
        };
        let sums = values(name).unwrap_or_default();
        if count > 0.0 {
            columns.insert(matrix.to_owned(), Columns::new(sums, count));
        }
    }
    Ok(Importance { columns })
}

/// The older file: a number of entries, and for each its name, the calls that it is of, and its weights times those.
fn from_dat(bytes: &[u8]) -> Result<Importance, Fault> {
    let none = || {
        Fault::new("no importance matrix, or one that was cut off")
            .hint("name a dataset, or a file that llama-imatrix wrote")
    };
    let mut file = Dat(bytes);
    let mut columns = BTreeMap::new();
    for _ in 0..file.number().ok_or_else(none)? {
        let (name, entry) = file.entry().ok_or_else(none)?;
        columns.insert(name, entry);
    }
    match columns.is_empty() {
        true => Err(none()),
        false => Ok(Importance { columns }),
    }
}

/// What is left of an older file.
struct Dat<'a>(&'a [u8]);

impl<'a> Dat<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.first_chunk::<4>()?;
        i32::from_le_bytes(*bytes).try_into().ok()
    }

    fn entry(&mut self) -> Option<(String, Columns)> {
        let length = self.number()?;
        let name = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        let calls = self.number()?.max(1) as f32;
        let count = self.number()?;
        let bytes = self.take(count.checked_mul(4)?)?;
        let sums = bytes.as_chunks::<4>().0.iter();
        let sums = sums.map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Some((name, Columns::new(sums, calls)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_that_are_written_are_read_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let sums = BTreeMap::from([
            ("blk.0.attn_q.weight".to_owned(), vec![0.1, 7.0e-9, 123.456]),
            ("blk.1.attn_q.weight".to_owned(), vec![0.0; 3]),
        ]);
        let made = Importance::of_sums(sums, 2999);
        let path = dir.path().join("i.gguf");
        made.write(&path, "rows").unwrap();
        assert_eq!(Importance::read(&path).unwrap(), made);
    }

    #[test]
    fn the_older_file_is_read_and_one_that_was_cut_off_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i.dat");
        let mut bytes = Vec::new();
        bytes.extend(1i32.to_le_bytes());
        bytes.extend(5i32.to_le_bytes());
        bytes.extend(b"a.w.t");
        bytes.extend(4i32.to_le_bytes()); // calls
        bytes.extend(2i32.to_le_bytes());
        bytes.extend([8.0f32, 2.0].into_iter().flat_map(f32::to_le_bytes));
        std::fs::write(&path, &bytes).unwrap();
        let read = Importance::read(&path).unwrap();
        assert_eq!(read.of("a.w.t"), Some(&[2.0, 0.5][..]));
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Importance::read(&path).is_err(), "{length}");
        }
    }
}
