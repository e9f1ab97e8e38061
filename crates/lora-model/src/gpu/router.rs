//! A mixture's router with an adapter's factors beside it, forward and backward: logits = n·Wᵀ + s·u·Bᵀ, u = n·Aᵀ.
use super::experts::Chosen;
use super::mixture::Mixture;
use super::mixture_factors::RouterFactors;
use super::pass::LayerPass;
use lora_gpu::{Error, Mat, Product, Tensor};

impl<'p> LayerPass<'p> {
    fn router_factors(self) -> Option<&'p RouterFactors> {
        self.pass.on_device.mixture(self.index).router.as_ref()
    }

    /// The router's logits, f32 (T, E), of what it reads, n (T, H).
    pub(super) fn route(self, mixture: &Mixture, n: Mat<'_>, logits: Mat<'_>) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        gpu.gemm(Product::new(n.n(), mixture.router().t(), logits))?;
        if let Some(own) = self.router_factors() {
            let u = self.router_u(own, n)?;
            gpu.gemm(Product::new(u.n(), own.b().t(), logits).adding())?;
        }
        match &mixture.biases {
            Some(biases) => gpu.add_bias(&biases.router, 0, 1.0, logits),
            None => Ok(()),
        }
    }

    /// u of what the router reads, (T, columns).
    fn router_u(self, own: &RouterFactors, n: Mat<'_>) -> Result<Mat<'p>, Error> {
        let u = self.scratch.experts.router_u.mat(n.rows(), own.columns());
        self.pass.gpu.gemm(Product::new(n.n(), own.a().t(), u))?;
        Ok(u)
    }

    /// dn (T, H) += the gradient through the weights of the choice; adds to the gradients of the router's factors. `read` is
    /// what it read, which is there if it has some.
    pub(super) fn router_backward(
        self,
        mixture: &Mixture,
        chosen: &Chosen,
        (read, dn): (Option<Mat<'_>>, Mat<'_>),
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let d = self.logit_gradients(mixture, chosen)?;
        gpu.gemm(Product::new(d.n(), mixture.router().n(), dn).adding())?; // (T, E) -> += (T, H)
        let Some((own, n)) = self.router_factors().zip(read) else {
            return Ok(());
        };
        let u = self.router_u(own, n)?;
        let d_u = self.scratch.experts.d_router_u.mat(u.rows(), u.columns());
        gpu.gemm(Product::new(d.n(), own.b().n(), d_u))?;
        let trains = 0..own.pair.rank;
        let (rank, hidden) = (own.pair.rank, n.columns());
        let d_a = gradients.strided(own.pair.a, rank, hidden, hidden);
        let product = Product::new(d_u.of_columns(trains.clone()).t(), n.n(), d_a);
        gpu.gemm(product.adding())?;
        let d_b = gradients.strided(own.pair.b, d.columns(), rank, rank);
        let product = Product::new(d.t(), u.of_columns(trains).n(), d_b);
        gpu.gemm(product.times(own.pair.scaling).adding())?;
        gpu.gemm(Product::new(d_u.n(), own.a().n(), dn).adding())
    }

    /// The gradient of the router's logits in the activations' type, (T, E), in the scratch; the host computes it.
    fn logit_gradients(self, mixture: &Mixture, chosen: &Chosen) -> Result<Mat<'p>, Error> {
        let gpu = self.pass.gpu;
        let scratch = &self.scratch.experts;
        let Chosen {
            routing,
            probabilities,
        } = chosen;
        let mut d_weights = vec![0.0f32; routing.len()];
        gpu.download(&scratch.d_weights, &mut d_weights)?;
        let mut d_logits = vec![0.0f32; probabilities.len()];
        routing.logit_gradients(probabilities, &d_weights, mixture.choice, &mut d_logits);
        if let Some(balancing) = &self.pass.balancing {
            balancing.add_logit_gradients(probabilities, &mut d_logits);
        }
        gpu.upload(&d_logits, &scratch.d_logits, 0)?;
        let shape = (self.pass.rows, mixture.choice.experts);
        let d = scratch.d_router.mat(shape.0, shape.1);
        gpu.convert(scratch.d_logits.mat(shape.0, shape.1), 1.0, d)?;
        Ok(d)
    }
}
