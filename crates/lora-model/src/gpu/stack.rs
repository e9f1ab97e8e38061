//! The matrices of all experts of a layer in one piece of memory, dense or as the file's blocks, of which one expert's are
//! widened at a time. Each has columns for factors behind its own.
use super::group::{blocks_of, store};
use super::load::Loader;
use crate::spec::Projection;
use crate::{Base, Error};
use lora_checkpoint::{StorageDtype, TensorView};
use lora_gpu::{Dtype, Gpu, Mat, Tensor, Widen};

/// The matrices of all experts, each (rows, columns + factors), end to end.
#[derive(Debug)]
pub(super) struct Stack {
    size: StackSize,
    stored: Stored,
}

/// A stack as memory sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct StackSize {
    pub(super) experts: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Columns for factors behind those of the weights.
    pub(super) factors: usize,
    /// Bytes of the blocks of all experts, if it is held so.
    pub(super) blocks: Option<usize>,
}

impl StackSize {
    /// Values of one expert.
    fn values(self) -> usize {
        self.rows * (self.columns + self.factors)
    }

    pub(super) fn bytes(self, act: usize) -> usize {
        self.blocks.unwrap_or(act * self.experts * self.values())
    }

    /// Values of an expert's matrix if it is widened at each use.
    pub(super) fn widened(self) -> usize {
        self.blocks.map_or(0, |_| self.values())
    }

    /// Values of the factors A of all experts.
    pub(super) fn a_values(self) -> usize {
        self.experts * self.factors * self.columns
    }

    /// Values of the factors in an expert's matrix if it is widened.
    pub(super) fn widened_factors(self) -> usize {
        self.blocks.map_or(0, |_| self.rows * self.factors)
    }
}

/// How the matrices are held.
#[derive(Debug)]
enum Stored {
    /// (E·rows, columns + factors).
    Dense(Tensor),
    /// For each projection the blocks of all experts, as the file has them.
    Blocks(Vec<(Tensor, Widen)>),
}

impl Stack {
    /// Some projections of all experts of a layer, with room for so many columns of factors.
    pub(super) fn load(
        base: &Base,
        loader: &mut Loader<'_>,
        (layer, projections): (usize, &[Projection]),
        factors: usize,
    ) -> Result<Self, Error> {
        let views = views(base, layer, projections)?;
        let first = |views: &Vec<TensorView<'_>>| views.first().map_or((0, 0), of_view);
        let shapes: Vec<(usize, usize)> = views.iter().map(first).collect();
        let mut size = StackSize {
            experts: views.first().map_or(0, Vec::len),
            rows: shapes.iter().map(|(rows, _)| rows).sum(),
            columns: shapes.first().map_or(0, |(_, columns)| *columns),
            factors,
            blocks: None,
        };
        let stored = match kinds(&views) {
            Some(kinds) => {
                let (stored, bytes) = in_blocks(loader.gpu(), &views, kinds)?;
                size.blocks = Some(bytes);
                Stored::Blocks(stored)
            }
            None => Stored::Dense(dense(loader, &views, size)?),
        };
        Ok(Self { size, stored })
    }

    pub(super) fn size(&self) -> StackSize {
        self.size
    }

    /// Whether an expert's matrix is widened at each use.
    pub(super) fn is_widened(&self) -> bool {
        matches!(self.stored, Stored::Blocks(_))
    }

    /// The matrices of all experts, (E·rows, columns + factors), if they are dense.
    pub(super) fn dense(&self) -> Option<Mat<'_>> {
        let StackSize { experts, rows, .. } = self.size;
        match &self.stored {
            Stored::Dense(dense) => Some(dense.mat(experts * rows, self.stride())),
            Stored::Blocks(_) => None,
        }
    }

    fn stride(&self) -> usize {
        self.size.columns + self.size.factors
    }

    /// The matrix of an expert, (rows, columns + factors). Blocks are widened into `wide`, which holds it until its next use;
    /// the factors' columns are then whatever stood there.
    pub(super) fn matrix<'t>(
        &'t self,
        gpu: &Gpu,
        expert: usize,
        wide: &'t Tensor,
    ) -> Result<Mat<'t>, lora_gpu::Error> {
        let StackSize {
            experts,
            rows,
            columns,
            ..
        } = self.size;
        let blocks = match &self.stored {
            Stored::Dense(dense) => {
                let all = dense.mat(experts * rows, self.stride());
                return Ok(all.of_rows(expert * rows..(expert + 1) * rows));
            }
            Stored::Blocks(blocks) => blocks,
        };
        let all = wide.mat(rows, self.stride());
        let height = rows / blocks.len();
        for (i, (blocks, kind)) in blocks.iter().enumerate() {
            let first = expert * (blocks.len() / experts);
            let to = all.of_rows(i * height..(i + 1) * height);
            gpu.widen(*kind, blocks, first, to.of_columns(0..columns))?;
        }
        Ok(all)
    }
}

