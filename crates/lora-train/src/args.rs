//! The command line: every flag is one field, which is also the receipt's key and the YAML key of a pipeline.
use crate::choices::{Decay, Method, RouteKind, WeightDtype};
use crate::values::{accumulation, warmup};
use lora_cli::values::{at_least_one, below_one, not_negative, positive, rank, threads};
use lora_cli::{ChangedInput, Common, DeviceChoice, Error, LoraArgs, OtherBase, Result, ToolArgs};
use lora_core::Preset;
use std::path::PathBuf;

/// Fine-tune a language model with LoRA on a dataset of lora-prep, on the CPU or a GPU.
///
/// Examples of unequal length are packed end to end, never padded; the loss is the mean over the supervised tokens of a
/// step. The same inputs, flags and seed give the same adapter bytes, for any number of threads and for a run that was
/// killed and continued with --resume.
#[derive(Debug, Clone, clap::Parser, serde::Serialize)]
#[command(name = "lora-train", version, after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct Args {
    /// Base model: a Hugging Face folder, a GGUF file, or `hub:OWNER/NAME[@REVISION][/FILE]`; `-` takes it from an upstream
    /// receipt.
    #[arg(long, value_name = "MODEL")]
    pub base: PathBuf,
    /// Dataset folder of lora-prep, hub:OWNER/NAME of one, or a parquet file with input_ids and labels; `-` takes it from an
    /// upstream receipt.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Start from this adapter (PEFT's layout) and keep its rank, alpha and targets; `-` takes it from a receipt.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["preset", "rank", "alpha", "targets", "target_parameters", "rslora", "exclude", "layers", "layers_pattern", "rank_pattern", "alpha_pattern", "modules_to_save", "bias", "lora_bias", "dora", "init"])]
    pub adapter: Option<PathBuf>,
    /// Bases that are not the adapter's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub other_base: OtherBase,
    /// Inputs that have changed since a tool wrote them.
    #[command(flatten)]
    #[serde(flatten)]
    pub changed_input: ChangedInput,
    /// Folder to write: the best adapter, metrics.jsonl, checkpoints/, README.md, receipt.json.
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub out: PathBuf,
    /// Replace an existing output.
    #[arg(long)]
    #[serde(skip)]
    pub force: bool,
    /// Continue an interrupted run from OUT.partial; the result is the same, byte for byte, as without the interruption.
    #[arg(long)]
    #[serde(skip)]
    pub resume: bool,

    /// What trains: adapters on frozen weights, or all weights (a base folder without weights starts at random).
    #[arg(long, value_enum, default_value_t = Method::Lora, help_heading = "What trains")]
    pub method: Method,
    /// Whole setting: conservative (r 8 on q, v, dropout 0.05), balanced (r 16 on all seven), maximum (r 64 on all
    /// seven); the flags below override it [default: balanced].
    #[arg(long, value_parser = ["conservative", "balanced", "maximum"], help_heading = "What trains")]
    pub preset: Option<String>,
    /// Rank r of the adapters [default: the preset's].
    #[arg(long, value_name = "N", value_parser = rank, help_heading = "What trains")]
    pub rank: Option<usize>,
    /// α; the adapters' output is scaled by α/r [default: the rank].
    #[arg(long, value_name = "X", value_parser = positive, help_heading = "What trains")]
    pub alpha: Option<f64>,
    /// Modules that carry an adapter: names (q_proj,v_proj), a regular expression on the module path, all-linear, or
    /// attention (q, v), full-attention (q, k, v, o), all (all seven), each by the names that the base has for them, default
    /// (PEFT's own for the family, mostly q_proj and v_proj), none (beside --target-parameters) [default: the preset's]. The embedding (embed_tokens) and the head (lm_head) can carry one, too.
    #[arg(long, value_name = "NAMES", help_heading = "What trains")]
    pub targets: Vec<String>,
    /// Weights of a mixture of experts that carry an adapter, beside --targets: experts (gate, up and down of all of them),
    /// router, or names as PEFT takes them (mlp.experts.down_proj, layers.0.mlp.gate.weight). Each expert has factors of its
    /// own; gate and up share their A.
    #[arg(long, value_name = "NAMES", help_heading = "What trains")]
    pub target_parameters: Vec<String>,
    /// Scale by α/√r (rsLoRA).
    #[arg(long, help_heading = "What trains")]
    pub rslora: bool,
    /// Dropout on the adapters' inputs, 0 to below 1 [default: the preset's or the adapter's].
    #[arg(long, value_name = "P", value_parser = below_one, help_heading = "What trains")]
    pub dropout: Option<f64>,
    /// Storage of the weights with --method full [default: as config.json says].
    #[arg(long, value_enum, help_heading = "What trains")]
    pub dtype: Option<WeightDtype>,
    /// More of the adapter.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    /// LoRA+: B and vectors learn at this many times --lr (arXiv 2402.12354), factors of embeddings at 1e-6, as in PEFT.
    #[arg(long, value_name = "X", value_parser = positive, help_heading = "Adapter")]
    pub lora_plus_ratio: Option<f64>,

    /// Passes over the data; may be a fraction [default: 3].
    #[arg(long, value_name = "X", value_parser = positive, conflicts_with = "steps", help_heading = "How long")]
    pub epochs: Option<f64>,
    /// Optimiser steps, in place of --epochs.
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "How long")]
    pub steps: Option<usize>,
    /// Examples in a batch [default: 8].
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "How long")]
    pub batch: Option<usize>,
    /// Tokens in a batch at most (a longer example is a batch of its own), in place of --batch.
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "batch", help_heading = "How long")]
    pub batch_tokens: Option<usize>,
    /// Batches whose gradients are summed before a step.
    #[arg(long, value_name = "N", value_parser = accumulation, default_value = "1", help_heading = "How long")]
    pub accumulation: usize,
    /// Put examples of similar length into the same batch; the order of the batches stays random.
    #[arg(long, help_heading = "How long")]
    pub group_by_length: bool,

    /// Learning rate at its peak.
    #[arg(long, value_name = "X", value_parser = positive, default_value = "2e-4", help_heading = "Optimiser")]
    pub lr: f64,
    /// Shape of the learning rate after the warm-up.
    #[arg(long, value_enum, default_value_t = Decay::Linear, help_heading = "Optimiser")]
    pub schedule: Decay,
    /// Warm-up from rate 0: a share of the run if below 1, else a number of steps.
    #[arg(long, value_name = "X", value_parser = warmup, default_value = "0.03", help_heading = "Optimiser")]
    pub warmup: f64,
    /// AdamW's decoupled weight decay.
    #[arg(long, value_name = "X", value_parser = not_negative, default_value = "0", help_heading = "Optimiser")]
    pub weight_decay: f64,
    /// Largest norm of the gradients, which are scaled down to it; 0 turns clipping off.
    #[arg(long, value_name = "X", value_parser = not_negative, default_value = "1", help_heading = "Optimiser")]
    pub clip: f64,
    /// Coefficient of the loss that keeps a mixture's experts balanced (aux_loss in metrics.jsonl): each batch has one for all
    /// of its tokens, which is added to the loss that trains, not to the losses that are shown; 0 turns it off [default:
    /// config.json's router_aux_loss_coef where its output_router_logits is true, else 0].
    #[arg(long, value_name = "X", value_parser = not_negative, help_heading = "Optimiser")]
    pub router_aux_loss_coef: Option<f64>,
    /// Seed of initialisation, order and dropout.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Optimiser"
    )]
    pub seed: u64,

    /// Measure the loss on the valid split, and write a checkpoint, every N steps; the best adapter is what OUT holds
    /// [default: every epoch, and at least four times].
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Evaluation")]
    pub eval_every: Option<usize>,
    /// Stop after N evaluations in a row without a better loss.
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Evaluation")]
    pub patience: Option<usize>,

    /// Where to compute: a GPU if there is one that can do it (auto), cpu, or cuda:N. The same seed gives other bytes on a GPU,
    /// which computes in bfloat16; OUT's receipt names what was taken.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto, help_heading = "Machine")]
    pub device: DeviceChoice,
    /// Way through the decoder: fused (hand-written kernels) or composite (a graph of tensor operations; slower, the
    /// reference) [default: fused; composite with --method full].
    #[arg(long, value_enum, help_heading = "Machine")]
    pub route: Option<RouteKind>,
    /// Compute the tokens that several examples of a batch begin with (system message, template) for each of them again;
    /// with dropout this is always so, without it the results differ by rounding only.
    #[arg(long, help_heading = "Machine")]
    pub no_shared_prefixes: bool,
    /// Memory that the run may take at its peak, of the machine or, on a GPU, of the card, e.g. 700MB or 2GiB: layers whose activations don't fit are computed again in
    /// the backward pass, and activations are kept in bfloat16 where that saves computing again. Without this flag four
    /// fifths of what is free, and nothing is rounded: the result is then the same for any amount of memory.
    #[arg(long, value_name = "SIZE", value_parser = lora_cli::values::bytes, help_heading = "Machine")]
    pub memory: Option<u64>,
    /// Measure where the time of the steps goes, kernel by kernel, and print it at the end.
    #[arg(long, help_heading = "Machine")]
    #[serde(skip)]
    pub profile: bool,
    /// Threads; they don't change the result [default: as many as this process may use].
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Machine")]
    pub threads: Option<usize>,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

