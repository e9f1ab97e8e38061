//! Router and experts of a layer on the device. The matrices of all experts lie in one piece of memory, dense or as the file's
//! blocks, of which one expert's are widened at a time.
use super::expert_biases::Biases;
use super::group::{blocks_of, store};
use super::load::Loader;
use super::unit::{ExpertUnit, GIVES, READS};
use crate::fused::choice_of;
use crate::spec::Projection;
use crate::{Base, Error};
use lora_checkpoint::{Mlp, StorageDtype, TensorView};
use lora_gpu::{Dtype, Gpu, Mat, Tensor, Widen};
use lora_kernels::experts::Choice;

/// Router and experts.
#[derive(Debug)]
pub(super) struct Mixture {
    pub(super) choice: Choice,
    /// What is added to scores for the choice alone, (E), on the host, where a model has it.
    pub(super) choice_bias: Option<Vec<f32>>,
    pub(super) unit: ExpertUnit,
    hidden: usize,
    router: Tensor,
    /// Where a family has such.
    pub(super) biases: Option<Biases>,
    /// Gate and up of each expert, (2·I, H).
    pub(super) gate_up: Stack,
    /// Down of each, (H, I).
    pub(super) down: Stack,
}

/// The same as memory sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MixtureSize {
    /// Values of the router.
    pub(super) router: usize,
    /// Values of all biases.
    pub(super) biases: usize,
    pub(super) gate_up: StackSize,
    pub(super) down: StackSize,
}

impl MixtureSize {
    /// Bytes that it holds, with activations of `act` bytes.
    pub(super) fn bytes(self, act: usize) -> usize {
        let biases = size_of::<f32>() * self.biases;
        act * self.router + biases + self.gate_up.bytes(act) + self.down.bytes(act)
    }

    /// Values of the largest matrix that is widened at each use.
    pub(super) fn widened(self) -> usize {
        self.gate_up.widened().max(self.down.widened())
    }
}

/// The matrices of all experts, each (rows, columns), end to end.
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
    /// Bytes of the blocks of all experts, if it is held so.
    pub(super) blocks: Option<usize>,
}

impl StackSize {
    /// Values of one expert.
    fn values(self) -> usize {
        self.rows * self.columns
    }

    fn bytes(self, act: usize) -> usize {
        self.blocks.unwrap_or(act * self.experts * self.values())
    }

    fn widened(self) -> usize {
        self.blocks.map_or(0, |_| self.values())
    }
}

/// How the matrices are held.
#[derive(Debug)]
enum Stored {
    /// (E·rows, columns).
    Dense(Tensor),
    /// For each projection the blocks of all experts, as the file has them.
    Blocks(Vec<(Tensor, Widen)>),
}

impl Mixture {
    /// That of a layer, if it has one.
    pub(super) fn load(
        base: &Base,
        loader: &mut Loader<'_>,
        layer: usize,
    ) -> Result<Option<Self>, Error> {
        let config = base.config();
        let (Some(own), Some(names), Mlp::Gated(activation)) = (
            config.experts_of(layer),
            config.facts().experts,
            config.facts().mlp,
        ) else {
            return Ok(None);
        };
        let hidden = config.hidden_size;
        let name = format!("model.layers.{layer}.{}.weight", names.router);
        let router = loader.gpu().activations(own.count * hidden)?;
        let view = base.checkpoint().tensor(&name)?;
        loader.matrix(&view, router.mat(own.count, hidden))?;
        Ok(Some(Self {
            choice: choice_of(own),
            choice_bias: config
                .choice_bias(layer)
                .map(|name| Ok::<_, Error>(base.checkpoint().tensor(&name)?.to_f32()))
                .transpose()?,
            unit: ExpertUnit::of(own, activation),
            hidden,
            router,
            biases: match names.biased {
                true => Some(Biases::load(base, loader.gpu(), (layer, own, names))?),
                false => None,
            },
            gate_up: Stack::load(base, loader, (layer, READS))?,
            down: Stack::load(base, loader, (layer, GIVES))?,
        }))
    }

    /// The router, (E, H).
    pub(super) fn router(&self) -> Mat<'_> {
        self.router.mat(self.choice.experts, self.hidden)
    }

    /// I, the width of an expert.
    pub(super) fn width(&self) -> usize {
        self.down.size.columns
    }

    pub(super) fn size(&self) -> MixtureSize {
        MixtureSize {
            router: self.choice.experts * self.hidden,
            biases: self.biases.as_ref().map_or(0, Biases::len),
            gate_up: self.gate_up.size,
            down: self.down.size,
        }
    }
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

impl Stack {
    fn load(
        base: &Base,
        loader: &mut Loader<'_>,
        (layer, projections): (usize, &[Projection]),
    ) -> Result<Self, Error> {
        let views = views(base, layer, projections)?;
        let (experts, columns) = views.first().map_or((0, 0), |views| {
            (views.len(), views.first().map_or(0, TensorView::columns))
        });
        let heights: Vec<usize> = views
            .iter()
            .flat_map(|v| v.first())
            .map(|v| v.rows())
            .collect();
        let rows = heights.iter().sum();
        let (stored, blocks) = match kinds(&views) {
            Some(kinds) => {
                let (stored, bytes) = in_blocks(loader.gpu(), &views, kinds)?;
                (Stored::Blocks(stored), Some(bytes))
            }
            None => {
                let dense = loader.gpu().activations(experts * rows * columns)?;
                let all = dense.mat(experts * rows, columns);
                let mut above = 0;
                for (views, height) in views.iter().zip(heights) {
                    for (expert, view) in views.iter().enumerate() {
                        let first = expert * rows + above;
                        loader.matrix(view, all.of_rows(first..first + height))?;
                    }
                    above += height;
                }
                (Stored::Dense(dense), None)
            }
        };
        let size = StackSize {
            experts,
            rows,
            columns,
            blocks,
        };
        Ok(Self { size, stored })
    }

    /// The matrix of an expert, (rows, columns). Blocks are widened into `wide`, which holds it until its next use.
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
                let all = dense.mat(experts * rows, columns);
                return Ok(all.of_rows(expert * rows..(expert + 1) * rows));
            }
            Stored::Blocks(blocks) => blocks,
        };
        let all = wide.mat(rows, columns);
        let height = rows / blocks.len();
        for (i, (blocks, kind)) in blocks.iter().enumerate() {
            let first = expert * (blocks.len() / experts);
            let to = all.of_rows(i * height..(i + 1) * height);
            gpu.widen(*kind, blocks, first, to)?;
        }
        Ok(all)
    }
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