fn of_view(view: &TensorView<'_>) -> (usize, usize) {
    (view.rows(), view.columns())
}

/// The weights of all experts of a layer at some projections: for each of these, by expert.
fn views<'b>(
    base: &'b Base,
    layer: usize,
    projections: &[Projection],
) -> Result<Vec<Vec<TensorView<'b>>>, Error> {
    let config = base.config();
    let (Some(own), Some(names)) = (config.experts_of(layer), config.facts().experts) else {
        return Ok(Vec::new());
    };
    let view = |expert, projection| {
        let path = names.of(expert, projection);
        let name = format!("model.layers.{layer}.{path}.weight");
        Ok(base.checkpoint().tensor(&name)?)
    };
    let of_all = |&projection| (0..own.count).map(|e| view(e, projection)).collect();
    projections.iter().map(of_all).collect()
}

/// The blocks of each projection, if all its experts are in blocks of one kind that the device can widen.
fn kinds(views: &[Vec<TensorView<'_>>]) -> Option<Vec<Widen>> {
    let of_one = |views: &Vec<TensorView<'_>>| {
        let first = expert_blocks(views.first()?)?;
        let are_alike = views.iter().all(|view| expert_blocks(view) == Some(first));
        are_alike.then_some(first)
    };
    views.iter().map(of_one).collect()
}

/// The block format of an expert's weight that the device can widen.
fn expert_blocks(view: &TensorView<'_>) -> Option<Widen> {
    match view.dtype() {
        StorageDtype::Mxfp4Apart => Some(Widen::Mxfp4), // brought into GGUF's layout
        _ => blocks_of(view),
    }
}

/// Bytes of the blocks of all experts of a layer at some projections, if they would be held so.
pub(super) fn blocks_in(base: &Base, layer: usize, projections: &[Projection]) -> Option<usize> {
    let views = views(base, layer, projections).ok()?;
    kinds(&views)?;
    Some(views.iter().flatten().map(TensorView::stored_bytes).sum())
}

/// The matrices of all experts with zeros behind them.
fn dense(
    loader: &mut Loader<'_>,
    views: &[Vec<TensorView<'_>>],
    size: StackSize,
) -> Result<Tensor, Error> {
    let values = size.experts * size.values();
    let gpu = loader.gpu();
    let dense = gpu.activations(values)?;
    if size.factors > 0 {
        gpu.zero(&dense, values)?;
    }
    let all = dense.mat(size.experts * size.rows, size.columns + size.factors);
    let all = all.of_columns(0..size.columns);
    let mut above = 0;
    for views in views {
        let mut height = 0;
        for (expert, view) in views.iter().enumerate() {
            height = view.rows();
            let first = expert * size.rows + above;
            loader.matrix(view, all.of_rows(first..first + height))?;
        }
        above += height;
    }
    Ok(dense)
}

/// The blocks of all experts end to end for each projection, and their bytes together.
fn in_blocks(
    gpu: &Gpu,
    views: &[Vec<TensorView<'_>>],
    kinds: Vec<Widen>,
) -> Result<(Vec<(Tensor, Widen)>, usize), Error> {
    let mut stored = Vec::new();
    let mut bytes = 0;
    for (views, kind) in views.iter().zip(kinds) {
        let len = views.iter().map(TensorView::stored_bytes).sum();
        let all = gpu.alloc(Dtype::U8, len)?;
        let mut first = 0;
        for view in views {
            match view.mxfp4_as_in_gguf() {
                Some(blocks) => gpu.upload_bytes(checked(view, &blocks)?, &all, first)?,
                None => store(gpu, view, &all, first)?,
            }
            first += view.stored_bytes();
        }
        bytes += len;
        stored.push((all, kind));
    }
    Ok((stored, bytes))
}

/// Blocks whose exponents are numbers: readers of folders and of GGUF take 255 for different ones.
fn checked<'v>(view: &TensorView<'_>, blocks: &'v [u8]) -> Result<&'v [u8], Error> {
    let (_, bytes) = Widen::Mxfp4.block();
    match blocks.iter().step_by(bytes).any(|&e| e == 255) {
        false => Ok(blocks),
        true => {
            let name = view.name();
            let message =
                format!("{name}: a block of MXFP4 has the exponent 255, which is no number");
            Err(Error::invalid(message)
                .hint("the model's file holds it: was the download or the copy damaged?"))
        }
    }
}
