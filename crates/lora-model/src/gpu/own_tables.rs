//! Embedding and head that train as a whole on the device: tables of their own in the place of the base's.
use super::table::Table;
use super::trained_tables::TrainedTables;
use super::weights::Weights;
use lora_gpu::{Error, Gpu, Tensor};

/// Those of the adapter that was taken on.
#[derive(Debug, Default)]
pub(super) struct OwnTables {
    trained: TrainedTables,
    embedding: Option<Table>,
    head: Option<Table>,
}

impl OwnTables {
    /// Memory for those of an adapter.
    pub(super) fn new(gpu: &Gpu, trained: TrainedTables, weights: &Weights) -> Result<Self, Error> {
        let size = weights.embedding.size();
        let table = |_| Table::dense(gpu, size.rows, size.columns);
        Ok(Self {
            trained,
            embedding: trained.embedding.map(table).transpose()?,
            head: trained.head.map(table).transpose()?,
        })
    }

    /// Takes the parameters on.
    pub(super) fn set(&self, gpu: &Gpu, params: &Tensor) -> Result<(), Error> {
        let own = [
            (&self.embedding, self.trained.embedding),
            (&self.head, self.trained.head),
        ];
        for (table, place) in own {
            if let Some((table, place)) = table.as_ref().zip(place) {
                let to = table.values();
                let from = params.strided(place, to.rows(), to.columns(), to.columns());
                gpu.convert(from, 1.0, to)?;
            }
        }
        Ok(())
    }

    /// The table that tokens are looked up in.
    pub(super) fn embedding<'t>(&'t self, weights: &'t Weights) -> &'t Table {
        self.embedding.as_ref().unwrap_or(&weights.embedding)
    }

    /// The head.
    pub(super) fn head<'t>(&'t self, weights: &'t Weights) -> &'t Table {
        self.head.as_ref().unwrap_or(&weights.head)
    }
}
