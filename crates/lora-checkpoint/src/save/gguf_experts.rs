//! Rows of a GGUF tensor that holds the matrices of all experts of a layer.
use super::dtype::GgufDtype;
use super::gguf::GgufTensor;
use crate::error::Fault;
use crate::view::TensorView;

/// Whether the blocks of experts are written as they are.
pub(super) fn stay_mxfp4(tensor: &GgufTensor, views: &[TensorView<'_>]) -> bool {
    tensor.dtype == GgufDtype::Mxfp4 && views.iter().all(TensorView::is_mxfp4)
}

/// Blocks of MXFP4 of a tensor that holds several matrices of as many rows: those of rows with so many values.
pub(super) fn mxfp4_experts(
    views: &[TensorView<'_>],
    first: usize,
    values: usize,
) -> Result<Vec<u8>, Fault> {
    let (each, columns) = (views[0].rows(), views[0].columns());
    let mut all = Vec::new();
    let (mut row, mut left) = (first, values / columns);
    while left > 0 {
        let (view, own) = (&views[row / each], row % each);
        let count = (each - own).min(left);
        let blocks = view.mxfp4_rows(own, count);
        let blocks = blocks.ok_or_else(|| format!("{} is not in blocks of MXFP4", view.name()))?;
        blocks.check()?;
        all.extend(blocks.to_gguf());
        (row, left) = (row + count, left - count);
    }
    Ok(all)
}

/// Rows of a tensor that holds several matrices of as many rows.
pub(super) fn read_experts(views: &[TensorView<'_>], first: usize, rows: &mut [f32]) {
    let (each, columns) = (views[0].rows(), views[0].columns());
    let (mut row, mut rest) = (first, rows);
    while !rest.is_empty() {
        let (view, own) = (&views[row / each], row % each);
        let count = (each - own).min(rest.len() / columns);
        let (part, after) = rest.split_at_mut(count * columns);
        view.read_rows(own, part);
        (row, rest) = (row + count, after);
    }
}
