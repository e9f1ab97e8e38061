//! What an MLP without a gate computes between its projections.
use super::{Activation, Args, check_mat, over_values};
use crate::{Error, Gpu, Mat};

/// A function of single values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plain {
    /// An activation without parameters.
    Of(Activation),
    /// xIELU (Huang and Schlag 2024): α_p·x² + β·x above 0, α_n·(exp(min(x, ε)) − 1 − x) + β·x elsewhere.
    Xielu {
        /// α_p.
        alpha_p: f32,
        /// α_n.
        alpha_n: f32,
        /// β.
        beta: f32,
        /// ε.
        eps: f32,
    },
}

impl Plain {
    /// As the kernels take it.
    fn put(self, args: Args) -> Args {
        let (which, numbers) = match self {
            Self::Of(activation) => (activation.is_gelu(), [0.0; 4]),
            Self::Xielu {
                alpha_p,
                alpha_n,
                beta,
                eps,
            } => (2, [alpha_p, alpha_n, beta, eps]),
        };
        numbers.into_iter().fold(args.int(which), Args::float)
    }
}

impl Gpu {
    /// out = f(x), value by value: both (T, I) of activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn activate(&self, x: Mat<'_>, f: Plain, out: Mat<'_>) -> Result<(), Error> {
        let (rows, columns) = (x.rows(), x.columns());
        check_mat("x", x, self.dtype(), rows, columns);
        check_mat("activated", out, self.dtype(), rows, columns);
        let args = f.put(Args::new().mat(x));
        let args = args.mat(out).long(rows).long(columns);
        self.launch("activate", over_values(rows, columns), &args)
    }

    /// dx = d∘f′(x), all (T, I) of activations. It may go where x is.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn activate_backward(
        &self,
        x: Mat<'_>,
        f: Plain,
        d: Mat<'_>,
        dx: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (x.rows(), x.columns());
        check_mat("x", x, self.dtype(), rows, columns);
        check_mat("gradient", d, self.dtype(), rows, columns);
        check_mat("x's gradient", dx, self.dtype(), rows, columns);
        let args = f.put(Args::new().mat(x));
        let args = args.mat(d).mat(dx).long(rows).long(columns);
        self.launch("activate_backward", over_values(rows, columns), &args)
    }
}
