//! Which rows of which linear layers a model's factors meet, and the same model with the factors in its weights.
use crate::families::MambaShape;
use crate::{Factors, ModelConfig, Multipliers, Projection};

impl ModelConfig {
    /// What a linear layer reads is multiplied by.
    #[must_use]
    pub fn input_factor(&self, projection: Projection) -> f64 {
        match projection {
            Projection::Q | Projection::K | Projection::V | Projection::Qkv => {
                self.factors.attention_in
            }
            Projection::MambaIn
            | Projection::MambaZ
            | Projection::MambaXbc
            | Projection::MambaDt => self.factors.ssm_in,
            _ => 1.0,
        }
    }

    /// What the rows of a linear layer give is multiplied by: neighbouring rows with one factor, and how many those are. None if
    /// all are 1.
    #[must_use]
    pub fn output_factors(
        &self,
        layer: usize,
        projection: Projection,
    ) -> Option<Vec<(usize, f64)>> {
        if self.factors == Factors::NONE {
            return None;
        }
        let own = &self.factors;
        let mut all = Vec::new();
        for &part in projection.parts() {
            let rows = self.shape(layer, part).0;
            let [gate, x, b, c, steps] = own.ssm;
            match part {
                Projection::K => all.push((rows, own.key)),
                Projection::O => all.push((rows, own.attention_out)),
                Projection::Gate => all.push((rows, own.mlp[0])),
                Projection::Down => all.push((rows, own.mlp[1])),
                Projection::MambaZ => all.push((rows, gate)),
                Projection::MambaXbc => {
                    let values = self.mamba.map_or(0, MambaShape::values);
                    let each = (rows - values) / 2;
                    all.extend([(values, x), (each, b), (each, c)]);
                }
                Projection::MambaDt => all.push((rows, steps)),
                Projection::MambaOut => all.push((rows, own.ssm_out)),
                _ => all.push((rows, 1.0)),
            }
        }
        all.iter().any(|&(_, factor)| factor != 1.0).then_some(all)
    }

    /// What the rows of a weight are multiplied by, before the layer and behind it together. None if all are 1.
    #[must_use]
    pub fn row_factors(&self, layer: usize, projection: Projection) -> Option<Vec<(usize, f64)>> {
        let input = self.input_factor(projection);
        let own = self.output_factors(layer, projection);
        let rows = self.shape(layer, projection).0;
        match (own, input == 1.0) {
            (None, true) => None,
            (own, _) => {
                let mut all = own.unwrap_or_else(|| vec![(rows, 1.0)]);
                all.iter_mut().for_each(|(_, factor)| *factor *= input);
                Some(all)
            }
        }
    }

    /// The factors that some files of a family have in their weights and others beside them, by which two files are told apart;
    /// nothing for families without such.
    #[must_use]
    pub fn factor_mark(&self) -> Option<String> {
        if !self.facts().gguf.folds_factors {
            return None;
        }
        let around = self.factors.named().into_iter().map(|(_, factor)| factor);
        let all = [self.multipliers.embedding, 1.0 / self.multipliers.logits];
        let all: Vec<String> = all
            .into_iter()
            .chain(around)
            .map(|factor| (factor as f32).to_string())
            .collect();
        Some(all.join(" "))
    }

    /// Whether it has factors beside its weights that files of the same model can have in them.
    #[must_use]
    pub fn has_factors(&self) -> bool {
        *self != self.folded()
    }

    /// The same model with its factors in the weights: what a GGUF file of such a family holds.
    pub(crate) fn folded(&self) -> Self {
        let mut folded = self.clone();
        if self.facts().gguf.folds_factors {
            folded.factors = Factors::NONE;
            folded.multipliers = Multipliers::default();
            folded.tie_word_embeddings = self.tie_word_embeddings && !self.unties();
        }
        folded
    }

    /// Whether embedding and head, though one weight, are two with their factors in them.
    pub(crate) fn unties(&self) -> bool {
        let own = &self.multipliers;
        let differ = (own.embedding * own.logits - 1.0).abs() > 1e-9;
        self.facts().gguf.folds_factors && self.tie_word_embeddings && differ
    }
}
