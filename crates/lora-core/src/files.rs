//! PEFT's adapter folder: adapter_config.json and adapter_model.safetensors, loaded strictly, saved byte for byte the same.
use crate::adapter::{Adapter, zeros};
use crate::error::Fault;
use crate::layout::{AdapterTensor, Part};
use crate::{BaseModel, Bias, CONFIG_FILE, Error, Layout, LoraConfig, WEIGHTS_FILE, mlx};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

pub(crate) const OTHER_BASE: &str = "the adapter was probably trained on another base model";

impl Adapter {
    /// Loads a PEFT folder (or mlx-lm's, see `mlx`) strictly: every key consumed, every target filled, every shape equal, every value finite. (PEFT
    /// itself passes over missing and unknown keys, and the model then silently equals its base.)
    /// Returns the adapter and warnings (unknown config keys carried, options without effect).
    ///
    /// # Errors
    /// Names the file, and the key or the tensor with both shapes.
    pub fn load(dir: &Path, base: &impl BaseModel) -> Result<(Self, Vec<String>), Error> {
        if mlx::is_mlx(dir) {
            return Ok((mlx::load(dir, base)?, Vec::new()));
        }
        require_folder(dir)?;
        let config_path = dir.join(CONFIG_FILE);
        let config = LoraConfig::load(&config_path)?;
        let modules = base.modules();
        let in_config = |error: Error| error.in_file(&config_path);
        let mut warnings = config.warnings();
        let (layout, unmatched) = config.layout_leniently(&modules).map_err(in_config)?;
        warnings.extend(
            unmatched
                .iter()
                .map(|name| format!("target module `{name}` is not in this model")),
        );
        warnings.extend(config.notes(&modules).map_err(in_config)?);
        let mut warnings: Vec<_> = warnings
            .into_iter()
            .map(|w| format!("{}: {w}", config_path.display()))
            .collect();
        let path = dir.join(WEIGHTS_FILE);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| {
            Error::invalid(&path, format!("not a readable safetensors file: {e}"))
                .hint("was the download or the copy cut off?")
        })?;
        let params = File {
            path: &path,
            tensors,
            layout: &layout,
            config: &config,
            base,
        }
        .fill(&mut warnings)?;
        let Layout { modules, trained } = layout;
        let mut adapter = Self {
            config,
            modules,
            trained,
            params,
            origin: None,
        };
        if adapter.config.init.changes_base() {
            let loaded = adapter.params.clone();
            adapter.decompose(base)?; // PEFT takes the same out of the base when it loads such an adapter
            adapter.params = loaded;
        }
        Ok((adapter, warnings))
    }

    /// Writes adapter_config.json and adapter_model.safetensors into an existing folder, as PEFT does; an adapter that took
    /// something out of the base as the plain LoRA that it amounts to.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        self.save_as(&self.params, dir)
    }

    /// The same with other values than its own, without a copy of them.
    ///
    /// # Errors
    /// As for [`Adapter::save`].
    pub fn save_as(&self, params: &[f32], dir: &Path) -> Result<(), Error> {
        if self.origin.is_some() {
            return Self {
                params: params.to_vec(),
                ..self.clone()
            }
            .into_plain()?
            .save(dir);
        }
        let config_path = dir.join(CONFIG_FILE);
        std::fs::write(&config_path, self.config.to_json())
            .map_err(Error::io("write", &config_path))?;
        let path = dir.join(WEIGHTS_FILE);
        self.write_safetensors(params, &path).map_err(|e| match e {
            safetensors::SafeTensorError::IoError(e) => Error::io("write", &path)(e),
            e => Error::invalid(&path, e.to_string()),
        })
    }

    fn write_safetensors(
        &self,
        params: &[f32],
        path: &Path,
    ) -> Result<(), safetensors::SafeTensorError> {
        let views = self.tensors().into_iter().map(|tensor| {
            let bytes = bytemuck::cast_slice(&params[tensor.range]);
            Ok((
                tensor.name,
                TensorView::new(Dtype::F32, tensor.shape, bytes)?,
            ))
        });
        let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
        let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        safetensors::serialize_to_file(views, Some(metadata), path)
    }
}

