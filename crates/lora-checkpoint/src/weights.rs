//! The weights that a decoder of a shape has: what each is, its name and its shape.
use crate::families::{
    DeltaPart, EXPERT_PROJECTIONS, MambaPart, Mixer, Mlp, Norm, ShortConv, XIELU_BETA, XIELU_EPS,
    XieluNumber,
};
use crate::{ModelConfig, Projection};

/// Whose weight it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Embedding,
    Norm(usize, Norm),
    NormBias(usize, Norm),
    Linear(usize, Projection),
    /// Of an MLP beside experts.
    Shared(usize, Projection),
    Bias(usize, Projection),
    /// Of a layer with experts.
    Router(usize),
    /// Of a layer, the expert's number, and which of its projections.
    Expert(usize, usize, Projection),
    /// Where a family has such: of a layer's router, and of an expert's projections.
    RouterBias(usize),
    ExpertBias(usize, usize, Projection),
    /// Where a family has such: what is added to the scores of a layer's experts for the choice alone.
    ChoiceBias(usize),
    /// The scores of attention's sinks, one a head.
    Sinks(usize),
    Xielu(usize, XieluNumber),
    Delta(usize, DeltaPart),
    /// The taps of a layer's short convolution.
    ShortConv(usize),
    Mamba(usize, MambaPart),
    /// The table of the layers' own inputs.
    PerLayerEmbedding,
    /// What a layer's output is multiplied by.
    OutputScale(usize),
    FinalNorm,
    FinalNormBias,
    Head,
}

impl ModelConfig {
    /// The name and shape of every weight of this decoder, in the order of the forward pass. A tied head is not among them.
    pub fn weights(&self) -> Vec<(String, Vec<usize>)> {
        self.parts()
            .into_iter()
            .map(|(_, name, shape)| (name, shape))
            .collect()
    }

