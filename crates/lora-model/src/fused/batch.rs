//! A pack as the fused route computes it: tokens that several sequences begin with stand once. Under causal attention a
//! row depends only on the tokens before it, so that sharing changes no value; its gradient is the sum over its sequences.
use crate::Packed;
use lora_checkpoint::ModelConfig;
use lora_kernels::layout::{Layout, Segment, Span};

/// Fewer saved rows than this are not worth an own segment.
const WORTH_SHARING: usize = 8;

/// Whether tokens that several sequences begin with are computed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefixes {
    /// Once, for all of them.
    Shared,
    /// For each sequence.
    Separate,
}

impl Prefixes {
    /// Whether a model can share at all: a layer that keeps a state would have to begin with another's.
    pub(crate) fn of(config: &ModelConfig, may_share: bool) -> Self {
        match may_share && !config.is_recurrent() {
            true => Self::Shared,
            false => Self::Separate,
        }
    }
}

/// The row of the first key of a segment whose keys are neighbouring rows.
pub(crate) fn neighbours(layout: &Layout, segment: &Segment) -> Option<usize> {
    let seen = segment.past + segment.queries;
    let spans: Vec<_> = layout.spans(segment, 0..seen).map(|(_, s)| s).collect();
    let mut pairs = spans.windows(2);
    let is_one = pairs.all(|pair| pair[0].start + pair[0].len == pair[1].start);
    Some(spans.first()?.start).filter(|_| is_one)
}

/// Rows to compute, and what is asked of them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Id of each row, (T).
    pub(crate) ids: Vec<u32>,
    /// Position of each row in its sequence, (T).
    pub(crate) positions: Vec<u32>,
    /// Which rows see which.
    pub(crate) layout: Layout,
    /// Tokens of the sequence that each segment belongs to; of those that share it, one of them.
    pub(crate) lengths: Vec<usize>,
    /// Spans of each sequence, in order of position.
    pub(crate) spans: Vec<Vec<Span>>,
}

impl Batch {
    /// All rows of a pack, those of common beginnings once if they are shared; but only sequences whose lengths have the same `kind`
    /// share rows (those whose rotary embedding is the same).
    pub(crate) fn of<K: PartialEq>(
        packed: &Packed,
        prefixes: Prefixes,
        kind: impl Fn(usize) -> K,
    ) -> Self {
        let sequences: Vec<&[u32]> = packed
            .starts
            .windows(2)
            .map(|w| &packed.input_ids[w[0]..w[1]])
            .collect();
        let mut batch = Self {
            spans: vec![Vec::new(); sequences.len()],
            ..Self::default()
        };
        let mut all: Vec<usize> = (0..sequences.len()).collect();
        while prefixes == Prefixes::Shared && !all.is_empty() {
            let first = kind(sequences[all[0]].len());
            let (alike, rest): (Vec<usize>, Vec<usize>) = all
                .iter()
                .partition(|&&s| kind(sequences[s].len()) == first);
            batch.branch(&sequences, &alike, 0, 0);
            all = rest;
        }
        all.iter().for_each(|&s| batch.leaf(&sequences, s, 0));
        batch
    }

    /// Rows to compute, T.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// How many sequences each row stands for, (T).
    pub(crate) fn sequences_of_rows(&self) -> Vec<u32> {
        let mut times = vec![0; self.tokens()];
        for span in self.spans.iter().flatten() {
            let rows = &mut times[span.start..span.start + span.len];
            rows.iter_mut().for_each(|times| *times += 1);
        }
        times
    }

    /// The row of a position of a sequence.
    pub(crate) fn row(&self, sequence: usize, position: usize) -> usize {
        let mut left = position;
        for span in &self.spans[sequence] {
            if left < span.len {
                return span.start + left;
            }
            left -= span.len;
        }
        unreachable!("position {position} of sequence {sequence} is in none of its spans")
    }

