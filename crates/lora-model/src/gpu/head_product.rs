//! The output head with what trains at it, for a chunk of its rows. With d the dropout of the factors' input and g = m over the
//! norm of W + s·B·A: logits = h·Wᵀ + s·(d(h)·Aᵀ)·Bᵀ + bias; with DoRA (h − d(h))·Wᵀ + g∘z + bias, z = d(h)·(W + s·B·A)ᵀ. W's
//! rows are the adapter's where those train.
use super::linear::mask;
use super::own_tables::OwnTable;
use super::pairs::Factors;
use super::table::Table;
use super::table_factors::TableFactors;
use super::table_room::OF_HEAD;
use crate::Dropout;
use lora_gpu::{Error, Gpu, Mat, Product, Tensor, Write};

/// A head, and memory for a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadProduct<'h> {
    pub(super) gpu: &'h Gpu,
    pub(super) table: &'h Table,
    pub(super) own: &'h OwnTable,
    /// Where blocks are widened.
    pub(super) wide: &'h Tensor,
    pub(super) room: &'h [Tensor; OF_HEAD],
    pub(super) dropout: Option<Dropout>,
}

/// Rows of the head's input, (n, H), and the number of the first among all: dropout's key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'t> {
    pub(super) hidden: Mat<'t>,
    pub(super) first: usize,
}

impl<'h> HeadProduct<'h> {
    /// Logits (n, V), f32.
    pub(super) fn logits(self, of: Chunk<'_>, logits: Mat<'_>) -> Result<(), Error> {
        match self.own {
            OwnTable::Factors(own) => match &own.gains {
                None => {
                    self.weight(of.hidden, logits)?;
                    self.factors(own, of, logits)?;
                }
                Some(dora) => self.scaled(own, dora, of, logits)?,
            },
            OwnTable::Nothing | OwnTable::Whole(..) => self.weight(of.hidden, logits)?,
            OwnTable::Rows(own) => {
                self.weight(of.hidden, logits)?;
                let [.., room, _] = self.room;
                own.put_logits(self.gpu, of.hidden, room, logits)?;
            }
        }
        match self.own {
            OwnTable::Factors(own) => match own.bias() {
                Some(bias) => self.gpu.add_bias(bias, 0, 1.0, logits),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// From the gradient of the logits, d (n, V), that of the rows, d_hidden (n, H), f32; adds to the gradients of what trains.
    /// What `d` holds afterwards is left over.
    pub(super) fn backward(
        self,
        of: Chunk<'_>,
        d: Mat<'_>,
        d_hidden: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.gpu;
        match self.own {
            OwnTable::Nothing => self.weight_back(d, d_hidden),
            OwnTable::Whole(table, place) => {
                self.weight_back(d, d_hidden)?;
                let h = of.hidden.columns();
                let to = gradients.strided(*place, table.values().rows(), h, h);
                gpu.gemm(Product::new(d.t(), of.hidden.n(), to).adding())
            }
            OwnTable::Rows(own) => {
                let [.., room] = self.room;
                let taken = own.take_gradients(gpu, d, room)?;
                self.weight_back(d, d_hidden)?;
                own.logits_backward(gpu, (taken, of.hidden), d_hidden, gradients)
            }
            OwnTable::Factors(own) => {
                for bias in &own.factors.biases {
                    let count = bias.rows.len();
                    let to = gradients.strided(bias.place, 1, count, count);
                    gpu.bias_gradient(d, bias.scaling, to)?;
                }
                match &own.gains {
                    None => {
                        self.weight_back(d, d_hidden)?;
                        self.factors_back(own, of, d, d_hidden, gradients)
                    }
                    Some(dora) => self.scaled_back((own, dora), of, d, d_hidden, gradients),
                }
            }
        }
    }

    /// x·Wᵀ (n, V) of rows x (n, H), with the table's own rows, part by part.
    pub(super) fn weight(self, x: Mat<'_>, to: Mat<'_>) -> Result<(), Error> {
        for rows in self.table.slices() {
            let part = self.table.slice(self.gpu, rows.clone(), self.wide)?;
            let product = Product::new(x.n(), part.t(), to.of_columns(rows));
            self.gpu.gemm(product)?;
        }
        Ok(())
    }

    /// d·W (n, H) of d (n, V).
    pub(super) fn weight_back(self, d: Mat<'_>, to: Mat<'_>) -> Result<(), Error> {
        for rows in self.table.slices() {
            let part = self.table.slice(self.gpu, rows.clone(), self.wide)?;
            let write = if rows.start > 0 {
                Write::Add
            } else {
                Write::Replace
            };
            let product = Product::new(d.of_columns(rows).n(), part.n(), to);
            self.gpu.gemm(product.written(write))?;
        }
        Ok(())
    }

    /// u of all factors, (n, columns).
    pub(super) fn u(self, own: &TableFactors, rows: usize) -> Mat<'h> {
        self.room[0].mat(rows, own.factors.columns)
    }

    /// Its gradient.
    pub(super) fn d_u(self, own: &TableFactors, rows: usize) -> Mat<'h> {
        self.room[1].mat(rows, own.factors.columns)
    }

    /// What a pair of factors sees of the rows.
    pub(super) fn seen<'t>(self, pair: &Factors, of: Chunk<'t>) -> Result<Mat<'t>, Error>
    where
        'h: 't,
    {
        let Some(dropout) = self.dropout.filter(|_| pair.drops()) else {
            return Ok(of.hidden);
        };
        let seen = self.room[2].mat(of.hidden.rows(), of.hidden.columns());
        self.gpu
            .drop(of.hidden, mask(pair, dropout), of.first, seen)?;
        Ok(seen)
    }

