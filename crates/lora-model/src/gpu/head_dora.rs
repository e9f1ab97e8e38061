//! DoRA at the output head, for a chunk of its rows: g∘z with z = d(h)·(W + s·B·A)ᵀ, beside (h − d(h))·Wᵀ with dropout. The norm
//! in g is a constant of the gradient.
use super::head_product::{Chunk, HeadProduct};
use super::linear::mask;
use super::pairs::Factors;
use super::table_factors::TableFactors;
use super::table_gains::TableGains;
use lora_gpu::{Error, Mat, Product, Tensor, Write};

impl HeadProduct<'_> {
    /// Logits without the bias; z stays.
    pub(super) fn scaled(
        self,
        own: &TableFactors,
        dora: &TableGains,
        of: Chunk<'_>,
        logits: Mat<'_>,
    ) -> Result<(), Error> {
        let gpu = self.gpu;
        let gain = (dora.gains.gain(), 0.0);
        let z = self.room[5].mat(logits.rows(), logits.columns());
        let dropped = self.dropout.zip(own.factors.all.first());
        let Some((dropout, pair)) = dropped else {
            self.weight(of.hidden, z)?;
            self.factors(own, of, z)?;
            return gpu.scale_columns(z, gain, logits, Write::Replace);
        };
        let rest = self.room[3].mat(of.hidden.rows(), of.hidden.columns());
        gpu.convert(of.hidden, 1.0, rest)?;
        let mut negative = mask(pair, dropout);
        negative.scale = -negative.scale;
        gpu.add_dropped(of.hidden, negative, of.first, rest)?; // h − d(h)
        self.weight(rest, logits)?;
        for taken in taken_out(own) {
            let inner = self.u(own, rest.rows()).of_columns(taken.columns.clone());
            gpu.gemm(Product::new(rest.n(), own.a_of(taken).t(), inner))?;
            gpu.gemm(Product::new(inner.n(), own.b(taken).t(), logits).adding())?;
        }
        self.weight(self.seen(pair, of)?, z)?;
        self.factors(own, of, z)?;
        gpu.scale_columns(z, gain, logits, Write::Add)
    }

    /// The way back of [`HeadProduct::scaled`], whose z is there.
    pub(super) fn scaled_back(
        self,
        (own, dora): (&TableFactors, &TableGains),
        of: Chunk<'_>,
        d: Mat<'_>,
        d_hidden: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.gpu;
        let (n, v) = (d.rows(), d.columns());
        let (z, dz) = (self.room[5].mat(n, v), self.room[6].mat(n, v));
        for (_, place) in own.factors.magnitudes() {
            let d_m = gradients.strided(place, 1, v, v);
            gpu.magnitude_gradient(d, z, dora.gains.norms(), d_m)?;
        }
        let gain = dora.gains.gain();
        gpu.scale_columns(d, (gain, 0.0), dz, Write::Replace)?;
        let dropped = self.dropout.zip(own.factors.all.first());
        let Some((dropout, pair)) = dropped else {
            self.weight_back(dz, d_hidden)?;
            return self.factors_back(own, of, dz, d_hidden, gradients);
        };
        self.weight_back(d, d_hidden)?;
        self.taken_back(own, d, d_hidden)?;
        let d_u = self.d_u(own, n).of_columns(pair.columns.clone());
        gpu.gemm(Product::new(dz.n(), own.b(pair).n(), d_u))?;
        self.pair_gradients((own, pair), of, dz, gradients)?;
        gpu.scale_columns(d, (gain, 1.0), dz, Write::Replace)?; // dz − d
        let d_seen = self.room[4].mat(n, d_hidden.columns());
        self.weight_back(dz, d_seen)?;
        gpu.gemm(self.through(own, pair, n)(d_seen).adding())?;
        self.taken_back(own, dz, d_seen)?;
        gpu.add_dropped(d_seen, mask(pair, dropout), of.first, d_hidden)
    }

    /// to += what passes what was taken out of the base.
    fn taken_back(self, own: &TableFactors, d: Mat<'_>, to: Mat<'_>) -> Result<(), Error> {
        for taken in taken_out(own) {
            let d_u = self.d_u(own, d.rows()).of_columns(taken.columns.clone());
            self.gpu.gemm(Product::new(d.n(), own.b(taken).n(), d_u))?;
            self.gpu
                .gemm(self.through(own, taken, d.rows())(to).adding())?;
        }
        Ok(())
    }
}

/// What was taken out of the base.
fn taken_out(own: &TableFactors) -> impl Iterator<Item = &Factors> {
    own.factors.all.iter().filter(|pair| !pair.trains)
}
