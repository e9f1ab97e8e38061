//! Heads, their widths and places, and the blocks of heads that are computed together.

/// Most heads of a block: those have what is shared in a group in common, and blocks run side by side.
const BLOCK: usize = 8;

/// Heads and their widths. B and C of each group serve `heads / groups` neighbouring heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Heads.
    pub heads: usize,
    /// Groups of heads.
    pub groups: usize,
    /// Width of a head of x and of the output.
    pub width: usize,
    /// Width of B and C.
    pub state: usize,
}

/// Neighbouring heads of one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Its number among all.
    pub(super) index: usize,
    pub(super) group: usize,
    pub(super) first: usize,
    pub(super) heads: usize,
}

impl Shape {
    /// Columns of x, B and C side by side: what the convolution runs over.
    #[must_use]
    pub fn columns(self) -> usize {
        self.values() + 2 * self.groups * self.state
    }

    /// Columns of x, and of the output.
    #[must_use]
    pub fn values(self) -> usize {
        self.heads * self.width
    }

    /// Values of a head's state.
    #[must_use]
    pub fn state_len(self) -> usize {
        self.state * self.width
    }

    /// First column of a group's B.
    pub(super) fn keys(self, group: usize) -> usize {
        self.values() + group * self.state
    }

    /// First column of a group's C.
    pub(super) fn queries(self, group: usize) -> usize {
        self.values() + (self.groups + group) * self.state
    }

    /// Blocks of a group.
    fn blocks_of_group(self) -> usize {
        (self.heads / self.groups).div_ceil(BLOCK)
    }

    /// Blocks of all groups.
    pub(super) fn blocks(self) -> usize {
        self.groups * self.blocks_of_group()
    }

    /// Heads of the largest block.
    pub(super) fn block_heads(self) -> usize {
        BLOCK.min(self.heads / self.groups)
    }

    /// A block of heads.
    pub(super) fn block(self, index: usize) -> Block {
        let each = self.heads / self.groups;
        let (group, place) = (
            index / self.blocks_of_group(),
            index % self.blocks_of_group(),
        );
        Block {
            index,
            group,
            first: group * each + place * BLOCK,
            heads: BLOCK.min(each - place * BLOCK),
        }
    }

    /// # Panics
    /// If a width is 0 or heads do not fall into groups.
    pub(super) fn check(self) {
        let widths = [self.heads, self.groups, self.width, self.state];
        assert!(
            !widths.contains(&0) && self.heads.is_multiple_of(self.groups),
            "{} heads do not fall into {} groups",
            self.heads,
            self.groups
        );
    }
}