impl Layout {
    /// Bytes of the adapter_model.safetensors that [`Adapter::save`] writes.
    pub fn file_bytes(&self) -> u64 {
        let mut tensors = self.tensors();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let mut header = r#"{"__metadata__":{"format":"pt"}}"#.len() as u64;
        let mut end = 0u64;
        for AdapterTensor { name, shape, .. } in &tensors {
            let start = end;
            end += 4 * shape.iter().map(|&d| d as u64).product::<u64>();
            let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
            let shape = shape.join(",");
            let entry = format!(
                r#","{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[{start},{end}]}}"#
            );
            header += entry.len() as u64;
        }
        8 + header.next_multiple_of(8) + end
    }
}

/// An adapter's tensor file, and what it must fill.
struct File<'f, B> {
    path: &'f Path,
    tensors: SafeTensors<'f>,
    layout: &'f Layout,
    config: &'f LoraConfig,
    base: &'f B,
}

impl<B: BaseModel> File<'_, B> {
    /// Fills the flat parameters from a file that holds them all and nothing else.
    fn fill(&self, warnings: &mut Vec<String>) -> Result<Vec<f32>, Error> {
        let mut left: BTreeSet<&str> = self.tensors.names().into_iter().collect();
        let wanted = self.layout.tensors();
        for AdapterTensor {
            name, shape, part, ..
        } in &wanted
        {
            let tensor = self
                .tensors
                .tensor(name)
                .map_err(|_| self.invalid(missing(name, &left)))?;
            if tensor.shape() != shape {
                let (found, hint) = (tensor.shape(), shape_hint(*part, tensor.shape(), shape));
                let what = format!("tensor {name} has shape {found:?}, this base needs {shape:?}");
                return Err(self.invalid(Fault::new(what).hint(hint)));
            }
            left.remove(name.as_str());
        }
        self.pass_over_copied_base(&mut left, warnings)?;
        self.pass_over_repeated_biases(&mut left, warnings)?;
        if let Some(name) = left.first() {
            return Err(self.invalid(unexpected(name)));
        }
        let mut params = zeros(self.layout.parameters())?;
        for AdapterTensor { name, range, .. } in wanted {
            let tensor = self
                .tensors
                .tensor(&name)
                .map_err(|e| self.invalid(e.to_string()))?;
            widen(&tensor, &mut params[range])
                .map_err(|why| self.invalid(format!("tensor {name} {why}")))?;
        }
        Ok(params)
    }

    /// A targeted head or embedding: PEFT also writes its base weights, which should be the base's own, or with PiSSA and OLoRA
    /// what they left of them.
    fn pass_over_copied_base(
        &self,
        left: &mut BTreeSet<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        for module in &self.layout.modules {
            let tensor = format!("{}.weight", module.path);
            let tensor = (!self.config.init.changes_base()).then_some(tensor.as_str());
            self.pass_over_copy(
                &module.copied_weight_name(),
                tensor,
                &module.weight_shape(),
                left,
                warnings,
            )?;
        }
        Ok(())
    }

    /// A module to save that has a bias: with `bias` "all" PEFT also writes its wrapper's two, the trained one once more and
    /// the base's.
    fn pass_over_repeated_biases(
        &self,
        left: &mut BTreeSet<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let saved = self
            .layout
            .trained
            .iter()
            .filter(|t| t.part == Part::Bias && !t.in_base);
        for trained in saved.filter(|_| self.config.bias == Bias::All) {
            let module = trained.name.strip_suffix(".bias").unwrap_or(&trained.name);
            let again = format!("{module}.modules_to_save.bias");
            if let Ok(second) = self.tensors.tensor(&again) {
                let first = self
                    .tensors
                    .tensor(&trained.name)
                    .map_err(|e| self.invalid(e.to_string()))?;
                if (first.dtype(), first.shape(), first.data())
                    != (second.dtype(), second.shape(), second.data())
                {
                    return Err(self.invalid(format!(
                        "tensors {} and {again} are one bias and differ",
                        trained.name
                    )));
                }
                left.remove(again.as_str());
            }
            let original = format!("{module}.original_module.bias");
            self.pass_over_copy(
                &original,
                Some(&trained.tensor),
                &trained.shape,
                left,
                warnings,
            )?;
        }
        Ok(())
    }

    /// A copy of a tensor of the base, if the file has one: it should be the base's own, where that is named.
    fn pass_over_copy(
        &self,
        name: &str,
        tensor: Option<&str>,
        shape: &[usize],
        left: &mut BTreeSet<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let Ok(copy) = self.tensors.tensor(name) else {
            return Ok(());
        };
        if copy.shape() != shape {
            let found = copy.shape();
            return Err(self
                .invalid(format!(
                    "tensor {name} has shape {found:?}, this base needs {shape:?}"
                ))
                .hint(OTHER_BASE));
        }
        left.remove(name);
        let mut copied = zeros(shape.iter().product())?;
        widen(&copy, &mut copied).map_err(|why| self.invalid(format!("tensor {name} {why}")))?;
        let mut own = zeros(copied.len())?;
        let differs = |tensor: &str| self.base.read(tensor, 0, &mut own).is_err() || own != copied;
        if tensor.is_some_and(differs) {
            warnings.push(format!(
                "{}: tensor {name}, a copy of the base's, is not this base's: the base's own is used",
                self.path.display()
            ));
        }
        Ok(())
    }

    fn invalid(&self, fault: impl Into<Fault>) -> Error {
        Error::invalid(self.path, fault)
    }
}

