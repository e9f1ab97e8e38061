//! What an adapter can train in a decoder. Names and shapes are the config's (lora-checkpoint).
use lora_checkpoint::{DeltaPart, MambaPart, ModelConfig, PER_LAYER_EMBEDDING, ShortConv};
use lora_core::{LoraConfig, Module, Role, TokenIndices, TrainedRows, TrainedTensor};

mod mixtures;

pub(crate) use mixtures::MixturePaths;
pub use mixtures::{ExpertPart, part_of, parts_in};

pub use lora_checkpoint::Projection;

/// Path of the token embedding.
pub const EMBEDDING: &str = "model.embed_tokens";
/// Path of the output head.
pub const HEAD: &str = "lm_head";

/// True if the embedding trains as a whole, or rows of it.
#[must_use]
pub fn trains_embedding(trained: &[TrainedTensor], rows: &[TrainedRows]) -> bool {
    let is_table =
        |tensor: &TrainedTensor| tensor.tensor.strip_suffix(".weight") == Some(EMBEDDING);
    trained.iter().any(is_table) || rows.iter().any(|own| own.are_of(EMBEDDING))
}

/// Which rows a new adapter trains for added tokens: of embedding and head, where these don't train as a whole.
#[must_use]
pub fn rows_to_train(config: &LoraConfig, tied: bool, ids: &[usize]) -> TokenIndices {
    if ids.is_empty() {
        return TokenIndices::None;
    }
    let is_saved = |path: &str| {
        let mut saved = config.modules_to_save.iter();
        saved.any(|name| path.ends_with(name.as_str()))
    };
    let tables = [EMBEDDING, HEAD].into_iter();
    let open: Vec<&str> = tables.filter(|path| !is_saved(path)).collect();
    match open.as_slice() {
        [] => TokenIndices::None,
        [_, _] if tied => TokenIndices::Embedding(ids.to_vec()),
        open => {
            let short = |path: &&str| path.rsplit('.').next().unwrap_or(path).to_owned();
            TokenIndices::Modules(
                open.iter()
                    .map(|path| (short(path), ids.to_vec()))
                    .collect(),
            )
        }
    }
}

/// All modules, in model order: the embedding, norms and projections layer by layer, the last norm, the head; then those
/// without weights, which a target must not match.
#[must_use]
pub fn modules(config: &ModelConfig) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    for (name, shape) in config.weights() {
        if let Some(path) = name.strip_suffix(".bias") {
            let biased = modules.iter_mut().rev().find(|m| m.path == path);
            biased.into_iter().for_each(Module::add_bias);
            continue;
        }
        // PEFT takes it for a bias, by its name.
        if is_step_bias(&name) {
            let mut own = Module::frozen(&name, shape.iter().product());
            own.add_bias();
            modules.push(own);
            continue;
        }
        // What an activation learns is no module's weight, and nothing that an adapter trains.
        let Some(path) = name.strip_suffix(".weight") else {
            continue;
        };
        if let Some(module) = of_experts(config, path, &shape) {
            modules.extend(module);
            continue;
        }
        modules.push(match shape[..] {
            [vocabulary, width] if path == EMBEDDING => Module::embedding(path, vocabulary, width),
            _ if path == PER_LAYER_EMBEDDING => Module::frozen(path, shape.iter().product()),
            [out, inn] if is_unadapted(config, path) => Module::unadapted(path, out * inn),
            _ if is_of_state(&name) => Module::frozen(path, shape.iter().product()),
            [out_features, in_features] => Module {
                is_head: path == HEAD,
                roles: roles_of(config, path),
                ..Module::linear(path, in_features, out_features)
            },
            _ => Module::norm(path, shape.iter().product()),
        });
    }
    modules.extend(mixtures::parameters(config));
    if config.tie_word_embeddings {
        let head = Module::linear(HEAD, config.hidden_size, config.vocab_size);
        modules.push(Module {
            is_head: true,
            tied: true,
            ..head
        });
    }
    for module in &mut modules {
        module.is_default_target = config.facts().peft_targets.contains(&module.name());
    }
    for layer in 0..config.num_hidden_layers {
        let own = weightless(config, layer);
        modules.extend(own.map(|path| Module::weightless(format!("model.layers.{layer}.{path}"))));
    }
    modules.push(Module::weightless("model.rotary_emb"));
    modules
}

/// Paths in a layer of what transformers holds there without weights: of its MLP, of experts, or of both.
fn weightless(config: &ModelConfig, layer: usize) -> impl Iterator<Item = &'static str> {
    let facts = config.facts();
    let of_mlp = facts
        .weightless
        .iter()
        .filter(move |_| config.has_mlp(layer));
    let experts = facts.experts.filter(|_| config.layers[layer].experts);
    let of_experts = experts.map_or(&[][..], |own| own.weightless);
    of_mlp.chain(of_experts).copied()
}

