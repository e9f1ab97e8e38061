//! Encoded rows as they wait to be written: bytes of a form of our own, packed batch by batch.
use lora_cli::{Error, Foreign as _, Result};
use lora_data::{Example, IGNORE, Spool};

/// How much a batch is packed: the quickest way.
const LEVEL: i32 = 1;

/// An encoded row, and the values of the columns that are kept beside it. Its group is known elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) example: Example,
    pub(crate) kept: Vec<Option<String>>,
}

/// Rows of a batch, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Batch(Vec<u8>);

/// The same, packed.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    size: usize,
    bytes: Vec<u8>,
}

impl Batch {
    /// Puts a row behind the others.
    pub(crate) fn push(&mut self, row: &Stored) {
        let Example {
            input_ids,
            labels,
            id,
            prompt,
            completion,
            group: _,
        } = &row.example;
        self.number(input_ids.len());
        for id in input_ids {
            self.0.extend(id.to_le_bytes());
        }
        // Where what is learned begins and ends: runs of either, the first of what is not.
        let mut is_learned = false;
        let mut run = 0;
        let mut runs = Vec::new();
        for label in labels {
            if is_learned != (*label != IGNORE) {
                runs.push(std::mem::take(&mut run));
                is_learned = !is_learned;
            }
            run += 1;
        }
        runs.push(run);
        self.number(runs.len());
        runs.into_iter().for_each(|run| self.number(run));
        self.text(id);
        self.text(prompt);
        self.text(completion);
        for value in &row.kept {
            self.0.push(u8::from(value.is_some()));
            self.text(value.as_deref().unwrap_or_default());
        }
    }

    fn number(&mut self, number: usize) {
        self.0.extend((number as u32).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend(text.as_bytes());
    }

    pub(crate) fn pack(&self) -> Result<Packed> {
        Ok(Packed {
            size: self.0.len(),
            bytes: zstd::bulk::compress(&self.0, LEVEL).foreign()?,
        })
    }
}

/// All rows that were encoded, in their order.
#[derive(Debug)]
pub(crate) struct Store {
    spool: Spool,
    /// Of each batch: bytes in the spool, and unpacked.
    batches: Vec<(u32, u32)>,
    columns: usize,
}

impl Store {
    /// Nothing yet; each row will have so many kept columns.
    pub(crate) fn new(spool: Spool, columns: usize) -> Self {
        Self {
            spool,
            batches: Vec::new(),
            columns,
        }
    }

    /// Puts a batch behind the others.
    pub(crate) fn push(&mut self, batch: &Packed) -> Result<()> {
        if batch.size == 0 {
            return Ok(());
        }
        self.spool.push(&batch.bytes).map_err(no_room)?;
        let size = |bytes: usize| u32::try_from(bytes).foreign();
        self.batches
            .push((size(batch.bytes.len())?, size(batch.size)?));
        Ok(())
    }

    /// Gives all rows, one after the other.
    pub(crate) fn each(&mut self, mut take: impl FnMut(Stored) -> Result<()>) -> Result<()> {
        let mut start = 0;
        for (packed, size) in &self.batches {
            let mut bytes = vec![0; *packed as usize];
            self.spool.read(start, &mut bytes).map_err(no_room)?;
            start += u64::from(*packed);
            let bytes = zstd::bulk::decompress(&bytes, *size as usize).foreign()?;
            let mut rest = Rest(&bytes);
            while !rest.0.is_empty() {
                let row = rest.row(self.columns);
                take(row.ok_or_else(|| Error::new("rows that waited on disk have changed"))?)?;
            }
        }
        Ok(())
    }
}

/// The system refused to write or read what waits.
pub(crate) fn no_room(error: std::io::Error) -> Error {
    Error::foreign(error)
        .context("rows could not wait on disk")
        .hint("they need about as much room beside the output as the dataset itself")
}

/// What is left of a batch.
struct Rest<'b>(&'b [u8]);

impl Rest<'_> {
    fn row(&mut self, columns: usize) -> Option<Stored> {
        let ids = self.number()?;
        let input_ids: Vec<u32> = (0..ids)
            .map(|_| self.number().map(|id| id as u32))
            .collect::<Option<_>>()?;
        let mut labels = Vec::with_capacity(ids);
        for run in 0..self.number()? {
            let ids = input_ids.get(labels.len()..labels.len() + self.number()?)?;
            let label = |id: &u32| {
                if run % 2 == 1 {
                    id.cast_signed()
                } else {
                    IGNORE
                }
            };
            labels.extend(ids.iter().map(label));
        }
        let example = Example {
            input_ids,
            labels,
            id: self.text()?,
            group: String::new(),
            prompt: self.text()?,
            completion: self.text()?,
        };
        let mut kept = Vec::new();
        for _ in 0..columns {
            let is_there = self.bytes(1)? == [1];
            let text = self.text()?;
            kept.push(is_there.then_some(text));
        }
        Some(Stored { example, kept })
    }

    fn bytes(&mut self, count: usize) -> Option<&[u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.bytes(4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()?;
        String::from_utf8(self.bytes(length)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows come out as they went in, whether they waited in memory or on disk.
    #[test]
    fn rows_that_waited_are_what_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let row = |n: u32| {
            let input_ids: Vec<u32> = (n..n + 3 + n % 5).collect();
            let label = |id: &u32| {
                if id % 3 == n % 3 {
                    id.cast_signed()
                } else {
                    IGNORE
                }
            };
            Stored {
                example: Example {
                    labels: input_ids.iter().map(label).collect(),
                    input_ids,
                    id: n.to_string(),
                    group: String::new(),
                    prompt: "Frage ä ".repeat(n as usize % 4),
                    completion: "a".repeat(n as usize),
                },
                kept: vec![
                    n.is_multiple_of(2).then(|| n.to_string()),
                    Some(String::new()),
                ],
            }
        };
        for memory in [0, 100, 1 << 20] {
            let mut store = Store::new(Spool::new(memory, folder.path()), 2);
            for batch in 0..5 {
                let mut rows = Batch::default();
                (10 * batch..10 * batch + 10).for_each(|n| rows.push(&row(n)));
                store.push(&rows.pack().unwrap()).unwrap();
                store.push(&Batch::default().pack().unwrap()).unwrap();
            }
            for _ in 0..2 {
                let mut n = 0;
                store
                    .each(|stored| {
                        assert_eq!(stored, row(n));
                        n += 1;
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(n, 50);
            }
        }
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "the file has no name");
    }
}
