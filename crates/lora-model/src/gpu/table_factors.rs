//! The factors at the embedding or the head on the device, where products read them.
use super::factors::OnDevice;
use super::own_biases;
use super::pairs::{Factors, GroupFactors};
use super::table_gains::{Read, TableGains};
use lora_gpu::{Dtype, Error, Gpu, Mat, Tensor};

/// Those of a table, and DoRA's gains if it has magnitudes.
#[derive(Debug)]
pub(super) struct TableFactors {
    pub(super) factors: GroupFactors,
    inputs: usize,
    outputs: usize,
    /// A, (columns, in): none where it is looked up among the parameters alone.
    a: Option<Tensor>,
    /// s·B, (out, columns).
    b: Tensor,
    /// The bias on B times s, f32 (out).
    bias: Option<Tensor>,
    pub(super) gains: Option<TableGains>,
}

/// Values that are zero: the columns that align others stay so.
fn zeros(gpu: &Gpu, len: usize) -> Result<Tensor, Error> {
    let tensor = gpu.activations(len)?;
    gpu.zero(&tensor, len)?;
    Ok(tensor)
}

impl TableFactors {
    /// Memory for the factors of a table.
    pub(super) fn new(gpu: &Gpu, factors: &GroupFactors, from: Read<'_>) -> Result<Self, Error> {
        let size = from.table.size();
        let (inputs, outputs) = match from.looks_up {
            true => (size.rows, size.columns),
            false => (size.columns, size.rows),
        };
        let scales = factors.has_magnitudes();
        let columns = factors.columns;
        let a = !from.looks_up || scales;
        let gains = scales.then(|| TableGains::new(gpu, from, (outputs, columns)));
        let bias = !factors.biases.is_empty();
        Ok(Self {
            a: a.then(|| zeros(gpu, columns * inputs)).transpose()?,
            b: zeros(gpu, outputs * columns)?,
            bias: bias.then(|| gpu.alloc(Dtype::F32, outputs)).transpose()?,
            gains: gains.transpose()?,
            inputs,
            outputs,
            factors: factors.clone(),
        })
    }

    /// Takes the parameters on the device on.
    pub(super) fn set(
        &self,
        gpu: &Gpu,
        (on_device, params): (&OnDevice, &Tensor),
        from: Read<'_>,
    ) -> Result<(), Error> {
        for pair in &self.factors.all {
            let values = on_device.source(params, pair);
            if let Some(a) = self.a() {
                let to = a.of_rows(pair.columns.clone());
                gpu.convert(self.in_flat(values, pair)[0], 1.0, to)?;
            }
            let to = self.b(pair);
            gpu.convert(self.in_flat(values, pair)[1], pair.scaling, to)?;
        }
        if let Some(own) = &self.bias {
            own_biases::set_over(gpu, (own, None), &self.factors, params)?;
        }
        match (&self.gains, self.a()) {
            (Some(gains), Some(a)) => {
                let all = self.all_b();
                gains.update(gpu, (from, &self.factors), (a, all), params)
            }
            _ => Ok(()),
        }
    }

    /// A (rank, in) and B (out, rank) of a pair among all parameters, or gradients.
    pub(super) fn in_flat<'t>(&self, flat: &'t Tensor, pair: &Factors) -> [Mat<'t>; 2] {
        let (rank, inputs) = (pair.columns.len(), self.inputs);
        [
            flat.strided(pair.a, rank, inputs, inputs),
            flat.strided(pair.b, self.outputs, rank, rank),
        ]
    }

    /// The factors A of all pairs, (columns, in), where they are held.
    pub(super) fn a(&self) -> Option<Mat<'_>> {
        let a = self.a.as_ref()?;
        Some(a.mat(self.factors.columns, self.inputs))
    }

    /// A of a pair, (rank, in).
    ///
    /// # Panics
    /// If it is looked up alone.
    pub(super) fn a_of(&self, pair: &Factors) -> Mat<'_> {
        match self.a() {
            Some(all) => all.of_rows(pair.columns.clone()),
            None => unreachable!("the head's factors have memory for A"),
        }
    }

    /// s·B of all pairs, (out, columns).
    pub(super) fn all_b(&self) -> Mat<'_> {
        self.b.mat(self.outputs, self.factors.columns)
    }

    /// s·B of a pair, (out, rank).
    pub(super) fn b(&self, pair: &Factors) -> Mat<'_> {
        self.all_b().of_columns(pair.columns.clone())
    }

    /// The bias on B times s.
    pub(super) fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}
