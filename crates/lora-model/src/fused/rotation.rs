//! Rotary tables: those of the rows of one pass, and those that are kept between passes.
use lora_checkpoint::Rope;
use lora_kernels::layout::Layout;
use lora_kernels::rope::Table;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The rotary table of every row: rows of one span share it.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    pub(super) spans: Vec<(Range<usize>, Arc<Table>)>,
}

/// Rotary tables kept between passes, by variant (see [`Rope::variant`]).
#[derive(Debug, Default)]
pub(super) struct Tables {
    by_variant: BTreeMap<usize, Arc<Table>>,
}

/// Variants above this belong to one length each, and are dropped after the pass that needed them.
const KEPT: usize = 1;

impl Tables {
    /// The tables of the rows of these segments, which belong to sequences of the given lengths.
    pub(super) fn rotation(&mut self, rope: &Rope, layout: &Layout, lengths: &[usize]) -> Rotation {
        let mut needed: BTreeMap<usize, usize> = BTreeMap::new();
        for &length in lengths {
            let longest = needed.entry(rope.variant(length)).or_default();
            *longest = length.max(*longest);
        }
        self.by_variant
            .retain(|variant, _| *variant <= KEPT || needed.contains_key(variant));
        for (&variant, &length) in &needed {
            let table = self.by_variant.get(&variant);
            if table.is_none_or(|t| t.positions() < length) {
                let frequencies = rope.inverse_frequencies(variant);
                let table = Table::new(
                    &frequencies,
                    |position| rope.factor(position),
                    length.next_multiple_of(256),
                );
                self.by_variant.insert(variant, Arc::new(table));
            }
        }
        let mut rotation = Rotation::default();
        for (s, &length) in layout.segments().iter().zip(lengths) {
            let rows = s.query_start..s.query_start + s.queries;
            let Some(table) = self.by_variant.get(&rope.variant(length)) else {
                continue;
            };
            match rotation.spans.last_mut() {
                Some((last, same)) if Arc::ptr_eq(same, table) && last.end == rows.start => {
                    last.end = rows.end
                }
                _ => rotation.spans.push((rows, Arc::clone(table))),
            }
        }
        rotation
    }
}
