//! PEFT's adapter folder: adapter_config.json and adapter_model.safetensors, loaded strictly, saved byte for byte the same.
use crate::adapter::{Adapter, TargetedModule, zeros};
use crate::{CONFIG_FILE, Error, LinearModule, LoraConfig, WEIGHTS_FILE};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

const OTHER_BASE: &str = "\nhint: the adapter was probably trained on another base model";

impl Adapter {
    /// Loads a PEFT folder strictly: every key consumed, every target filled, every shape equal, every value finite. (PEFT
    /// itself passes over missing and unknown keys, and the model then silently equals its base.)
    /// Returns the adapter and warnings (unknown config keys carried).
    pub fn load(dir: &Path, modules: &[LinearModule]) -> Result<(Self, Vec<String>), Error> {
        require_folder(dir)?;
        let config_path = dir.join(CONFIG_FILE);
        let config = LoraConfig::load(&config_path)?;
        let mut warnings: Vec<_> =
            config.warnings().into_iter().map(|w| format!("{}: {w}", config_path.display())).collect();
        let (targeted, unmatched) = match config.target_leniently(modules) {
            Err(Error::Config(message)) => return Err(Error::invalid(&config_path, message)),
            other => other?,
        };
        warnings.extend(
            unmatched
                .iter()
                .map(|name| format!("{}: target module `{name}` is not in this model", config_path.display())),
        );
        let path = dir.join(WEIGHTS_FILE);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| {
            Error::invalid(
                &path,
                format!("not a readable safetensors file: {e}\nhint: was the download or the copy cut off?"),
            )
        })?;
        let params = fill(&path, &tensors, &targeted, &mut warnings)?;
        Ok((Self { config, modules: targeted, params }, warnings))
    }

    /// Writes adapter_config.json and adapter_model.safetensors into an existing folder, as PEFT does.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let config_path = dir.join(CONFIG_FILE);
        std::fs::write(&config_path, self.config.to_json()).map_err(Error::io("write", &config_path))?;
        let path = dir.join(WEIGHTS_FILE);
        let bytes = self.to_safetensors().map_err(|e| Error::invalid(&path, e.to_string()))?;
        std::fs::write(&path, bytes).map_err(Error::io("write", &path))
    }

    fn to_safetensors(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let mut views = Vec::with_capacity(2 * self.modules.len());
        for module in &self.modules {
            let view = |shape, range: &std::ops::Range<usize>| {
                TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(&self.params[range.clone()]))
            };
            views.push((module.a_name(), view(vec![module.rank, module.in_features], &module.a)?));
            views.push((module.b_name(), view(vec![module.out_features, module.rank], &module.b)?));
        }
        let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
        safetensors::serialize(views, Some(metadata))
    }
}

/// Bytes of the adapter_model.safetensors that [`Adapter::save`] writes for these modules.
pub fn adapter_file_bytes(modules: &[TargetedModule]) -> u64 {
    let mut tensors: Vec<(String, [usize; 2])> = Vec::with_capacity(2 * modules.len());
    for m in modules {
        tensors.push((m.a_name(), [m.rank, m.in_features]));
        tensors.push((m.b_name(), [m.out_features, m.rank]));
    }
    tensors.sort();
    let mut header = r#"{"__metadata__":{"format":"pt"}}"#.len() as u64;
    let mut end = 0u64;
    for (name, [rows, columns]) in &tensors {
        let start = end;
        end += 4 * (*rows as u64) * (*columns as u64);
        let entry = format!(r#","{name}":{{"dtype":"F32","shape":[{rows},{columns}],"data_offsets":[{start},{end}]}}"#);
        header += entry.len() as u64;
    }
    8 + header.next_multiple_of(8) + end
}

/// Fills the flat parameters from a file that holds them all and nothing else.
fn fill(
    path: &Path,
    tensors: &SafeTensors<'_>,
    modules: &[TargetedModule],
    warnings: &mut Vec<String>,
) -> Result<Vec<f32>, Error> {
    let mut left: BTreeSet<&str> = tensors.names().into_iter().collect();
    let wanted = modules.iter().flat_map(|m| {
        [(m.a_name(), [m.rank, m.in_features], m.a.clone()), (m.b_name(), [m.out_features, m.rank], m.b.clone())]
    });
    let wanted: Vec<_> = wanted.collect();
    for (name, shape, _) in &wanted {
        let tensor = tensors.tensor(name).map_err(|_| Error::invalid(path, missing(name, &left)))?;
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(Error::invalid(
                path,
                format!("tensor {name} has shape {found:?}, this base needs {shape:?}{OTHER_BASE}"),
            ));
        }
        left.remove(name.as_str());
    }
    pass_over_copied_base(tensors, modules, &mut left, warnings);
    if let Some(name) = left.first() {
        return Err(Error::invalid(path, unexpected(name)));
    }
    let mut params = zeros(modules.last().map_or(0, |m| m.b.end))?;
    for (name, _, range) in wanted {
        let tensor = tensors.tensor(&name).map_err(|e| Error::invalid(path, e.to_string()))?;
        widen(&tensor, &mut params[range]).map_err(|why| Error::invalid(path, format!("tensor {name} {why}")))?;
    }
    Ok(params)
}

