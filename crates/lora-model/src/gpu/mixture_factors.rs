//! The factors of a layer's mixture on the device, where products read them.
use super::mixture::Mixture;
use super::mixture_bound::{MixtureFactors, ParameterPair, columns_of};
use super::stack_factors::StackFactors;
use lora_gpu::{Error, Gpu, Mat, Tensor};

/// Those at a router and at its experts.
#[derive(Debug, Default)]
pub(super) struct OwnFactors {
    pub(super) router: Option<RouterFactors>,
    pub(super) gate_up: Option<StackFactors>,
    pub(super) down: Option<StackFactors>,
}

/// Those at a router: A (columns, H) and s·B (E, columns), with zeros behind.
#[derive(Debug)]
pub(super) struct RouterFactors {
    pub(super) pair: ParameterPair,
    a: Tensor,
    b: Tensor,
    experts: usize,
    hidden: usize,
}

impl OwnFactors {
    /// Memory for those of a layer, if it has a mixture.
    pub(super) fn new(
        gpu: &Gpu,
        factors: MixtureFactors,
        mixture: Option<&Mixture>,
    ) -> Result<Self, Error> {
        let Some(mixture) = mixture else {
            return Ok(Self::default());
        };
        let router = |pair| RouterFactors::new(gpu, pair, mixture.router());
        let stack = |pair, stack| StackFactors::new(gpu, pair, stack);
        Ok(Self {
            router: factors.router.map(router).transpose()?,
            gate_up: factors
                .gate_up
                .map(|pair| stack(pair, &mixture.gate_up))
                .transpose()?,
            down: factors
                .down
                .map(|pair| stack(pair, &mixture.down))
                .transpose()?,
        })
    }

    /// Whether something trains at what reads the hidden state.
    pub(super) fn reads_input(&self) -> bool {
        self.router.is_some() || self.gate_up.is_some()
    }

    /// Values of the factors in the largest of the experts' matrices that are widened.
    pub(super) fn widened(&self, mixture: Option<&Mixture>) -> usize {
        let Some(mixture) = mixture else { return 0 };
        let own = [
            (&self.gate_up, &mixture.gate_up),
            (&self.down, &mixture.down),
        ];
        let own = own.into_iter().filter(|(own, _)| own.is_some());
        let values = own.map(|(_, stack)| stack.size().widened_factors());
        values.max().unwrap_or(0)
    }

    /// Takes the parameters on.
    pub(super) fn set(
        &self,
        gpu: &Gpu,
        mixture: Option<&Mixture>,
        params: &Tensor,
    ) -> Result<(), Error> {
        let Some(mixture) = mixture else {
            return Ok(());
        };
        if let Some(router) = &self.router {
            router.set(gpu, params)?;
        }
        let stacks = [
            (&self.gate_up, &mixture.gate_up),
            (&self.down, &mixture.down),
        ];
        for (own, stack) in stacks {
            if let Some(own) = own {
                own.set(gpu, stack, params)?;
            }
        }
        Ok(())
    }
}

impl RouterFactors {
    fn new(gpu: &Gpu, pair: ParameterPair, router: Mat<'_>) -> Result<Self, Error> {
        let (experts, hidden) = (router.rows(), router.columns());
        let columns = columns_of(pair.rank);
        let zeros = |values| {
            let tensor = gpu.activations(values)?;
            gpu.zero(&tensor, values)?;
            Ok::<_, Error>(tensor)
        };
        Ok(Self {
            pair,
            a: zeros(columns * hidden)?,
            b: zeros(experts * columns)?,
            experts,
            hidden,
        })
    }

    fn set(&self, gpu: &Gpu, params: &Tensor) -> Result<(), Error> {
        let pair = self.pair;
        let from = params.strided(pair.a, pair.rank, self.hidden, self.hidden);
        gpu.convert(from, 1.0, self.a().of_rows(0..pair.rank))?;
        let from = params.strided(pair.b, self.experts, pair.rank, pair.rank);
        gpu.convert(from, pair.scaling, self.b().of_columns(0..pair.rank))
    }

    /// A, (columns, H).
    pub(super) fn a(&self) -> Mat<'_> {
        self.a.mat(self.columns(), self.hidden)
    }

    /// s·B, (E, columns).
    pub(super) fn b(&self) -> Mat<'_> {
        self.b.mat(self.experts, self.columns())
    }

    /// Columns, with those that keep rows aligned.
    pub(super) fn columns(&self) -> usize {
        columns_of(self.pair.rank)
    }
}
