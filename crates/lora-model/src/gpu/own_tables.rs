//! What trains at the embedding and at the head, on the device: a table of its own, rows or factors beside the base's.
use super::factors::OnDevice;
use super::own_rows::OwnRows;
use super::table::Table;
use super::table_factors::TableFactors;
use super::table_gains::Read;
use super::table_needs::TableNeeds;
use super::trained_tables::{TrainedTable, TrainedTables};
use super::weights::Weights;
use lora_gpu::{Error, Gpu, Tensor};

/// What trains at a table.
#[derive(Debug, Default)]
pub(super) enum OwnTable {
    #[default]
    Nothing,
    /// All of it, with its place among the parameters.
    Whole(Table, usize),
    Rows(OwnRows),
    Factors(Box<TableFactors>),
}

/// What trains of the adapter that was taken on.
#[derive(Debug, Default)]
pub(super) struct OwnTables {
    pub(super) embedding: OwnTable,
    pub(super) head: OwnTable,
    /// What they take memory for.
    pub(super) needs: [TableNeeds; 2],
}

impl OwnTables {
    /// Memory for what trains of an adapter; blocks are widened into `wide`.
    pub(super) fn new(
        gpu: &Gpu,
        trained: &TrainedTables,
        (weights, wide): (&Weights, &Tensor),
    ) -> Result<Self, Error> {
        let [embedding, head] = both(weights, wide);
        Ok(Self {
            embedding: OwnTable::new(gpu, &trained.embedding, embedding)?,
            head: OwnTable::new(gpu, &trained.head, head)?,
            needs: trained.needs(),
        })
    }

    /// Takes the parameters on the device on.
    pub(super) fn set(
        &self,
        gpu: &Gpu,
        on_device: &OnDevice,
        (weights, wide): (&Weights, &Tensor),
    ) -> Result<(), Error> {
        let Some(params) = on_device.params() else {
            return Ok(());
        };
        let [embedding, head] = both(weights, wide);
        self.embedding.set(gpu, (on_device, params), embedding)?;
        self.head.set(gpu, (on_device, params), head)
    }

    /// The table that tokens are looked up in.
    pub(super) fn embedding_table<'t>(&'t self, weights: &'t Weights) -> &'t Table {
        self.embedding.table(&weights.embedding)
    }

    /// The head's.
    pub(super) fn head_table<'t>(&'t self, weights: &'t Weights) -> &'t Table {
        self.head.table(&weights.head)
    }
}

fn both<'t>(weights: &'t Weights, wide: &'t Tensor) -> [Read<'t>; 2] {
    let read = |table, looks_up| Read {
        table,
        wide,
        looks_up,
    };
    [read(&weights.embedding, true), read(&weights.head, false)]
}

impl OwnTable {
    fn new(gpu: &Gpu, trained: &TrainedTable, from: Read<'_>) -> Result<Self, Error> {
        Ok(match trained {
            TrainedTable::Nothing => Self::Nothing,
            TrainedTable::Whole(place) => {
                let size = from.table.size();
                Self::Whole(Table::dense(gpu, size.rows, size.columns)?, *place)
            }
            TrainedTable::Rows(own) => Self::Rows(OwnRows::new(gpu, own)?),
            TrainedTable::Factors(factors) => {
                let own = TableFactors::new(gpu, factors, from)?;
                Self::Factors(Box::new(own))
            }
        })
    }

    fn set(
        &self,
        gpu: &Gpu,
        (on_device, params): (&OnDevice, &Tensor),
        from: Read<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Nothing => Ok(()),
            Self::Whole(table, place) => {
                let to = table.values();
                let from = params.strided(*place, to.rows(), to.columns(), to.columns());
                gpu.convert(from, 1.0, to)
            }
            Self::Rows(own) => own.set(gpu, params),
            Self::Factors(own) => own.set(gpu, (on_device, params), from),
        }
    }

    fn table<'t>(&'t self, base: &'t Table) -> &'t Table {
        match self {
            Self::Whole(own, _) => own,
            Self::Nothing | Self::Rows(_) | Self::Factors(_) => base,
        }
    }
}