/// Whether it is a linear layer that PEFT puts no LoRA on.
fn is_unadapted(config: &ModelConfig, path: &str) -> bool {
    let facts = config.facts();
    let mut all = facts.unadapted.iter();
    all.any(|&own| path.ends_with(facts.path(own)))
}

/// Whether it is what is added to that which the steps of a layer with a state are made of.
fn is_step_bias(name: &str) -> bool {
    [DeltaPart::StepBias.path(), MambaPart::StepBias.path()]
        .iter()
        .any(|path| name.ends_with(path))
}

/// Whether it is what a recurrent layer learns beside its linear layers.
fn is_of_state(name: &str) -> bool {
    let delta = DeltaPart::ALL.map(DeltaPart::path).into_iter();
    let mut paths = delta.chain(MambaPart::ALL.map(MambaPart::path));
    name.ends_with(ShortConv::PATH) || paths.any(|path| name.ends_with(path))
}

/// The module of a weight that PEFT takes for a parameter of a mixture, if it is one: the router, the experts (one module
/// for each of their projections, however many they are: none for those after the first), and the projections of layers
/// without experts, whose names are theirs. They have no roles: sets of targets leave them out. Of a family whose experts
/// PEFT doesn't know there are two modules that stay as they are, router and experts.
fn of_experts(config: &ModelConfig, path: &str, shape: &[usize]) -> Option<Option<Module>> {
    let own = config.facts().experts?;
    let [router, experts] = own.modules();
    let parameter = |path: &str| match own.are_parameters {
        true => Module::parameter(path, shape[1], shape[0]),
        false => Module::frozen(path, shape.iter().product()),
    };
    if let Some((before, name)) = path.split_once(&format!(".{}.", own.path)) {
        let (expert, name) = name.split_once('.')?;
        if !own.are_parameters {
            let is_first = expert == "0" && name == own.names[0];
            let all = config.experts.map_or(0, |e| 3 * e.count * e.width) * config.hidden_size;
            return Some(is_first.then(|| Module::frozen(format!("{before}.{experts}"), all)));
        }
        let path = format!("{before}.{experts}.{name}");
        return Some((expert == "0").then(|| parameter(&path)));
    }
    if let Some(before) = path.strip_suffix(own.router)
        && before.ends_with('.')
    {
        return Some(Some(parameter(&format!("{before}{router}"))));
    }
    let is_at = |module: &str| path.ends_with(&format!(".{module}"));
    let is_called_so = own.are_parameters && own.names.iter().any(|name| is_at(name));
    let mut mlp = config.projections().filter(|p| p.is_of_mlp());
    let is_own = is_called_so && mlp.any(|p| is_at(config.facts().path(p)));
    is_own.then(|| Some(parameter(path)))
}

/// The roles of a linear layer: none outside the decoder's layers.
fn roles_of(config: &ModelConfig, path: &str) -> &'static [Role] {
    let own = |p: &Projection| path.ends_with(config.facts().path(*p));
    config.projections().find(own).map_or(&[], roles)
}

/// What a projection is for, as lora-core calls it. What a short convolution or Mamba-2 reads is for queries, keys and values;
/// in a layer of Gated DeltaNet these are one, the gate of its output belongs to the output, and what decay and β are made of
/// (a number a head) has no role: all-linear alone takes it.
const fn roles(projection: Projection) -> &'static [Role] {
    match projection {
        Projection::Q | Projection::QGate => &[Role::Query],
        Projection::K => &[Role::Key],
        Projection::V => &[Role::Value],
        Projection::O
        | Projection::OutputGate
        | Projection::DeltaZ
        | Projection::DeltaOut
        | Projection::ConvOut
        | Projection::MambaOut => &[Role::Output],
        Projection::Gate => &[Role::Gate],
        Projection::Up => &[Role::Up],
        Projection::Down => &[Role::Down],
        Projection::Qkv | Projection::DeltaQkv | Projection::ConvIn | Projection::MambaIn => {
            &[Role::Query, Role::Key, Role::Value]
        }
        Projection::DeltaB
        | Projection::DeltaA
        | Projection::MambaZ
        | Projection::MambaXbc
        | Projection::MambaDt
        | Projection::PerLayerModel
        | Projection::PerLayerGate
        | Projection::PerLayerOut => &[],
        Projection::GateUp => &[Role::Gate, Role::Up],
    }
}