    /// How many parameters it has, as torch and PEFT count them: without what transformers keeps as buffers.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let is_buffer = |part| matches!(part, Part::OutputScale(_) | Part::ChoiceBias(_));
        let parts = self.parts().into_iter();
        let sizes = parts
            .filter(|(part, ..)| !is_buffer(*part))
            .map(|(.., shape)| shape.iter().map(|&d| d as u64).product::<u64>());
        sizes.sum()
    }

    /// [`ModelConfig::weights`] with what each is.
    pub(crate) fn parts(&self) -> Vec<(Part, String, Vec<usize>)> {
        let (v, h) = (self.vocab_size, self.hidden_size);
        let mut parts = vec![(
            Part::Embedding,
            "model.embed_tokens.weight".to_owned(),
            vec![v, h],
        )];
        if let Some((name, shape)) = self.per_layer_table() {
            parts.push((Part::PerLayerEmbedding, name, shape.to_vec()));
        }
        for layer in 0..self.num_hidden_layers {
            for &(norm, _) in self.facts().norms {
                let width = vec![self.norm_width(layer, norm)];
                let Some(path) = self.norm_path(layer, norm) else {
                    continue;
                };
                parts.push((
                    Part::Norm(layer, norm),
                    format!("{path}.weight"),
                    width.clone(),
                ));
                if self.facts().has_norm_bias(norm) {
                    parts.push((Part::NormBias(layer, norm), format!("{path}.bias"), width));
                }
            }
            for projection in self.projections_of(layer) {
                let path = self.path(projection, layer);
                let (out, inn) = self.shape(layer, projection);
                let part = match self.experts_of(layer) {
                    Some(_) if projection.is_of_mlp() => Part::Shared(layer, projection),
                    _ => Part::Linear(layer, projection),
                };
                parts.push((part, format!("{path}.weight"), vec![out, inn]));
                if self.has_bias(projection) {
                    parts.push((
                        Part::Bias(layer, projection),
                        format!("{path}.bias"),
                        vec![out],
                    ));
                }
            }
            if let Some(name) = self.sinks(layer) {
                let heads = vec![self.num_attention_heads];
                parts.push((Part::Sinks(layer), name, heads));
            }
            parts.extend(self.expert_parts(layer));
            if let Some(name) = self.output_scale(layer) {
                parts.push((Part::OutputScale(layer), name, vec![1]));
            }
            if let (Mixer::Delta, Some(delta)) = (self.layers[layer].mixer, self.delta) {
                for part in DeltaPart::ALL {
                    let name = format!("model.layers.{layer}.{}", part.path());
                    parts.push((Part::Delta(layer, part), name, part.shape(delta)));
                }
            }
            if let (Mixer::ShortConv, Some(conv)) = (self.layers[layer].mixer, self.short_conv) {
                let name = format!("model.layers.{layer}.{}", ShortConv::PATH);
                parts.push((Part::ShortConv(layer), name, vec![h, 1, conv.taps]));
            }
            if let (Mixer::Mamba, Some(mamba)) = (self.layers[layer].mixer, self.mamba) {
                for part in MambaPart::ALL {
                    let name = format!("model.layers.{layer}.{}", part.path());
                    let shape = part.shape(mamba);
                    parts.extend(shape.map(|shape| (Part::Mamba(layer, part), name, shape)));
                }
            }
            if self.facts().mlp == Mlp::Xielu {
                for number in XieluNumber::ALL {
                    let name = format!("model.layers.{layer}.{}", number.path());
                    parts.push((Part::Xielu(layer, number), name, vec![1]));
                }
            }
        }
        let last = self.facts().last_norm;
        parts.push((Part::FinalNorm, format!("{last}.weight"), vec![h]));
        if self.facts().norm_kind.has_bias() {
            parts.push((Part::FinalNormBias, format!("{last}.bias"), vec![h]));
        }
        if !self.tie_word_embeddings {
            parts.push((Part::Head, "lm_head.weight".to_owned(), vec![v, h]));
        }
        parts
    }

    /// The weights of a layer's router and experts: gates, ups and downs of all, each kind together.
    fn expert_parts(&self, layer: usize) -> Vec<(Part, String, Vec<usize>)> {
        let (Some(experts), Some(names)) = (self.experts_of(layer), self.facts().experts) else {
            return Vec::new();
        };
        let name = |path: &str, of: &str| format!("model.layers.{layer}.{path}.{of}");
        let weight = |path: &str| name(path, "weight");
        let shape = vec![experts.count, self.hidden_size];
        let mut parts = vec![(Part::Router(layer), weight(names.router), shape)];
        if names.biased {
            let bias = (
                Part::RouterBias(layer),
                name(names.router, "bias"),
                vec![experts.count],
            );
            parts.push(bias);
        }
        if let Some(name) = self.choice_bias(layer) {
            parts.push((Part::ChoiceBias(layer), name, vec![experts.count]));
        }
        for projection in EXPERT_PROJECTIONS {
            let (out, inn) = self.expert_shape(experts, projection);
            parts.extend((0..experts.count).map(|expert| {
                let part = Part::Expert(layer, expert, projection);
                (part, weight(&names.of(expert, projection)), vec![out, inn])
            }));
            let biases = (0..experts.count).filter(|_| names.biased);
            parts.extend(biases.map(|expert| {
                let part = Part::ExpertBias(layer, expert, projection);
                let name = name(&names.of(expert, projection), "bias");
                (part, name, vec![out])
            }));
        }
        parts
    }

    /// Name and value of what transformers keeps beside the weights and no model changes: β and ε of xIELU, layer by layer.
    #[must_use]
    pub fn constants(&self) -> Vec<(String, f32)> {
        if self.facts().mlp != Mlp::Xielu {
            return Vec::new();
        }
        let of_layer = |layer: usize| {
            let name = |constant: &str| format!("model.layers.{layer}.mlp.act_fn.{constant}");
            [(name("beta"), XIELU_BETA), (name("eps"), XIELU_EPS)]
        };
        (0..self.num_hidden_layers).flat_map(of_layer).collect()
    }

    /// What every value of a vector among the weights begins with, in a model that is trained from scratch.
    #[must_use]
    pub fn initial(&self, name: &str) -> f32 {
        let number = XieluNumber::ALL
            .into_iter()
            .find(|n| name.ends_with(n.path()));
        let delta = DeltaPart::ALL
            .into_iter()
            .find(|part| name.ends_with(part.path()));
        if let Some(part) = delta {
            return part.initial();
        }
        let mamba = MambaPart::ALL
            .into_iter()
            .find(|part| name.ends_with(part.path()));
        if let Some(part) = mamba {
            return part.initial();
        }
        match number {
            Some(number) => number.initial(),
            None if name.ends_with(".bias") => 0.0,
            None => 1.0 - self.facts().norm_offset,
        }
    }
}
