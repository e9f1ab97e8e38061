//! Linear layers of one input as one matrix on the device: q, k and v; gate and up; or one alone. Its columns are the
//! layers' weights and, behind them, the factors B times their scaling, so that one product gives x·Wᵀ + s·u·Bᵀ, and one
//! the gradients of x and of u.
use super::kinds::{Kind, bias_gain, multipliers};
use super::load::Loader;
use crate::spec::Projection;
use crate::{Base, Error};
use lora_checkpoint::{StorageDtype, TensorView};
use lora_gpu::{Dtype, Gpu, Mat, Tensor, Widen};
use std::ops::Range;

/// Columns of factors are a multiple of this many: 16 bytes of bfloat16.
pub(super) const ALIGNED: usize = 8;

/// A linear layer in a group: its rows there.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) projection: Projection,
    pub(super) rows: Range<usize>,
}

/// Linear layers of one input.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) linears: Vec<Linear>,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Columns for factors behind those of the weights.
    pub(super) columns: usize,
    /// Whether there is memory for what DoRA's magnitudes scale.
    pub(super) has_magnitudes: bool,
    /// Whether there is memory for biases that train.
    pub(super) trains_biases: bool,
    stored: Stored,
    /// (outputs), where a layer has one; zeros for those that have none. Where outputs are multiplied, divided by what stands
    /// before it.
    pub(super) bias: Option<Tensor>,
    /// What outputs are multiplied by, f32 (outputs), where a model has factors around its linear layers.
    pub(super) multipliers: Option<Tensor>,
}

/// A group as memory sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupSize {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Columns for factors behind those of the weights.
    pub(super) columns: usize,
    /// Whether DoRA's magnitudes scale its outputs.
    pub(super) has_magnitudes: bool,
    /// Whether biases train there.
    pub(super) trains_biases: bool,
    /// Bytes of its blocks, if it is held so.
    pub(super) blocks: Option<usize>,
}

impl GroupSize {
    /// Values of its matrix with all columns.
    pub(super) fn values(self) -> usize {
        self.outputs * (self.inputs + self.columns)
    }

    /// Outputs that magnitudes scale.
    pub(super) fn scaled(self) -> usize {
        if self.has_magnitudes { self.outputs } else { 0 }
    }
}

/// How the weights are held.
#[derive(Debug)]
enum Stored {
    /// (outputs, inputs + columns).
    Dense(Tensor),
    /// As the file has them, layer by layer: widened when they are used.
    Blocks(Vec<(Tensor, Widen)>),
}

/// The block format of a weight that the device can widen: one whose columns lie in another order is widened on the host.
pub(super) fn blocks_of(view: &TensorView<'_>) -> Option<Widen> {
    if !view.has_columns_in_order() {
        return None;
    }
    let dtype = match view.dtype() {
        StorageDtype::Quantised(dtype) => dtype,
        StorageDtype::Mxfp4 => return Some(Widen::Mxfp4),
        _ => return None,
    };
    use candle_core::quantized::GgmlDType as B;
    Some(match dtype {
        B::Q4_0 => Widen::Q4_0,
        B::Q4_1 => Widen::Q4_1,
        B::Q8_0 => Widen::Q8_0,
        B::Q4K => Widen::Q4K,
        B::Q5K => Widen::Q5K,
        B::Q6K => Widen::Q6K,
        _ => return None,
    })
}

/// What an adapter's factors need of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Columns behind those of the weights.
    pub(super) columns: usize,
    /// A magnitude for each output.
    pub(super) has_magnitudes: bool,
    /// Biases that train.
    pub(super) trains_biases: bool,
}

