//! The order in which GGUF stores the rows or columns of a weight, where that is another than Hugging Face's.

/// An order of rows or columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// llama.cpp's converter lays each head of so many rows out as reshape(2, width/2) with the axes swapped: the halves
    /// (j, j + width/2) that rotate together become neighbours.
    Interleaved {
        /// Rows of a head.
        width: usize,
    },
    /// Of heads that key heads share, all first ones stand before all second ones: ggml repeats keys as a whole.
    Tiled(Tiled),
}

/// Heads by key head and place in its group, which GGUF stores by place and key head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tiled {
    /// Rows before them, which stay where they are.
    pub(crate) before: usize,
    /// Key heads.
    pub(crate) key_heads: usize,
    /// Heads that share one.
    pub(crate) group: usize,
    /// Rows of a head.
    pub(crate) width: usize,
}

impl Order {
    /// The stored place of Hugging Face's.
    pub(crate) fn stored(self, place: usize) -> usize {
        match self {
            Self::Interleaved { width } => {
                let (head, within) = (place / width, place % width);
                let (half, j) = (within / (width / 2), within % (width / 2));
                head * width + 2 * j + half
            }
            Self::Tiled(tiled) => tiled.moved(place, tiled.group, tiled.key_heads),
        }
    }

    /// The way back: Hugging Face's place of a stored one.
    pub(crate) fn hugging_face(self, place: usize) -> usize {
        match self {
            Self::Interleaved { width } => {
                let (head, within) = (place / width, place % width);
                head * width + within % 2 * (width / 2) + within / 2
            }
            Self::Tiled(tiled) => tiled.moved(place, tiled.key_heads, tiled.group),
        }
    }

    /// Places from `place` on that stay neighbours.
    pub(crate) fn run(self, place: usize) -> usize {
        match self {
            Self::Interleaved { .. } => 1,
            Self::Tiled(tiled) => match place.checked_sub(tiled.before) {
                None => tiled.before - place,
                Some(behind) => tiled.width - behind % tiled.width,
            },
        }
    }
}

impl Tiled {
    /// Head (outer, inner) of `inner` in each outer one becomes (inner, outer) of `outer`.
    fn moved(self, place: usize, inner: usize, outer: usize) -> usize {
        let Some(behind) = place.checked_sub(self.before) else {
            return place;
        };
        let (head, within) = (behind / self.width, behind % self.width);
        let head = head % inner * outer + head / inner;
        self.before + head * self.width + within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_is_llama_cpps_and_has_its_inverse() {
        // np.arange(8).reshape(1, 2, 4).swapaxes(1, 2).reshape(8): what the converter does to one head of 8 rows.
        let order = Order::Interleaved { width: 8 };
        let converted = [0, 4, 1, 5, 2, 6, 3, 7];
        for (stored, row) in converted.into_iter().enumerate() {
            assert_eq!(
                (order.stored(row), order.hugging_face(stored)),
                (stored, row)
            );
        }
        let order = Order::Interleaved { width: 12 };
        assert!((0..24).all(|row| order.hugging_face(order.stored(row)) == row));
    }

    #[test]
    fn tiles_are_llama_cpps_and_have_their_inverse() {
        // np.arange(12).reshape(2, 3, 2).swapaxes(0, 1).reshape(12): 2 key heads, 3 heads each, of 2 rows, behind 4 others.
        let order = Order::Tiled(Tiled {
            before: 4,
            key_heads: 2,
            group: 3,
            width: 2,
        });
        let converted = [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11];
        for (stored, row) in converted.into_iter().enumerate() {
            assert_eq!(
                (order.stored(row + 4), order.hugging_face(stored + 4)),
                (stored + 4, row + 4)
            );
        }
        assert!((0..4).all(|row| order.stored(row) == row && order.hugging_face(row) == row));
        assert_eq!([order.run(1), order.run(4), order.run(7)], [3, 2, 1]);
    }
}
