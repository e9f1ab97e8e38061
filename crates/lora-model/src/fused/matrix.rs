//! A weight matrix in its file, as the kernels read it.
use lora_checkpoint::TensorView;
use lora_kernels::Rows;

/// A weight matrix in its file.
#[derive(Debug)]
pub(super) struct Matrix<'b>(pub(super) TensorView<'b>);

impl Rows for Matrix<'_> {
    fn rows(&self) -> usize {
        self.0.rows()
    }
    fn columns(&self) -> usize {
        self.0.columns()
    }
    fn read_rows(&self, first: usize, out: &mut [f32]) {
        self.0.read_rows(first, out);
    }
    fn unit(&self) -> usize {
        self.0.unit()
    }
    fn read_part(&self, row: usize, column: usize, out: &mut [f32]) {
        self.0.read_part(row, column, out);
    }
    fn stored_part(&self, row: usize, column: usize, len: usize) -> &[u8] {
        self.0.stored_part(row, column, len)
    }
    fn as_f32(&self) -> Option<&[f32]> {
        self.0.as_f32()
    }
    fn as_bf16(&self) -> Option<&[[u8; 2]]> {
        self.0.as_bf16()
    }
}
