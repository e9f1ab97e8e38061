//! Memory on the device that lives as long as the route: grown to the largest use, never shrunk.
use lora_gpu::{Dtype, Error, Gpu, Tensor};

/// Memory for values of one type.
#[derive(Debug)]
pub(super) struct Buffer {
    dtype: Dtype,
    tensor: Option<Tensor>,
}

impl Buffer {
    pub(super) fn new(dtype: Dtype) -> Self {
        Self {
            dtype,
            tensor: None,
        }
    }

    /// Memory for at least `len` values; what they hold is left over from earlier use. New memory holds zeros.
    pub(super) fn get(&mut self, gpu: &Gpu, len: usize) -> Result<Tensor, Error> {
        if let Some(tensor) = self.tensor.as_ref().filter(|t| t.len() >= len) {
            return Ok(tensor.clone());
        }
        self.tensor = None; // given back before the larger one is taken
        let tensor = gpu.alloc(self.dtype, len)?;
        gpu.zero(&tensor, len)?;
        self.tensor = Some(tensor.clone());
        Ok(tensor)
    }

    /// The memory, if it was asked for.
    pub(super) fn tensor(&self) -> Option<&Tensor> {
        self.tensor.as_ref()
    }
}

/// Pieces of memory begin at a multiple of so many bytes.
const ALIGNED: usize = 256;

/// Bytes of pieces of memory for so many values each.
pub(super) fn together(pieces: &[(Dtype, usize)]) -> usize {
    let bytes = |&(dtype, len): &(Dtype, usize)| (len * dtype.bytes()).next_multiple_of(ALIGNED);
    pieces.iter().map(bytes).sum()
}

/// Memory that the parts of a step use in turn: as much as the one that needs most of it.
#[derive(Debug)]
pub(super) struct InTurn(Buffer);

impl InTurn {
    pub(super) fn new() -> Self {
        Self(Buffer::new(Dtype::U8))
    }

    /// Makes room for the largest part: pieces that were given out before stay where they are.
    pub(super) fn reserve(&mut self, gpu: &Gpu, bytes: usize) -> Result<(), Error> {
        self.0.get(gpu, bytes).map(|_| ())
    }

    /// Pieces for so many values each; what they hold is left over from others.
    pub(super) fn get<const N: usize>(
        &mut self,
        gpu: &Gpu,
        pieces: [(Dtype, usize); N],
    ) -> Result<[Tensor; N], Error> {
        let all = self.0.get(gpu, together(&pieces))?;
        let mut first = 0;
        Ok(pieces.map(|(dtype, len)| {
            let piece = all.part(first, dtype, len);
            first += together(&[(dtype, len)]);
            piece
        }))
    }
}