/// Why a shape is another one: only the rank differs, or all of it.
fn shape_hint(part: Part, found: &[usize], wanted: &[usize]) -> &'static str {
    match (part, found, wanted) {
        (Part::A, [_, found], [_, wanted]) | (Part::B, [found, _], [wanted, _])
            if found == wanted =>
        {
            "the config (r, rank_pattern) says another rank than the file has"
        }
        _ => OTHER_BASE,
    }
}

fn missing(name: &str, present: &BTreeSet<&str>) -> Fault {
    let with_adapter_name = name.replace(".weight", ".default.weight");
    let without_prefix = name.strip_prefix("base_model.model.").unwrap_or(name);
    let hint = if present.contains(with_adapter_name.as_str()) {
        "its names hold the adapter's name (`lora_A.default.weight`); save it with PEFT's save_pretrained"
    } else if name != without_prefix && present.contains(without_prefix) {
        "its names lack PEFT's prefix `base_model.model.`; save it with PEFT's save_pretrained"
    } else {
        OTHER_BASE
    };
    Fault::new(format!("tensor {name} is missing")).hint(hint)
}

fn unexpected(name: &str) -> Fault {
    let hint = if name.contains("lora_magnitude_vector") {
        "this is a DoRA adapter, but its config does not say use_dora"
    } else if name.contains("lora_embedding_") {
        "the config targets no embedding"
    } else if name.contains("lora_") {
        OTHER_BASE
    } else {
        "fully trained tensors must be named in the config, by modules_to_save or bias"
    };
    Fault::new(format!(
        "tensor {name} belongs to nothing that the config trains on this base"
    ))
    .hint(hint)
}

/// Widens a tensor to f32; the error says what is wrong with it.
pub(crate) fn widen(tensor: &TensorView<'_>, out: &mut [f32]) -> Result<(), String> {
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => read(bytes, out, f32::from_le_bytes),
        Dtype::F16 => read(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => read(bytes, out, |b| half::bf16::from_le_bytes(b).to_f32()),
        other => {
            return Err(format!(
                "is stored as {other:?}, only F32, F16 and BF16 are supported"
            ));
        }
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
    let hint = format!("an adapter is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}");
    if !dir.is_dir() {
        let what = if dir.exists() {
            "is no folder"
        } else {
            "does not exist"
        };
        return Err(Error::invalid(dir, what).hint(hint));
    }
    match [CONFIG_FILE, WEIGHTS_FILE]
        .iter()
        .find(|f| !dir.join(f).is_file())
    {
        Some(file) => Err(Error::invalid(dir, format!("holds no {file}")).hint(hint)),
        None => Ok(()),
    }
}