/// A targeted head or embedding: PEFT also writes its base weights, which are the base's own.
fn pass_over_copied_base(
    tensors: &SafeTensors<'_>,
    modules: &[TargetedModule],
    left: &mut BTreeSet<&str>,
    warnings: &mut Vec<String>,
) {
    for module in modules {
        let name = format!("base_model.model.{}.base_layer.weight", module.path);
        let same_shape = |t: TensorView<'_>| t.shape() == [module.out_features, module.in_features];
        if tensors.tensor(&name).is_ok_and(same_shape) && left.remove(name.as_str()) {
            warnings
                .push(format!("tensor {name}, a copy of the base's weight, is passed over: the base's own is used"));
        }
    }
}

fn missing(name: &str, present: &BTreeSet<&str>) -> String {
    let with_adapter_name = name.replace(".weight", ".default.weight");
    let hint = if present.contains(with_adapter_name.as_str()) {
        "\nhint: its names hold the adapter's name (`lora_A.default.weight`); save it with PEFT's save_pretrained"
    } else {
        OTHER_BASE
    };
    format!("tensor {name} is missing{hint}")
}

fn unexpected(name: &str) -> String {
    let hint = if name.contains("lora_magnitude_vector") {
        "\nhint: this is a DoRA adapter, which is not supported"
    } else if name.contains("lora_embedding_") {
        "\nhint: adapters on embeddings are not supported"
    } else if name.contains("lora_") {
        OTHER_BASE
    } else {
        "\nhint: fully trained modules (modules_to_save, bias) in an adapter are not supported"
    };
    format!("tensor {name} belongs to no targeted module of this base{hint}")
}

/// Widens a tensor to f32; the error says what is wrong with it.
fn widen(tensor: &TensorView<'_>, out: &mut [f32]) -> Result<(), String> {
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => read(bytes, out, f32::from_le_bytes),
        Dtype::F16 => read(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => read(bytes, out, |b| half::bf16::from_le_bytes(b).to_f32()),
        other => return Err(format!("is stored as {other:?}, only F32, F16 and BF16 are supported")),
    }
    match out.iter().find(|v| !v.is_finite()) {
        Some(value) => Err(format!("holds {value}: the adapter is broken")),
        None => Ok(()),
    }
}

fn read<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (y, chunk) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *y = value(*chunk);
    }
}

fn require_folder(dir: &Path) -> Result<(), Error> {
    let hint = format!("\nhint: an adapter is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}");
    if !dir.is_dir() {
        let what = if dir.exists() { "is no folder" } else { "does not exist" };
        return Err(Error::invalid(dir, format!("{what}{hint}")));
    }
    match [CONFIG_FILE, WEIGHTS_FILE].iter().find(|f| !dir.join(f).is_file()) {
        Some(file) => Err(Error::invalid(dir, format!("holds no {file}{hint}"))),
        None => Ok(()),
    }
}
