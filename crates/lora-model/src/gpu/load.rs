//! A base's weights on their way to the device: widened on the host in parts, or as they lie where the types agree.
use lora_checkpoint::{StorageDtype, TensorView};
use lora_gpu::{Dtype, Error, Gpu, Mat, Tensor};

/// Values that travel at once.
const PART: usize = 1 << 23;

/// Copies weights to the device, a part after the other.
#[derive(Debug)]
pub(super) struct Loader<'g> {
    gpu: &'g Gpu,
    host: Vec<f32>,
    /// A part as f32, and one in the device's own type.
    widened: Tensor,
    stored: Tensor,
}

impl<'g> Loader<'g> {
    /// For weights of which no row is longer than `columns`.
    pub(super) fn new(gpu: &'g Gpu, columns: usize) -> Result<Self, Error> {
        let part = PART.max(columns);
        Ok(Self {
            gpu,
            host: Vec::new(),
            widened: gpu.alloc(Dtype::F32, part)?,
            stored: gpu.activations(part)?,
        })
    }

    /// The device.
    pub(super) fn gpu(&self) -> &'g Gpu {
        self.gpu
    }

    /// A weight (rows, columns) goes to `to`, of the same shape, in the device's type.
    pub(super) fn matrix(&mut self, view: &TensorView<'_>, to: Mat<'_>) -> Result<(), Error> {
        let (rows, columns) = (view.rows(), view.columns());
        let step = (PART / columns.max(1)).max(1);
        let lies_as_held = view.dtype() == StorageDtype::BF16
            && self.gpu.dtype() == Dtype::Bf16
            && view.lies_in_order();
        for first in (0..rows).step_by(step) {
            let last = rows.min(first + step);
            let to = to.of_rows(first..last);
            let values = (last - first) * columns;
            if lies_as_held {
                let bytes = &view.stored()[2 * first * columns..2 * last * columns];
                self.gpu.upload_bytes(bytes, &self.stored, 0)?;
                let part = self.stored.mat(last - first, columns);
                self.gpu.convert(part, 1.0, to)?;
                continue;
            }
            self.host.resize(values, 0.0);
            view.read_rows(first, &mut self.host[..values]);
            self.gpu.upload(&self.host[..values], &self.widened, 0)?;
            let part = self.widened.mat(last - first, columns);
            self.gpu.convert(part, 1.0, to)?;
        }
        Ok(())
    }
}
