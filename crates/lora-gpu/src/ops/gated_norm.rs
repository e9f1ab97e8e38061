//! RMSNorm beside a gate, group by group.
use super::{Args, THREADS, block_a_row, check_mat, check_tensor};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// A norm beside a gate, y = γ∘u/√(mean(u²) + ε) with u = x∘silu(z), or y = γ∘x/√(mean(x²) + ε)∘silu(z), the means over each of
/// the groups into which columns fall.
#[derive(Debug, Clone, Copy)]
pub struct GatedNorm<'t> {
    /// γ in f32, of all columns or of one group, which is that of all then. None: y = x∘silu(z).
    pub gamma: Option<&'t Tensor>,
    /// Groups.
    pub groups: usize,
    /// Whether the norm stands behind the gate, else before it.
    pub behind: bool,
}

impl GatedNorm<'_> {
    fn check(self, gpu: &Gpu, mats: &[Mat<'_>], rstd: &Tensor) -> usize {
        let (rows, columns) = (mats[0].rows(), mats[0].columns());
        for mat in mats {
            check_mat(
                "what is normed beside a gate",
                *mat,
                gpu.dtype(),
                rows,
                columns,
            );
        }
        assert!(
            self.groups > 0 && columns.is_multiple_of(self.groups),
            "{columns} columns in {} groups",
            self.groups
        );
        let width = columns / self.groups;
        if let Some(gamma) = self.gamma {
            let lens = [width, columns];
            assert!(lens.contains(&gamma.len()), "γ has {} values", gamma.len());
            check_tensor("γ", gamma, Dtype::F32, width);
            check_tensor("1/rms", rstd, Dtype::F32, rows * self.groups);
        }
        width
    }

    fn args(self, [x, z]: [Mat<'_>; 2], width: usize) -> Args {
        let is_shared = self.gamma.is_some_and(|gamma| gamma.len() == width);
        let args = Args::new().mat(x).mat(z).maybe(self.gamma);
        let behind = self.behind || self.gamma.is_none();
        args.int(usize::from(is_shared)).int(usize::from(behind))
    }
}

impl Gpu {
    /// y of x and z, all activations (T, columns); `rstd`, f32 (T, groups), gets 1/√(…) for the way back.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn gated_norm(
        &self,
        norm: GatedNorm<'_>,
        [x, z]: [Mat<'_>; 2],
        eps: f32,
        y: Mat<'_>,
        rstd: &Tensor,
    ) -> Result<(), Error> {
        let width = norm.check(self, &[x, z, y], rstd);
        let args = norm.args([x, z], width).float(eps).mat(y);
        let args = args.tensor(rstd, 0).int(width);
        let grid = block_a_row(x.rows(), norm.groups, width, THREADS);
        self.launch("gated_norm", grid, &args)
    }

    /// dx and dz from dy.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn gated_norm_backward(
        &self,
        norm: GatedNorm<'_>,
        [x, z]: [Mat<'_>; 2],
        rstd: &Tensor,
        dy: Mat<'_>,
        [dx, dz]: [Mat<'_>; 2],
    ) -> Result<(), Error> {
        let width = norm.check(self, &[x, z, dy, dx, dz], rstd);
        let args = norm.args([x, z], width).tensor(rstd, 0);
        let args = args.mat(dy).mat(dx).mat(dz).int(width);
        let grid = block_a_row(x.rows(), norm.groups, width, THREADS);
        self.launch("gated_norm_backward", grid, &args)
    }
}
