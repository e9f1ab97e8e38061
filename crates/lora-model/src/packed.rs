//! Sequences laid end to end: what a route runs on.

/// The label of a position that is not supervised (the Hugging Face convention).
pub const IGNORE: i32 = -100;

/// Several sequences laid end to end, without padding; attention never crosses a boundary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packed {
    /// Ids of all sequences, T values.
    pub input_ids: Vec<u32>,
    /// T values; −100 = not supervised. Position t of a sequence predicts its label t+1 (the shift happens in the loss).
    pub labels: Vec<i32>,
    /// Cumulative lengths: sequence i is `starts[i]..starts[i + 1]`.
    pub starts: Vec<usize>,
}

impl Packed {
    /// Packs rows of (input_ids, labels).
    ///
    /// # Panics
    /// If a row's ids and labels differ in length.
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = (&'a [u32], &'a [i32])>) -> Self {
        let mut packed = Self {
            starts: vec![0],
            ..Self::default()
        };
        for (ids, labels) in rows {
            assert_eq!(ids.len(), labels.len(), "a row has a label for each id");
            packed.input_ids.extend_from_slice(ids);
            packed.labels.extend_from_slice(labels);
            packed.starts.push(packed.input_ids.len());
        }
        packed
    }

    /// One unsupervised sequence.
    #[must_use]
    pub fn of_ids(ids: &[u32]) -> Self {
        Self {
            input_ids: ids.to_vec(),
            labels: vec![IGNORE; ids.len()],
            starts: vec![0, ids.len()],
        }
    }

    /// Tokens, T.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// Sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Predictions that are supervised, after the shift (the first position of a sequence is never predicted).
    #[must_use]
    pub fn supervised(&self) -> usize {
        self.targets().count()
    }

    /// (sequence, row whose hidden state predicts, target id) of every supervised prediction, in order.
    pub fn targets(&self) -> impl Iterator<Item = (usize, usize, u32)> + '_ {
        self.starts
            .windows(2)
            .enumerate()
            .flat_map(move |(sequence, w)| {
                (w[0] + 1..w[1])
                    .filter(|&t| self.labels[t] >= 0)
                    .map(move |t| (sequence, t - 1, self.labels[t] as u32))
            })
    }

    /// Position of every token within its sequence.
    pub fn positions(&self) -> impl Iterator<Item = u32> + '_ {
        self.starts.windows(2).flat_map(|w| 0..(w[1] - w[0]) as u32)
    }

    /// The longest sequence, tokens.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.starts
            .windows(2)
            .map(|w| w[1] - w[0])
            .max()
            .unwrap_or(0)
    }

    /// Refuses ids and labels outside a vocabulary, so that no kernel meets one.
    ///
    /// # Errors
    /// Names the first id that is outside.
    pub fn check_vocabulary(&self, vocabulary: usize) -> Result<(), crate::Error> {
        let labels = self.labels.iter().filter(|&&l| l >= 0).map(|&l| l as u32);
        match self
            .input_ids
            .iter()
            .copied()
            .chain(labels)
            .find(|&id| id as usize >= vocabulary)
        {
            None => Ok(()),
            Some(id) => Err(crate::Error::invalid(format!(
                "token id {id} is outside the model's vocabulary of {vocabulary}"
            ))
            .hint("prepare the dataset with this base's tokenizer")),
        }
    }
}