    /// Lays out the tokens from `from` on of `members`, which agree in their first `agreed` tokens: those that go on alike
    /// share rows, once that saves enough.
    fn branch(&mut self, sequences: &[&[u32]], members: &[usize], from: usize, agreed: usize) {
        let (mut open, ended): (Vec<usize>, Vec<usize>) =
            members.iter().partition(|&&s| sequences[s].len() > agreed);
        ended.iter().for_each(|&s| self.leaf(sequences, s, from));
        while let Some(&first) = open.first() {
            let next = sequences[first][agreed];
            let (alike, rest): (Vec<usize>, Vec<usize>) =
                open.iter().partition(|&&s| sequences[s][agreed] == next);
            open = rest;
            let common = alike[1..]
                .iter()
                .map(|&s| common(&sequences[first][agreed..], &sequences[s][agreed..]))
                .min();
            match common.map(|common| agreed + common) {
                None => self.leaf(sequences, first, from),
                Some(to) if (to - from) * (alike.len() - 1) >= WORTH_SHARING => {
                    self.segment(sequences, &alike, from, to);
                    self.branch(sequences, &alike, to, to);
                }
                Some(to) => self.branch(sequences, &alike, from, to),
            }
        }
    }

    /// The rest of one sequence.
    fn leaf(&mut self, sequences: &[&[u32]], sequence: usize, depth: usize) {
        if sequences[sequence].len() > depth {
            self.segment(sequences, &[sequence], depth, sequences[sequence].len());
        }
    }

    /// New rows for positions `from..to`, in which `members` agree.
    fn segment(&mut self, sequences: &[&[u32]], members: &[usize], from: usize, to: usize) {
        let own = Span {
            start: self.ids.len(),
            len: to - from,
        };
        if from == 0 {
            self.layout.start_tree();
        }
        self.ids.extend_from_slice(&sequences[members[0]][from..to]);
        self.positions.extend((from..to).map(|p| p as u32));
        members.iter().for_each(|&s| self.spans[s].push(own));
        self.lengths.push(sequences[members[0]].len());
        self.layout
            .push(own.start, own.len, self.spans[members[0]].iter().copied());
    }
}

/// Tokens in which both agree from the start.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(rows: &[&[u32]]) -> Packed {
        let labels: Vec<Vec<i32>> = rows
            .iter()
            .map(|r| r.iter().map(|&id| id as i32).collect())
            .collect();
        Packed::from_rows(rows.iter().zip(&labels).map(|(r, l)| (*r, &l[..])))
    }

    #[test]
    fn every_position_finds_its_token_and_shared_ones_stand_once() {
        let long: Vec<u32> = (0..20).collect();
        let other: Vec<u32> = (0..12).chain(50..60).collect();
        let rows: [&[u32]; 6] = [&long, &other, &long, &long[..12], &[7, 8, 9], &[]];
        for (prefixes, tokens) in [
            (Prefixes::Shared, 20 + 10 + 3),
            (Prefixes::Separate, 20 + 22 + 20 + 12 + 3),
        ] {
            let batch = Batch::of(&packed(&rows), prefixes, |_| ());
            assert_eq!(batch.tokens(), tokens);
            for (s, row) in rows.iter().enumerate() {
                for (p, &id) in row.iter().enumerate() {
                    let at = batch.row(s, p);
                    assert_eq!(
                        (batch.ids[at], batch.positions[at] as usize),
                        (id, p),
                        "sequence {s}, position {p}"
                    );
                }
            }
            assert_eq!(
                batch
                    .layout
                    .segments()
                    .iter()
                    .map(|s| s.queries)
                    .sum::<usize>(),
                tokens
            );
        }
    }

    #[test]
    fn sequences_of_another_kind_share_nothing() {
        let long: Vec<u32> = (0..20).collect();
        let rows: [&[u32]; 3] = [&long, &long[..19], &long];
        assert_eq!(
            Batch::of(&packed(&rows), Prefixes::Shared, |length| length > 19).tokens(),
            20 + 19
        );
    }

    #[test]
    fn a_short_beginning_is_not_shared() {
        let rows = packed(&[&[1, 2, 3, 4, 5], &[1, 2, 3, 9, 9]]);
        let batch = Batch::of(&rows, Prefixes::Shared, |_| ());
        assert_eq!(batch.tokens(), 10);
        assert_eq!(batch.layout.trees(), 2);
    }
}
