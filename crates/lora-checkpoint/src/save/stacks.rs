//! Stacks of experts in a folder that are turned round, or blocks of MXFP4 as the model has them.
use super::encode::{Encoder, Rows, SaveDtype};
use crate::Checkpoint;
use crate::error::{Error, Fault, Result, invalid, io};
use crate::stored::{Laid, Stored};
use crate::view::TensorView;
use std::io::Write;
use std::path::Path;

/// The tensors of a folder. Stacks of which all matrices are blocks of MXFP4 stay such blocks, unless they are to be widened.
pub(super) fn chosen(
    model: &Checkpoint,
    weights: Vec<(String, Vec<usize>)>,
) -> Result<Vec<Stored>, Error> {
    let mut all = Vec::new();
    for tensor in model.config().stored(weights) {
        match tensor.laid {
            Laid::Columns(parts) if !model.is_widened() && in_blocks(model, &tensor)? => {
                all.extend(tensor.in_blocks(parts));
            }
            _ => all.push(tensor),
        }
    }
    Ok(all)
}

/// Whether all matrices of a stack are in blocks of MXFP4.
fn in_blocks(model: &Checkpoint, tensor: &Stored) -> Result<bool, Error> {
    for name in &tensor.weights {
        if !model.tensor(name)?.is_mxfp4() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The weights of experts that a folder of a model holds in blocks of MXFP4, as the model has them.
///
/// # Errors
/// If a weight is missing.
pub fn weights_in_blocks(model: &Checkpoint) -> Result<Vec<String>, Error> {
    let all = chosen(model, model.config().weights())?;
    let in_blocks = all.into_iter().filter(Stored::is_of_bytes);
    Ok(in_blocks.flat_map(|tensor| tensor.weights).collect())
}

/// Whether some experts of a model are written in blocks.
pub(super) fn has_blocks(model: &Checkpoint) -> Result<bool, Error> {
    let weights = model.config().weights();
    let all = chosen(model, weights)?;
    Ok(all.iter().any(Stored::is_of_bytes))
}

/// Writes a stack expert by expert. `edit` sees the matrices; one in blocks it must leave as it is.
pub(super) fn write<E: From<Error>>(
    path: &Path,
    file: &mut impl Write,
    (model, tensor): (&Checkpoint, &Stored),
    dtype: SaveDtype,
    (encoder, rows): (&mut Encoder, &mut Vec<f32>),
    edit: &mut impl FnMut(&TensorView<'_>, usize, &mut [f32]) -> Result<(), E>,
) -> Result<(), E> {
    let parts = match tensor.laid {
        Laid::Whole => 1,
        Laid::Columns(parts) | Laid::Blocks(parts) | Laid::Exponents(parts) => parts,
    };
    let of = |fault: Fault| invalid(path, fault.at(format_args!("tensor {}", tensor.name)));
    for names in tensor.weights.chunks(parts) {
        let views = names.iter().map(|name| model.tensor(name));
        let views = views.collect::<Result<Vec<_>, Error>>()?;
        match tensor.laid {
            Laid::Blocks(_) | Laid::Exponents(_) => {
                if matches!(tensor.laid, Laid::Blocks(_)) {
                    unedited(&views, rows, edit, of)?;
                }
                let bytes = blocks(&views, tensor.laid).map_err(of)?;
                file.write_all(&bytes).map_err(io("write", path))?;
            }
            _ => {
                turned(&views, rows, edit)?;
                let chunk = Rows {
                    values: rows,
                    columns: rows.len(),
                    importance: None,
                };
                let bytes = encoder.encode(dtype.storage(), chunk).map_err(of)?;
                file.write_all(bytes).map_err(io("write", path))?;
            }
        }
    }
    Ok(())
}

/// The matrices or vectors of an expert turned round, their columns in turn.
fn turned<E>(
    views: &[TensorView<'_>],
    out: &mut Vec<f32>,
    edit: &mut impl FnMut(&TensorView<'_>, usize, &mut [f32]) -> Result<(), E>,
) -> Result<(), E> {
    let rows = views[0].shape().first().copied().unwrap_or(1);
    let inner = views[0].len() / rows;
    let parts = views.len();
    out.clear();
    out.resize(parts * rows * inner, 0.0);
    let mut values = Vec::new();
    for (part, view) in views.iter().enumerate() {
        values.resize(view.len(), 0.0);
        view.read_rows(0, &mut values);
        edit(view, 0, &mut values)?;
        for (row, values) in values.chunks_exact(inner).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                out[(column * rows + row) * parts + part] = value;
            }
        }
    }
    Ok(())
}

/// Shows matrices in blocks to `edit`, and refuses what it would change.
fn unedited<E: From<Error>>(
    views: &[TensorView<'_>],
    rows: &mut Vec<f32>,
    edit: &mut impl FnMut(&TensorView<'_>, usize, &mut [f32]) -> Result<(), E>,
    of: impl Fn(Fault) -> Error,
) -> Result<(), E> {
    for view in views {
        rows.resize(view.len(), 0.0);
        view.read_rows(0, rows);
        if rows.iter().any(|value| !value.is_finite()) {
            return Err(of(Fault::new("a block of MXFP4 holds no finite number")).into());
        }
        let before = rows.clone();
        edit(view, 0, rows)?;
        if *rows != before {
            let message = format!("{} would change, and is in blocks of MXFP4", view.name());
            let hint = "merge into the model's folder with experts in bf16";
            return Err(of(Fault::new(message).hint(hint)).into());
        }
    }
    Ok(())
}

/// The blocks of an expert's matrices, or their exponents, with rows in turn.
fn blocks(views: &[TensorView<'_>], laid: Laid) -> Result<Vec<u8>, Fault> {
    let mut all = Vec::new();
    for row in 0..views[0].rows() {
        for view in views {
            let blocks = view.mxfp4_rows(row, 1);
            let blocks =
                blocks.ok_or_else(|| format!("{} is not in blocks of MXFP4", view.name()))?;
            blocks.check()?;
            all.extend(match laid {
                Laid::Exponents(_) => blocks.exponents,
                _ => blocks.codes,
            });
        }
    }
    Ok(all)
}
