//! mlx-lm's folder read.
use super::settings::Settings;
use super::tied::tied;
use crate::diagnosis::OTHER_BASE;
use crate::folder::MLX_WEIGHTS_FILE;
use crate::tensor_file::TensorFile;
use crate::values::{transposed, widen, zeros};
use crate::{Adapter, BaseModel, CONFIG_FILE, Error, Fault, Layout, Module};
use safetensors::tensor::SafeTensors;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

/// Loads an mlx-lm folder as strictly as PEFT's: every tensor used, every shape equal.
pub(crate) fn load(dir: &Path, base: &impl BaseModel) -> Result<Adapter, Error> {
    let fields = fields(dir)?;
    let settings = Settings::read(&fields)
        .map_err(|message| Error::invalid(&dir.join(CONFIG_FILE), message))?;
    let file = TensorFile::read(&dir.join(MLX_WEIGHTS_FILE))?;
    let tensors = file.tensors()?;
    let modules = base.modules();
    let in_file = |fault: Fault| file.invalid(fault);
    let config = settings
        .config(&paths(&tensors).map_err(in_file)?, &modules)
        .map_err(in_file)?;
    let layout = config.layout(&modules)?;
    let params = fill(&tensors, &layout, &modules, config.use_dora).map_err(in_file)?;
    Adapter::from_layout(config, layout, params)
}

/// The model that an mlx-lm folder was trained on.
pub(crate) fn base_name(dir: &Path) -> Result<Option<String>, Error> {
    Ok(fields(dir)?
        .get("model")
        .and_then(Value::as_str)
        .map(str::to_owned))
}

fn fields(dir: &Path) -> Result<Map<String, Value>, Error> {
    let path = dir.join(CONFIG_FILE);
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::invalid(&path, format!("not a JSON object: {e}")))
}

/// The modules that the file's tensors belong to.
fn paths<'t>(tensors: &'t SafeTensors<'_>) -> Result<BTreeSet<&'t str>, Fault> {
    let path = |name: &'t str| {
        let path = [".lora_a", ".lora_b", ".m"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        path.ok_or_else(|| {
            Fault::new(format!("tensor {name} is no part of a LoRA or DoRA"))
                .hint("fully trained weights are no adapter: fuse them with mlx_lm.fuse")
        })
    };
    let paths: BTreeSet<&str> = tensors
        .names()
        .into_iter()
        .map(path)
        .collect::<Result<_, _>>()?;
    if paths.is_empty() {
        Err(Fault::new("no tensors"))
    } else {
        Ok(paths)
    }
}

/// The config's rank is the file's: before memory is taken, which the config alone would not bound.
fn check_ranks(
    tensors: &SafeTensors<'_>,
    layout: &Layout,
    modules: &[Module],
) -> Result<(), Fault> {
    let head = tied(modules).map(|(_, head)| head.path.as_str());
    for module in layout
        .modules
        .iter()
        .filter(|m| Some(m.path.as_str()) != head)
    {
        let name = format!("{}.lora_a", module.path);
        let tensor = tensors
            .tensor(&name)
            .map_err(|_| format!("tensor {name} is missing"))?;
        let &[_, rank] = tensor.shape() else {
            return Err(format!("tensor {name} is no matrix").into());
        };
        if rank != module.rank {
            return Err(Fault::new(format!(
                "tensor {name} has rank {rank}, the config's lora_parameters.rank says {}",
                module.rank
            ))
            .hint("are both files of one adapter?"));
        }
    }
    Ok(())
}

fn fill(
    tensors: &SafeTensors<'_>,
    layout: &Layout,
    modules: &[Module],
    dora: bool,
) -> Result<Vec<f32>, Fault> {
    check_ranks(tensors, layout, modules)?;
    let mut params = zeros(layout.parameters()).map_err(|error| error.to_string())?;
    let shared =
        tied(modules).filter(|(table, _)| layout.modules.iter().any(|m| m.path == table.path));
    for module in &layout.modules {
        if let Some((table, _)) = shared.filter(|(_, head)| head.path == module.path) {
            for (suffix, range) in [("lora_b", &module.a), ("lora_a", &module.b)] {
                let name = format!("{}.{suffix}", table.path);
                let tensor = tensors
                    .tensor(&name)
                    .map_err(|_| format!("tensor {name} is missing"))?;
                let place = &mut params[range.clone()];
                if tensor.shape().iter().product::<usize>() != place.len() {
                    let found = tensor.shape();
                    return Err(Fault::new(format!(
                        "tensor {name} has shape {found:?}, which is not this base's"
                    ))
                    .hint(OTHER_BASE));
                }
                widen(&tensor, place).map_err(|why| format!("tensor {name} {why}"))?;
            }
            continue;
        }
        let mut take = |suffix: &str, shape: &[usize], range: std::ops::Range<usize>| {
            let name = format!("{}.{suffix}", module.path);
            let tensor = tensors
                .tensor(&name)
                .map_err(|_| format!("tensor {name} is missing"))?;
            if tensor.shape() != shape {
                let found = tensor.shape();
                return Err(Fault::new(format!(
                    "tensor {name} has shape {found:?}, this base needs {shape:?}"
                ))
                .hint(OTHER_BASE));
            }
            let mut values = vec![0.0; range.len()];
            widen(&tensor, &mut values).map_err(|why| format!("tensor {name} {why}"))?;
            params[range].copy_from_slice(&transposed(&values, shape[0]));
            Ok(())
        };
        take(
            "lora_a",
            &[module.in_features, module.rank],
            module.a.clone(),
        )?;
        take(
            "lora_b",
            &[module.rank, module.out_features],
            module.b.clone(),
        )?;
        if let Some(range) = &module.magnitude {
            take("m", &[module.out_features], range.clone())?;
        }
    }
    let used = (layout.modules.len() - usize::from(shared.is_some())) * if dora { 3 } else { 2 };
    if tensors.len() != used {
        return Err(Fault::new(
            "it holds DoRA's magnitudes, but its config says lora",
        ));
    }
    Ok(params)
}
