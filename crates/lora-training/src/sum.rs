//! Sums gradients over one fixed binary tree.

/// A sum of vectors, pair by pair: leaves 0 and 1, leaves 2 and 3, then those two sums, and so on; where the leaves end, a
/// sum without a partner goes up as it is. Which additions are made depends on a leaf's number alone, not on who computed
/// it or when, so that runs on several processes can share the leaves and find the same bits.
#[derive(Debug)]
pub(crate) struct TreeSum {
    length: usize,
    /// The first of them hold the sums of `leaves`; the others are free.
    buffers: Vec<Vec<f32>>,
    /// Leaves in each live sum, larger ones first.
    leaves: Vec<usize>,
}

/// Vectors that a sum of so many leaves holds at most, at least one: ⌊log₂ leaves⌋ + 1.
pub fn gradient_buffers(leaves: usize) -> usize {
    leaves.max(1).ilog2() as usize + 1
}

impl TreeSum {
    /// A sum of vectors of this length; memory is taken as it is needed.
    pub(crate) fn new(length: usize) -> Self {
        Self {
            length,
            buffers: vec![vec![0.0; length]],
            leaves: Vec::new(),
        }
    }

    /// Forgets all leaves.
    pub(crate) fn clear(&mut self) {
        self.leaves.clear();
    }

    /// The next leaf, all zero, to be filled before [`TreeSum::add`].
    pub(crate) fn leaf(&mut self) -> &mut [f32] {
        let at = self.leaves.len();
        if at == self.buffers.len() {
            self.buffers.push(vec![0.0; self.length]);
        }
        self.leaves.push(1);
        self.buffers[at].fill(0.0);
        &mut self.buffers[at]
    }

    /// Takes the leaf in: adds up whatever subtrees are complete.
    pub(crate) fn add(&mut self) {
        while let [.., left, right] = self.leaves[..]
            && left == right
        {
            self.join();
        }
    }

    /// The sum of all leaves.
    pub(crate) fn total(&mut self) -> &[f32] {
        while self.leaves.len() > 1 {
            self.join();
        }
        self.values()
    }

    /// The sum, after [`TreeSum::total`].
    pub(crate) fn values(&self) -> &[f32] {
        &self.buffers[0]
    }

    /// Adds the last live sum to the one before it.
    fn join(&mut self) {
        let Some(joined) = self.leaves.pop() else {
            return;
        };
        let at = self.leaves.len();
        let (left, right) = self.buffers.split_at_mut(at);
        for (sum, value) in left[at - 1].iter_mut().zip(&right[0]) {
            *sum += value;
        }
        self.leaves[at - 1] += joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree by its definition: a node is the sum of its halves, or the one half that has leaves.
    fn node(leaves: &[f32], first: usize, width: usize) -> Option<f32> {
        if first >= leaves.len() {
            return None;
        }
        if width == 1 {
            return Some(leaves[first]);
        }
        let left = node(leaves, first, width / 2)?;
        let right = node(leaves, first + width / 2, width / 2);
        Some(right.map_or(left, |right| left + right))
    }

    #[test]
    fn sums_follow_the_tree_in_logarithmic_memory() {
        let values: Vec<f32> = (0..40).map(|i| (i as f32 * 0.37).sin() * 1e3).collect();
        let mut sum = TreeSum::new(1);
        for n in 1..=40 {
            sum.clear();
            for &value in &values[..n] {
                sum.leaf()[0] += value;
                sum.add();
            }
            let wanted = node(&values[..n], 0, n.next_power_of_two()).unwrap_or_default();
            assert_eq!(sum.total()[0].to_bits(), wanted.to_bits(), "{n} leaves");
            assert!(sum.buffers.len() <= gradient_buffers(n), "{n} leaves");
        }
        assert_eq!(sum.buffers.len(), gradient_buffers(40));
        let plain: f32 = values.iter().sum();
        assert!(
            sum.values()[0] != plain,
            "the order of the sum is not tested"
        );
    }

    #[test]
    fn a_sum_that_was_broken_off_leaves_nothing_behind() {
        let mut sum = TreeSum::new(2);
        sum.leaf().fill(7.0);
        sum.add();
        sum.leaf().fill(5.0);
        sum.clear();
        sum.leaf()[1] += 1.0;
        sum.add();
        assert_eq!(sum.total(), [0.0, 1.0]);
    }
}
