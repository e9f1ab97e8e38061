//! A GGUF LoRA → an adapter on its base, as strictly as PEFT's folder is read.
use super::factors::{Factors, OTHER_BASE, check, pair};
use super::mixtures;
use lora_checkpoint::ModelConfig;
use lora_checkpoint::gguf::{self, GgufFile, Value};
use lora_cli::{Error, Result};
use lora_core::{Adapter, BaseModel, LoraConfig, Module, ModuleKind, Pattern, TargetModules};
use lora_model::Base;
use std::collections::BTreeSet;
use std::path::Path;

/// True for a single file, and not a folder of PEFT's or mlx-lm's.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.is_file() || path.join("adapter.gguf").is_file()
}

/// Reads a file (or the folder that lora-export made for it).
pub(crate) fn read(path: &Path, base: &Base) -> Result<Adapter> {
    let inside = path.join("adapter.gguf");
    let path = if path.is_dir() {
        inside.as_path()
    } else {
        path
    };
    let file = GgufFile::open(path)?;
    let fail =
        |error: Error| error.context(format!("failed to read the adapter {}", path.display()));
    let alpha = alpha(&file, base.config()).map_err(fail)?;
    let modules = base.modules();
    let factors = factors(&file, (base.config(), alpha), &modules).map_err(fail)?;
    let config = config(alpha, &factors);
    let layout = config.layout(&modules)?;
    let mut params = vec![0.0; layout.parameters()];
    for (module, part) in layout.modules.iter().zip(factors) {
        params[module.a.clone()].copy_from_slice(&part.a);
        params[module.b.clone()].copy_from_slice(&part.b);
    }
    if params.iter().any(|value| !value.is_finite()) {
        return Err(fail(Error::new("it holds NaN or infinite values")));
    }
    Ok(Adapter::from_layout(config, layout, params)?)
}

/// Checks that it is a LoRA of this architecture; its alpha, of which 0 means a scaling of 1.
fn alpha(file: &GgufFile, config: &ModelConfig) -> Result<f64> {
    let text = |key: &str| {
        file.metadata(key)
            .and_then(Value::as_str)
            .unwrap_or("nothing")
    };
    let architecture = gguf::architecture(config);
    for (key, wanted) in [
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
        ("general.architecture", architecture),
    ] {
        if text(key) != wanted {
            return Err(
                Error::new(format!("{key} is {}, {wanted} was expected", text(key))).hint(
                    match key {
                        "general.architecture" => OTHER_BASE,
                        _ => "an adapter is a GGUF LoRA, a PEFT folder or an mlx-lm folder",
                    },
                ),
            );
        }
    }
    let alpha = file
        .metadata("adapter.lora.alpha")
        .and_then(Value::as_f64)
        .filter(|alpha| alpha.is_finite());
    alpha.ok_or_else(|| Error::new("adapter.lora.alpha is missing or no number"))
}

/// The factors of every module that has any, in the base's order; every tensor of the file is used.
fn factors<'m>(
    file: &GgufFile,
    (config, alpha): (&ModelConfig, f64),
    modules: &'m [Module],
) -> Result<Vec<Factors<'m>>> {
    let mut left: BTreeSet<&str> = file.tensor_names().collect();
    let mut all = Vec::new();
    for module in modules {
        let can_have_parts = module.is_of_mixture() || module.is_linear();
        if let (true, Some(parts)) = (can_have_parts, mixtures::parts(config, &module.path)?) {
            all.extend(mixtures::read(file, (module, &parts), alpha, &mut left)?);
            continue;
        }
        let can_carry = matches!(
            module.kind,
            ModuleKind::Linear { .. } | ModuleKind::Embedding
        );
        if !can_carry {
            continue; // its tensors, if there are any, are of no module
        }
        let weight = format!("{}.weight", module.path);
        let Some(target) = gguf::tensor_name(config, &weight) else {
            continue;
        };
        let Some((a, b)) = pair(file, &target, &mut left)? else {
            continue;
        };
        let rank = b.columns();
        let is_embedding = !module.is_linear();
        let wide = if is_embedding {
            [module.in_features, rank]
        } else {
            [rank, module.in_features]
        };
        check(&a, &wide)?;
        check(&b, &[module.out_features, rank])?;
        let a = if is_embedding {
            transposed(&a.to_f32(), rank)
        } else {
            gguf::restore_columns(config, &weight, &a.to_f32(), module.in_features)
        };
        let b = gguf::rows_from_gguf(config, &weight, &b.to_f32(), rank);
        all.push(Factors { module, rank, a, b });
    }
    match left.first() {
        Some(name) => Err(
            Error::new(format!("tensor {name} belongs to no module of this base")).hint(OTHER_BASE),
        ),
        None if all.is_empty() => Err(Error::new("it has no tensors")),
        None => Ok(all),
    }
}

/// (rows, columns) → (columns, rows).
pub(super) fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|j| values[j..].iter().step_by(columns).copied())
        .collect()
}

/// PEFT's config: one alpha; ranks that differ, and their scaling if alpha says 1, as patterns.
fn config(alpha: f64, factors: &[Factors<'_>]) -> LoraConfig {
    let rank = factors.iter().map(|f| f.rank).max().unwrap_or(1);
    let paths = |of_mixture: bool| {
        let own = factors.iter().map(|f| f.module);
        let own = own.filter(|module| module.is_of_mixture() == of_mixture);
        own.map(|module| module.path.clone()).collect::<Vec<_>>()
    };
    let mut config = LoraConfig::new(
        rank,
        if alpha == 0.0 { rank as f64 } else { alpha },
        TargetModules::List(paths(false)),
    );
    config.target_parameters = Some(paths(true)).filter(|paths| !paths.is_empty());
    let others = || {
        factors
            .iter()
            .filter(|f| f.rank != rank)
            .map(|f| (f.module.path.replace('.', "\\."), f.rank))
    };
    config.rank_pattern = Pattern(others().collect());
    if alpha == 0.0 {
        config.alpha_pattern = Pattern(others().map(|(path, rank)| (path, rank as f64)).collect());
    }
    config
}