const EXAMPLES: &str = "\
Examples:
  lora-train --base smollm2.gguf --data dataset --out adapter
  lora-train --base smollm2.gguf --data dataset --preset maximum --lr 1e-4 --out adapter
  lora-train --base m --data d --rank 8 --targets '.*layers\\.[0-3]\\..*_proj' --out adapter
  lora-train --base m --data d --dora --layers 8-15 --targets q_proj,v_proj --out adapter
  lora-train --base m --data d --rank-pattern down_proj=32 --modules-to-save lm_head,norm --out adapter
  lora-train --base qwen3-30b-a3b.gguf --data d --target-parameters experts --out adapter
  lora-train --base m --data d --init pissa --rslora --rank 64 --lora-plus-ratio 16 --out adapter
  lora-train --base llama-3.1-8b-q4_k_m.gguf --data d --device cuda --out adapter
  lora-train --base m --data d --adapter adapter --lr 5e-5 --epochs 1 --out adapter2
  lora-prep raw.jsonl --base m --out d | lora-train --data - --base m --out adapter";

impl ToolArgs for Args {
    const WITHOUT_EFFECT: &'static [&'static str] = &["threads", "profile"];

    fn check(&self) -> Result<()> {
        self.clone().resolve()
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

impl Args {
    /// Puts every default that depends on another flag in place, so that the receipt holds what was used.
    pub(crate) fn resolve(&mut self) -> Result<()> {
        match self.method {
            Method::Lora => self.resolve_lora()?,
            Method::Full => self.refuse_lora_flags()?,
        }
        if self.steps.is_none() {
            self.epochs.get_or_insert(3.0);
        }
        if self.batch_tokens.is_none() {
            self.batch.get_or_insert(8);
        }
        let default_route = if self.method == Method::Full {
            RouteKind::Composite
        } else {
            RouteKind::Fused
        };
        let wants_gpu = matches!(self.device, DeviceChoice::Cuda(_));
        if wants_gpu && self.method == Method::Full {
            return Err(Error::new("--method full computes on the CPU")
                .hint("--device cpu, or --method lora"));
        }
        if wants_gpu && self.route == Some(RouteKind::Composite) {
            return Err(Error::new("--route composite computes on the CPU")
                .hint("--device cpu, or --route fused"));
        }
        self.route.get_or_insert(default_route);
        if self.route == Some(RouteKind::Composite) {
            self.device = DeviceChoice::Cpu;
        }
        self.check_route()?;
        self.threads.get_or_insert_with(lora_cli::cores);
        Ok(())
    }

    fn resolve_lora(&mut self) -> Result<()> {
        if self.dtype.is_some() {
            return Err(Error::new(
                "--dtype is for --method full: an adapter is always f32",
            ));
        }
        if self.adapter.is_some() {
            return Ok(()); // rank, alpha, targets and dropout are the adapter's own
        }
        let name = self.preset.get_or_insert_with(|| "balanced".to_owned());
        let preset = Preset::named(name)
            .ok_or_else(|| Error::new(format!("no preset is called `{name}`")))?;
        let rank = *self.rank.get_or_insert(preset.rank);
        self.alpha.get_or_insert(rank as f64);
        if self.targets.is_empty() {
            self.targets.push(preset.targets.to_owned());
        }
        self.dropout.get_or_insert(preset.dropout);
        let mut config = self.lora_config(self.targets()?.unresolved())?;
        config.lora_dropout = self.dropout.unwrap_or_default();
        if self.target_parameters()?.is_some() {
            config.target_parameters = Some(self.target_parameters.clone());
        }
        config.validate()?;
        Ok(())
    }

    /// Refuses flags about memory that mean nothing on the composite route.
    fn check_route(&self) -> Result<()> {
        let given = [
            ("--memory", self.memory.is_some()),
            ("--profile", self.profile),
        ];
        match given
            .iter()
            .find(|(_, given)| *given && self.route == Some(RouteKind::Composite))
        {
            None => Ok(()),
            Some((flag, _)) => Err(Error::new(format!("{flag} is for the fused route"))
                .hint("leave it out, or --route fused")),
        }
    }

    fn refuse_lora_flags(&self) -> Result<()> {
        let given = [
            ("--adapter", self.adapter.is_some()),
            ("--preset", self.preset.is_some()),
            ("--rank", self.rank.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--targets", !self.targets.is_empty()),
            ("--target-parameters", !self.target_parameters.is_empty()),
            ("--rslora", self.rslora),
            ("--dropout", self.dropout.is_some()),
            ("--route fused", self.route == Some(RouteKind::Fused)),
            ("--memory", self.memory.is_some()),
            ("--profile", self.profile),
            ("--lora-plus-ratio", self.lora_plus_ratio.is_some()),
        ];
        let given = given.into_iter().filter(|(_, given)| *given);
        let given = given.map(|(flag, _)| flag.to_owned());
        let of_adapter = self.lora.given().map(|(name, _)| format!("--{name}"));
        match given.chain(of_adapter).next() {
            None => Ok(()),
            Some(flag) => Err(Error::new(format!(
                "{flag} can't be used with --method full, which trains all weights"
            ))
            .hint("leave it out, or use --method lora")),
        }
    }
}
