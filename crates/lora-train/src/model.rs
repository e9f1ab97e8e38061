//! Builds what trains.
use crate::args::Args;
use crate::chat;
use crate::choices::{Method, RouteKind};
use crate::data::Rows;
use crate::device;
use crate::failure::explain;
use crate::inputs::{Inputs, Start};
use crate::memory::{self, Carried};
use crate::tokens;
use lora_cli::{DeviceChoice, Error, Result, Ui};
use lora_core::{Adapter, BaseModel, Init, Layout, LoraConfig, trainable_line};
use lora_data::Example;
use lora_gpu::Identity;
use lora_model::{Base, Composite, FullModel, Fused, GpuMemory, Route, spec};
use lora_receipt::HubPlace;
use lora_training::{
    FullTrainable, LoraSettings, LoraTrainable, MemoryPlan, Trainable, rank_warning,
};
use std::path::Path;

/// What trains, and what is said of it.
pub(crate) struct Model<'b> {
    pub(crate) trainable: Box<dyn Trainable<Row = Example> + 'b>,
    /// PEFT's line.
    pub(crate) summary: String,
    /// How it uses memory, if that was planned.
    pub(crate) memory: Option<MemoryPlan>,
    /// Where it computes.
    pub(crate) device: DeviceChoice,
    /// The GPU and how its memory is used, if it computes there.
    pub(crate) gpu: Option<(Identity, GpuMemory)>,
}

/// An adapter on the base, or all weights.
pub(crate) fn build<'b>(
    args: &Args,
    inputs: &'b Inputs,
    rows: &Rows,
    ui: &Ui,
) -> Result<Model<'b>> {
    tokens::check(args, inputs)?;
    match (&inputs.base, args.method) {
        (Start::Weights(base), Method::Lora) => {
            inputs.check_base(args, base, ui)?;
            tokens::say_unused(base, &rows.train, ui);
            lora(args, base, rows, ui)
        }
        (Start::Weights(base), Method::Full) => {
            if !args.base.join("config.json").is_file() {
                return Err(Error::new(format!(
                    "{}: --method full needs a Hugging Face folder",
                    args.base.display()
                ))
                .hint("make one with lora-export --model MODEL --format hf --out DIR"));
            }
            full(FullModel::from_base(base)?, args, (inputs, rows), ui)
        }
        (Start::Shape(config), _) => {
            ui.say(&format!(
                "{} has no weights: starting at random from its config.json",
                args.base.display()
            ));
            full(
                FullModel::random((**config).clone(), args.seed)?,
                args,
                (inputs, rows),
                ui,
            )
        }
    }
}

fn lora<'b>(args: &Args, base: &'b Base, rows: &Rows, ui: &Ui) -> Result<Model<'b>> {
    let notes = base.checkpoint().notes();
    notes.iter().for_each(|note| ui.warn(note));
    let plan = Plan::of(args, base, ui)?;
    let (way, adapter) = way(args, base, plan, rows, ui)?;
    let summary = trainable_line(
        adapter.params.len() as u64,
        adapter.added_parameters() as u64,
        base.total_parameters(),
    );
    let settings = LoraSettings {
        seed: args.seed,
        lr: args.lr,
        lora_plus_ratio: args.lora_plus_ratio,
    };
    Ok(Model {
        trainable: Box::new(LoraTrainable::new(way.route, adapter, settings)),
        summary,
        memory: way.memory,
        device: way.device,
        gpu: way.gpu,
    })
}

/// The way through the decoder, and what is said of it.
struct Way<'b> {
    route: Box<dyn Route + 'b>,
    memory: Option<MemoryPlan>,
    device: DeviceChoice,
    gpu: Option<(Identity, GpuMemory)>,
}

impl<'b> Way<'b> {
    fn on_cpu(route: impl Route + 'b, memory: Option<MemoryPlan>) -> Self {
        Self {
            route: Box::new(route),
            memory,
            device: DeviceChoice::Cpu,
            gpu: None,
        }
    }
}