    /// to += s·u·Bᵀ of all factors; u stays.
    pub(super) fn factors(
        self,
        own: &TableFactors,
        of: Chunk<'_>,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let Some(a) = own.a() else { return Ok(()) };
        let u = self.u(own, of.hidden.rows());
        for (pair, columns) in own.factors.with_padding() {
            let seen = self.seen(pair, of)?;
            let a = a.of_rows(columns.clone());
            let product = Product::new(seen.n(), a.t(), u.of_columns(columns));
            self.gpu.gemm(product)?;
        }
        self.gpu
            .gemm(Product::new(u.n(), own.all_b().t(), to).adding())
    }

    /// Gradients of the factors that train, and d_hidden += what passes all factors, from dz, that of what they add to.
    pub(super) fn factors_back(
        self,
        own: &TableFactors,
        of: Chunk<'_>,
        dz: Mat<'_>,
        d_hidden: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let d_u = self.d_u(own, dz.rows());
        self.gpu.gemm(Product::new(dz.n(), own.all_b().n(), d_u))?;
        for pair in &own.factors.all {
            if pair.trains {
                self.pair_gradients((own, pair), of, dz, gradients)?;
            }
            let through = self.through(own, pair, dz.rows());
            match self.dropout.filter(|_| pair.drops()) {
                None => self.gpu.gemm(through(d_hidden).adding())?,
                Some(dropout) => {
                    let d_seen = self.room[4].mat(d_hidden.rows(), d_hidden.columns());
                    self.gpu.gemm(through(d_seen))?;
                    let mask = mask(pair, dropout);
                    self.gpu.add_dropped(d_seen, mask, of.first, d_hidden)?;
                }
            }
        }
        Ok(())
    }

    /// The product of a pair's part of d_u with A.
    pub(super) fn through<'t>(
        self,
        own: &'t TableFactors,
        pair: &Factors,
        rows: usize,
    ) -> impl Fn(Mat<'t>) -> Product<'t>
    where
        'h: 't,
    {
        let d_u = self.d_u(own, rows).of_columns(pair.columns.clone());
        let a = own.a_of(pair);
        move |to| Product::new(d_u.n(), a.n(), to)
    }

    /// Adds to the gradients of A and B of a pair, whose part of d_u is there.
    pub(super) fn pair_gradients(
        self,
        (own, pair): (&TableFactors, &Factors),
        of: Chunk<'_>,
        dz: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.gpu;
        let seen = self.seen(pair, of)?;
        let [d_a, d_b] = own.in_flat(gradients, pair);
        let part = |all: Mat<'h>| all.of_columns(pair.columns.clone());
        let (u, d_u) = (part(self.u(own, dz.rows())), part(self.d_u(own, dz.rows())));
        gpu.gemm(Product::new(d_u.t(), seen.n(), d_a).adding())?;
        let product = Product::new(dz.t(), u.n(), d_b).times(pair.scaling);
        gpu.gemm(product.adding())
    }
}