impl Group {
    /// The layers of a kind in a decoder layer, with room for these factors.
    pub(super) fn load(
        base: &Base,
        loader: &mut Loader<'_>,
        (layer, kind): (usize, Kind),
        room: Room,
    ) -> Result<Self, Error> {
        let columns = room.columns;
        let (gpu, config) = (loader.gpu(), base.config());
        let mut linears = Vec::new();
        let (mut outputs, mut inputs) = (0, 0);
        for projection in kind.projections(config, layer) {
            let (rows, width) = config.shape(layer, projection);
            linears.push(Linear {
                projection,
                rows: outputs..outputs + rows,
            });
            outputs += rows;
            inputs = width;
        }
        let name = |linear: &Linear, part: &str| {
            format!("{}.{part}", config.path(linear.projection, layer))
        };
        let views: Vec<TensorView<'_>> = linears
            .iter()
            .map(|linear| Ok(base.checkpoint().tensor(&name(linear, "weight"))?))
            .collect::<Result<_, Error>>()?;
        let kinds: Option<Vec<Widen>> = views.iter().map(blocks_of).collect();
        let stored = match kinds {
            Some(kinds) => Stored::Blocks(
                views
                    .iter()
                    .zip(kinds)
                    .map(|(view, kind)| Ok((as_stored(gpu, view)?, kind)))
                    .collect::<Result<_, Error>>()?,
            ),
            None => {
                let stride = inputs + columns;
                let dense = gpu.activations(outputs * stride)?;
                gpu.zero(&dense, outputs * stride)?;
                let all = dense.mat(outputs, stride).of_columns(0..inputs);
                for (view, linear) in views.iter().zip(&linears) {
                    loader.matrix(view, all.of_rows(linear.rows.clone()))?;
                }
                Stored::Dense(dense)
            }
        };
        let bias = if linears.iter().any(|l| config.has_bias(l.projection)) {
            let mut values = vec![0.0; outputs];
            for linear in linears.iter().filter(|l| config.has_bias(l.projection)) {
                let bias = base.checkpoint().tensor(&name(linear, "bias"))?.to_f32();
                let gain = bias_gain(config, linear.projection);
                let to = values[linear.rows.clone()].iter_mut();
                to.zip(bias).for_each(|(to, bias)| *to = gain * bias);
            }
            Some(gpu.uploaded(Dtype::F32, &values)?)
        } else {
            None
        };
        Ok(Self {
            linears,
            outputs,
            inputs,
            columns,
            has_magnitudes: room.has_magnitudes,
            trains_biases: room.trains_biases,
            stored,
            bias,
            multipliers: multipliers(config, layer, kind)
                .map(|values| gpu.uploaded(Dtype::F32, &values))
                .transpose()?,
        })
    }

    /// Reads the weights of a dense one again, in a decoder layer, in whose place others stood.
    pub(super) fn load_again(
        &self,
        base: &Base,
        loader: &mut Loader<'_>,
        layer: usize,
    ) -> Result<(), Error> {
        let Stored::Dense(dense) = &self.stored else {
            return Ok(());
        };
        let all = dense.mat(self.outputs, self.inputs + self.columns);
        for linear in &self.linears {
            let path = base.config().path(linear.projection, layer);
            let view = base.checkpoint().tensor(&format!("{path}.weight"))?;
            let to = all.of_rows(linear.rows.clone()).of_columns(0..self.inputs);
            loader.matrix(&view, to)?;
        }
        Ok(())
    }

    /// Values of its matrix with all columns.
    pub(super) fn values(&self) -> usize {
        self.outputs * (self.inputs + self.columns)
    }

    /// As memory sees it.
    pub(super) fn size(&self) -> GroupSize {
        GroupSize {
            outputs: self.outputs,
            inputs: self.inputs,
            columns: self.columns,
            has_magnitudes: self.has_magnitudes,
            trains_biases: self.trains_biases,
            blocks: match &self.stored {
                Stored::Dense(_) => None,
                Stored::Blocks(all) => Some(all.iter().map(|(blocks, _)| blocks.len()).sum()),
            },
        }
    }

    /// Whether its weights are widened at each use.
    pub(super) fn is_widened(&self) -> bool {
        matches!(self.stored, Stored::Blocks(_))
    }

    /// The matrix (outputs, inputs + columns). Weights that are held in blocks are widened into `wide`, which holds them until
    /// the next use of it; the factors' columns are then whatever stood there.
    pub(super) fn matrix<'t>(
        &'t self,
        gpu: &Gpu,
        wide: &'t Tensor,
    ) -> Result<Mat<'t>, lora_gpu::Error> {
        let stride = self.inputs + self.columns;
        match &self.stored {
            Stored::Dense(dense) => Ok(dense.mat(self.outputs, stride)),
            Stored::Blocks(blocks) => {
                let all = wide.mat(self.outputs, stride);
                for ((blocks, kind), linear) in blocks.iter().zip(&self.linears) {
                    let to = all.of_rows(linear.rows.clone()).of_columns(0..self.inputs);
                    gpu.widen(*kind, blocks, 0, to)?;
                }
                Ok(all)
            }
        }
    }
}

/// The blocks of a weight on the device, its rows in Hugging Face's order.
pub(super) fn as_stored(gpu: &Gpu, view: &TensorView<'_>) -> Result<Tensor, lora_gpu::Error> {
    let tensor = gpu.alloc(Dtype::U8, view.stored_bytes())?;
    store(gpu, view, &tensor, 0)?;
    Ok(tensor)
}

/// The same into a part of a tensor, from its byte `first` on.
pub(super) fn store(
    gpu: &Gpu,
    view: &TensorView<'_>,
    to: &Tensor,
    first: usize,
) -> Result<(), lora_gpu::Error> {
    if view.lies_in_order() {
        return gpu.upload_bytes(view.stored(), to, first);
    }
    let rows = (0..view.rows()).flat_map(|row| view.stored_row(row).iter().copied());
    gpu.upload_bytes(&rows.collect::<Vec<u8>>(), to, first)
}
