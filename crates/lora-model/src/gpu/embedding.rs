//! The hidden state before the first layer, and the way back to what trains there:
//! x (T, H) = scale · g∘(E\[id\] + s·B·A\[:, id\]), g = 1 without DoRA; E's rows are the adapter's where those train.
use super::by_token::ByToken;
use super::engine::Engine;
use super::own_tables::OwnTable;
use super::pass::Pass;
use super::table_factors::TableFactors;
use super::table_room;
use lora_gpu::{Error, Gpu, Mat, Product, Tensor, Write};

impl Engine<'_> {
    /// The hidden state before the first layer: x (T, H).
    pub(super) fn embed(&mut self, pass: &Pass<'_>, x: &Tensor) -> Result<(), Error> {
        let [u, ..] = self.embedding_room(pass)?;
        let to = x.mat(pass.rows, self.config.hidden_size);
        self.look_up(pass, &u, to)?;
        match &self.own_tables.embedding {
            OwnTable::Factors(own) => match &own.gains {
                Some(dora) => {
                    let gain = (dora.gains.gain(), 0.0);
                    self.gpu.scale_columns(to, gain, to, Write::Replace)
                }
                None => Ok(()),
            },
            OwnTable::Nothing | OwnTable::Whole(..) | OwnTable::Rows(_) => Ok(()),
        }
    }

    /// What the embedding of a pass uses for a time.
    pub(super) fn embedding_room(&mut self, pass: &Pass<'_>) -> Result<[Tensor; 3], Error> {
        let [needs, _] = self.own_tables.needs;
        let size = (pass.rows, self.config.hidden_size);
        let pieces = table_room::of_embedding(needs, size, self.gpu.dtype());
        self.in_turn.get(&self.gpu, pieces)
    }

    /// x (T, H) without DoRA's gain: scale · (E\[id\] + s·B·A\[:, id\]). What is looked up of A stays in `u`.
    fn look_up(&mut self, pass: &Pass<'_>, u: &Tensor, x: Mat<'_>) -> Result<(), Error> {
        let scale = self.config.embedding_scale() as f32;
        let gpu = &self.gpu;
        let table = self.own_tables.embedding_table(&self.weights);
        self.lookup.embed(gpu, table, &pass.ids, scale, x)?;
        match &self.own_tables.embedding {
            OwnTable::Nothing | OwnTable::Whole(..) => Ok(()),
            OwnTable::Rows(own) => match &pass.own_rows {
                Some(found) => own.look_up(gpu, found, scale, x),
                None => Ok(()),
            },
            OwnTable::Factors(own) => add_factors(gpu, own, (pass, u), scale, x),
        }
    }

    /// Adds to the gradients of what trains at the embedding, from that of the hidden state, d_x (T, H); `x`, of the same size,
    /// is scratch.
    pub(super) fn embedding_backward(
        &mut self,
        pass: &Pass<'_>,
        ids: &[u32],
        (d_x, x): (&Tensor, &Tensor),
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let (v, h) = (self.config.vocab_size, self.config.hidden_size);
        let scale = self.config.embedding_scale() as f32;
        let dx = d_x.mat(pass.rows, h);
        match &self.own_tables.embedding {
            OwnTable::Nothing => Ok(()),
            OwnTable::Whole(_, place) => {
                let to = gradients.strided(*place, v, h, h);
                ByToken::of(ids).add_gradients(&self.gpu, (dx, x), scale, to)
            }
            OwnTable::Rows(own) => own.look_up_backward(&self.gpu, ids, (dx, x), scale, gradients),
            OwnTable::Factors(_) => {
                let room = self.embedding_room(pass)?;
                let z = x.mat(pass.rows, h);
                self.look_up(pass, &room[0], z)?; // again, which is not much
                let OwnTable::Factors(own) = &self.own_tables.embedding else {
                    return Ok(());
                };
                let back = Back { ids, dx, z, room };
                factors_backward(&self.gpu, own, (back, scale), gradients)
            }
        }
    }
}

/// x += scale·s·B·A\[:, id\] of all factors.
fn add_factors(
    gpu: &Gpu,
    own: &TableFactors,
    (pass, u): (&Pass<'_>, &Tensor),
    scale: f32,
    x: Mat<'_>,
) -> Result<(), Error> {
    let Some(params) = pass.on_device.params() else {
        return Ok(());
    };
    for pair in &own.factors.all {
        let u = u.mat(x.rows(), pair.columns.len());
        let [a, _] = own.in_flat(params, pair);
        gpu.gather_columns(a, &pass.ids, u)?;
        let product = Product::new(u.n(), own.b(pair).t(), x);
        gpu.gemm(product.times(scale).adding())?;
    }
    Ok(())
}

/// What the way back reads.
struct Back<'t> {
    ids: &'t [u32],
    dx: Mat<'t>,
    /// scale · (E\[id\] + s·B·A\[:, id\]).
    z: Mat<'t>,
    /// u, its gradient, and that of z over the scale.
    room: [Tensor; 3],
}

/// Adds to the gradients of factors and magnitudes.
fn factors_backward(
    gpu: &Gpu,
    own: &TableFactors,
    (back, scale): (Back<'_>, f32),
    gradients: &Tensor,
) -> Result<(), Error> {
    let Back { ids, dx, z, room } = back;
    let (t, h) = (dx.rows(), dx.columns());
    let [u, d_u, dz] = &room;
    let dz = dz.mat(t, h);
    match &own.gains {
        None => gpu.convert(dx, 1.0, dz)?,
        Some(dora) => {
            for (_, place) in own.factors.magnitudes() {
                let d_m = gradients.strided(place, 1, h, h);
                gpu.magnitude_gradient(dx, z, dora.gains.norms(), d_m)?;
            }
            gpu.scale_columns(dx, (dora.gains.gain(), 0.0), dz, Write::Replace)?;
        }
    }
    for pair in &own.factors.all {
        let rank = pair.columns.len();
        let (u, d_u) = (u.mat(t, rank), d_u.mat(t, rank));
        let [d_a, d_b] = own.in_flat(gradients, pair);
        let product = Product::new(dz.t(), u.n(), d_b).times(scale * pair.scaling);
        gpu.gemm(product.adding())?;
        gpu.gemm(Product::new(dz.n(), own.b(pair).n(), d_u).times(scale))?;
        ByToken::of(ids).add_to_columns(gpu, d_u, d_a)?;
    }
    Ok(())
}