/// The way that the flags ask for, and the adapter: its memory is planned before it is taken.
fn way<'b>(
    args: &Args,
    base: &'b Base,
    plan: Plan,
    rows: &Rows,
    ui: &Ui,
) -> Result<(Way<'b>, Adapter)> {
    if args.route == Some(RouteKind::Composite) {
        memory::check_adapter(plan.carried().trainable)?;
        let way = Way::on_cpu(Composite::new(base)?, None);
        return Ok((way, plan.adapter(args, base)?));
    }
    let batch = memory::largest_of(args, base, &plan.carried(), rows)?;
    let mut adapter = None;
    if let Some(gpu) = device::find(args, ui)? {
        memory::check_adapter(plan.carried().trainable)?;
        let initialised = plan.clone().adapter(args, base)?;
        if let Some(placed) = device::place(args, gpu, base, (&initialised, batch), ui)? {
            let way = Way {
                route: Box::new(placed.route),
                memory: None,
                device: placed.choice,
                gpu: Some((placed.identity, placed.memory)),
            };
            return Ok((way, initialised));
        }
        adapter = Some(initialised);
    }
    let memory = memory::choose(args, base, &plan.carried(), (rows, batch), ui)?;
    let route = Fused::new(base, args.threads())?.with_shared_prefixes(!args.no_shared_prefixes);
    let way = Way::on_cpu(route.with_plan(memory.plan), Some(memory));
    let adapter = match adapter {
        Some(adapter) => adapter,
        None => plan.adapter(args, base)?,
    };
    Ok((way, adapter))
}

fn full<'b>(
    model: FullModel,
    args: &Args,
    (inputs, rows): (&Inputs, &Rows),
    ui: &Ui,
) -> Result<Model<'b>> {
    let end = chat::end(args, inputs, rows, &model.config, ui);
    let all = model.params.len() as u64;
    let dtype = args.dtype.map(Into::into);
    let trainable = FullTrainable::new(model, &args.base, dtype)
        .map_err(explain)?
        .with_chat(rows.chat.clone())
        .ending_at(end);
    Ok(Model {
        trainable: Box::new(trainable),
        summary: trainable_line(all, all, 0),
        memory: None,
        device: DeviceChoice::Cpu,
        gpu: None,
    })
}

/// The adapter to start from, or the config and layout of a new one: its memory is planned before it is taken.
#[derive(Clone)]
enum Plan {
    Loaded(Adapter),
    New(LoraConfig, Layout),
}

impl Plan {
    fn of(args: &Args, base: &Base, ui: &Ui) -> Result<Self> {
        if let Some(dir) = &args.adapter {
            let (mut adapter, warnings) = Adapter::load(dir, base)?;
            warnings.iter().for_each(|warning| ui.warn(warning));
            tokens::check_loaded(&adapter, base)?;
            if let Some(dropout) = args.dropout {
                adapter.config.lora_dropout = dropout;
                adapter.config.validate()?;
            }
            return Ok(Self::Loaded(adapter));
        }
        let modules = base.modules();
        let targets = args.targets()?.resolve(&modules)?;
        let mut config = args.lora_config(targets)?;
        if let Some(parameters) = args.target_parameters()? {
            config.target_parameters = Some(parameters.resolve(&modules)?);
        }
        tokens::train_rows(&mut config, base);
        config.require_effect(&modules)?;
        if matches!(config.init, Init::Pissa(Some(_))) {
            ui.say(
                "--init pissa_niter_N asks for a quick decomposition: the exact one is computed",
            );
        }
        if let Some(dropout) = args.dropout {
            config.lora_dropout = dropout;
        }
        let layout = config.layout(&modules)?;
        if let Some(warning) = rank_warning(&layout.modules) {
            ui.warn(&warning.to_string());
        }
        Ok(Self::New(config, layout))
    }

    /// What the model will carry.
    fn carried(&self) -> Carried<'_> {
        match self {
            Self::Loaded(adapter) => Carried {
                modules: &adapter.modules,
                trainable: adapter.params.len() as u64,
                keeps_origin: adapter.origin.is_some(),
                dropout: adapter.config.lora_dropout > 0.0,
                embedding: spec::trains_embedding(&adapter.trained, &adapter.rows),
            },
            Self::New(config, layout) => Carried {
                modules: &layout.modules,
                trainable: layout.parameters() as u64,
                keeps_origin: config.init.changes_base(),
                dropout: config.lora_dropout > 0.0,
                embedding: spec::trains_embedding(&layout.trained, &layout.rows),
            },
        }
    }

    fn adapter(self, args: &Args, base: &Base) -> Result<Adapter> {
        let mut adapter = match self {
            Self::Loaded(adapter) => adapter,
            Self::New(config, _) => {
                let mut adapter = Adapter::init(config, base, args.seed)?;
                tokens::begin(&mut adapter, base)?;
                adapter
            }
        };
        adapter.config.base_model_name_or_path = Some(base_name(&args.base));
        Ok(adapter)
    }
}

/// What the adapter calls its base: a folder of the hub's cache by its name on the hub, as PEFT does, else its path.
fn base_name(base: &Path) -> String {
    match HubPlace::of(base) {
        Some(HubPlace { id, file: None, .. }) => id,
        _ => base.display().to_string(),
    }
}
