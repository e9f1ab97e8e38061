//! A model as GGUF: which tensors in which dtype, and the metadata that llama.cpp's converter writes.
use super::dtype::GgufDtype;
use super::gguf::{GgufTensor, write_weighted};
use super::gguf_experts::{mxfp4_experts, read_experts, stay_mxfp4};
use super::gguf_holds::held;
use super::gguf_metadata::{carried, metadata};
use super::gguf_rows::read_rows;
use super::mix::Mix;
use super::rounding::Rounding;
use super::verify::verify;
use crate::ends;
use crate::error::{Error, Fault, invalid};
use crate::families::DeltaPart;
use crate::gguf::rope_written::{self, Written};
use crate::gguf::{Value, halves, names};
use crate::view::TensorView;
use crate::weights::Part;
use crate::{Chat, Checkpoint, Format, Importance, ModelConfig, Projection};
use std::collections::BTreeMap;
use std::path::Path;

/// How the matrices of a model are stored.
#[derive(Debug, Clone, Copy)]
pub enum GgufStorage<'a> {
    /// All in one type; f16 where rows are no whole number of its blocks.
    All(GgufDtype),
    /// As llama.cpp quantises a model: each in the type that it chooses, smaller blocks or f16 where rows are no whole
    /// number of those, errors weighted by importance where there is one.
    Mixed(Mix, Option<&'a Importance>),
}

impl From<GgufDtype> for GgufStorage<'_> {
    fn from(dtype: GgufDtype) -> Self {
        Self::All(dtype)
    }
}

impl<'a> GgufStorage<'a> {
    fn file_type(self) -> u32 {
        match self {
            Self::All(dtype) => dtype.file_type(),
            Self::Mixed(mix, _) => mix.file_type(),
        }
    }

    fn importance(self) -> Option<&'a Importance> {
        match self {
            Self::All(_) => None,
            Self::Mixed(_, importance) => importance,
        }
    }

    /// The type of a matrix, and the one that it would have if its rows were whole blocks of that.
    fn of(self, config: &ModelConfig, part: Part, columns: usize) -> (GgufDtype, GgufDtype) {
        match self {
            Self::All(dtype) if columns.is_multiple_of(dtype.unit()) => (dtype, dtype),
            Self::All(dtype) => (GgufDtype::F16, dtype),
            Self::Mixed(mix, importance) => mix.of(config, part, columns, importance.is_some()),
        }
    }
}

/// Writes `model` as one GGUF file that llama.cpp runs, with tokenizer and chat template. 1-D weights stay f32, as
/// llama.cpp has them. `progress` is called with the number of values written since the last call. The file is opened
/// again and its configuration compared with the model's. Returns what was not done as asked, a line each.
pub fn save_gguf<'a, E: From<Error>>(
    path: &Path,
    model: &Checkpoint,
    storage: impl Into<GgufStorage<'a>>,
    name: &str,
    mut progress: impl FnMut(u64) -> Result<(), E>,
) -> Result<Vec<String>, E> {
    let storage = storage.into();
    model.refuse_own_file(path)?;
    let mut warnings = Vec::new();
    let rope = rope_written::write(model.config()).map_err(|m| invalid(model.path(), m))?;
    warnings.extend(rope.warning.clone());
    let mut held = held(model.config(), &mut warnings).map_err(|m| invalid(model.path(), m))?;
    let mut all = metadata(model, storage.file_type(), name, &rope)?;
    all.extend(tokenizer(model, &mut held, &mut warnings)?);
    let (tensors, sources) = plan(model, storage, &rope, &mut warnings)?;
    let weights = weights(&tensors, storage.importance()).map_err(|m| invalid(model.path(), m))?;
    let mut rounding = match storage {
        GgufStorage::All(dtype) => Some((Rounding::watch(model, dtype.storage())?, dtype)),
        GgufStorage::Mixed(..) => None,
    };
    write_weighted::<E>(
        path,
        &all,
        &tensors,
        |index| weights[index],
        |index, first, rows| {
            let mut as_they_are = None;
            match &sources[index] {
                Source::Weight(part, view) => {
                    read_rows(model.config(), *part, view, first, rows);
                    if let Some((rounding, dtype)) = &mut rounding
                        && tensors[index].dtype == *dtype
                    {
                        rounding.see(view, rows);
                    }
                }
                Source::Experts(views) if stay_mxfp4(&tensors[index], views) => {
                    let blocks = mxfp4_experts(views, first, rows.len());
                    as_they_are = Some(blocks.map_err(|fault| {
                        let place = format_args!("tensor {}", tensors[index].name);
                        E::from(invalid(model.path(), fault.at(place)))
                    })?);
                }
                Source::Experts(views) => {
                    read_experts(views, first, rows);
                    if let Some((rounding, dtype)) = &mut rounding
                        && tensors[index].dtype == *dtype
                    {
                        rounding.see(&views[0], rows);
                    }
                }
                Source::Half(view, from) => {
                    view.read_rows(from + first, rows);
                    if let Some((rounding, dtype)) = &mut rounding
                        && tensors[index].dtype == *dtype
                    {
                        rounding.see(view, rows);
                    }
                }
                Source::Divisors(values) => rows.copy_from_slice(values),
            }
            progress(rows.len() as u64)?;
            Ok(as_they_are)
        },
    )?;
    let is_own = rounding.as_ref().filter(|(own, _)| own.is_own());
    if let (Some((_, dtype)), true) = (is_own, model.config().has_factors())
        && *dtype != GgufDtype::F32
    {
        warnings.push(format!(
            "llama.cpp has this model's multipliers in its weights, which are rounded to {} once more: f32 keeps them",
            dtype.name()
        ));
    }
    warnings.extend(rounding.and_then(|(rounding, _)| rounding.warning()));
    verify(path, &held, &model.chat()?)?;
    Ok(warnings)
}

/// The importance of each tensor's columns, where it is in blocks and something is known of it.
fn weights<'a>(
    tensors: &[GgufTensor],
    importance: Option<&'a Importance>,
) -> Result<Vec<Option<&'a [f32]>>, Fault> {
    let of = |tensor: &GgufTensor| {
        let known = importance.and_then(|importance| importance.of(&tensor.name));
        let columns = tensor.shape.last().copied().unwrap_or(1);
        match known {
            Some(weights) if tensor.dtype.unit() == 1 || weights.len() == columns => {
                Ok(known.filter(|_| tensor.dtype.unit() > 1))
            }
            Some(weights) => Err(Fault::new(format!(
                "the importance of {} has {} columns, the matrix has {columns}",
                tensor.name,
                weights.len()
            ))
            .hint("it was measured on another model")),
            None => Ok(None),
        }
    };
    tensors.iter().map(of).collect()
}

/// Where the values of a tensor come from.
enum Source<'a> {
    Weight(Part, TensorView<'a>),
    /// A part of a matrix, from a row on.
    Half(TensorView<'a>, usize),
    /// All experts of a layer, one behind the other.
    Experts(Vec<TensorView<'a>>),
    Divisors(&'a [f32]),
}

/// The weight of a tied head.
const EMBEDDING: &str = "model.embed_tokens.weight";
/// What is said where it gets a tensor of its own.
const UNTIED: &str = "embedding and head are one weight with different factors (embedding_multiplier, lm_head_multiplier): the file \
has both, each with its own";

/// The tensors of the file, and where each comes from.
fn plan<'a>(
    model: &'a Checkpoint,
    storage: GgufStorage<'_>,
    rope: &'a Written,
    warnings: &mut Vec<String>,
) -> Result<(Vec<GgufTensor>, Vec<Source<'a>>), Error> {
    let (mut tensors, mut sources) = (Vec::new(), Vec::new());
    for (name, values) in &rope.tensors {
        tensors.push(GgufTensor {
            name: (*name).to_owned(),
            shape: vec![values.len()],
            dtype: GgufDtype::F32,
        });
        sources.push(Source::Divisors(values));
    }
    let mut fallen_back = BTreeMap::new();
    let mut in_mxfp4 = 0;
    for (part, name, shape) in model.config().folded().parts() {
        if matches!(part, Part::Xielu(..)) {
            continue; // among the metadata
        }
        let view = match part {
            Part::Head if model.config().tie_word_embeddings => {
                warnings.push(UNTIED.to_owned());
                model.tensor(EMBEDDING)?
            }
            _ => model.tensor(&name)?,
        };
        if let (
            Part::Expert(_, 1.., _) | Part::ExpertBias(_, 1.., _),
            Some(Source::Experts(views)),
        ) = (part, sources.last_mut())
        {
            views.push(view);
            continue;
        }
        let mut dtype = GgufDtype::F32;
        // The convolution is stored without its middle dimension of 1, and never in blocks.
        let shape = match part {
            Part::Delta(_, DeltaPart::Convolution) | Part::ShortConv(_) => vec![shape[0], shape[2]],
            Part::Mamba(_, own) => {
                let mamba = model.config().mamba;
                mamba
                    .and_then(|mamba| own.shape_in_gguf(mamba))
                    .unwrap_or(shape)
            }
            _ => shape,
        };
        // llama.cpp leaves routers as they are.
        let is_left = matches!(
            part,
            Part::Router(_) | Part::Delta(..) | Part::ShortConv(_) | Part::Mamba(..)
        );
        if shape.len() > 1 && !is_left {
            let (chosen, wanted) = match view.is_mxfp4() && matches!(part, Part::Expert(..)) {
                true => {
                    in_mxfp4 += 1;
                    (GgufDtype::Mxfp4, GgufDtype::Mxfp4)
                }
                false => storage.of(model.config(), part, view.columns()),
            };
            dtype = chosen;
            // It is small, and llama.cpp leaves it as it is.
            let is_left = matches!(part, Part::Linear(_, Projection::PerLayerModel));
            if is_left && dtype.unit() > 1 {
                dtype = GgufDtype::F32;
            } else if dtype != wanted {
                *fallen_back.entry((wanted, dtype)).or_insert(0) += 1;
            }
        }
        if let Some(names) = halves(model.config(), part) {
            let each = shape[0] / 2;
            for (name, from) in names.into_iter().zip([0, each]) {
                tensors.push(GgufTensor {
                    name,
                    shape: vec![each, shape[1]],
                    dtype,
                });
                sources.push(Source::Half(view.clone(), from));
            }
            continue;
        }
        let experts = model.config().experts.map(|experts| experts.count);
        let (shape, source) = match (part, experts) {
            (Part::Expert(..) | Part::ExpertBias(..), Some(count)) => {
                let all = [&[count], shape.as_slice()].concat();
                (all, Source::Experts(vec![view]))
            }
            _ => (shape, Source::Weight(part, view)),
        };
        tensors.push(GgufTensor {
            name: names::tensor(model.config().facts(), part),
            shape,
            dtype,
        });
        sources.push(source);
    }
    warnings.extend(fallen_back.into_iter().map(said));
    if in_mxfp4 > 0 {
        warnings.push(format!(
            "{in_mxfp4} tensors of experts stay MXFP4, as the model has them"
        ));
    }
    Ok((tensors, sources))
}

/// What is said of matrices that have another type than the one that was wanted.
fn said(((wanted, dtype), count): ((GgufDtype, GgufDtype), usize)) -> String {
    let unit = wanted.unit();
    match dtype {
        GgufDtype::F16 => format!(
            "{count} matrices are f16: their rows are no whole number of {unit}-value blocks"
        ),
        dtype => format!(
            "{count} matrices are {}, not {}: their rows are no whole number of {unit}-value blocks",
            dtype.name(),
            wanted.name()
        ),
    }
}

/// The tokenizer's metadata. Token ids stand there and nowhere else in the file: `held` gets them as they are written.
fn tokenizer(
    model: &Checkpoint,
    held: &mut ModelConfig,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, Value)>, Error> {
    if model.format() == Format::Gguf {
        let mut own = carried(model, "tokenizer.");
        let chat = model.chat()?;
        if model.has_other_chat() {
            own.retain(|(key, _)| !Chat::is_key(key));
            own.extend(chat.metadata());
        } else {
            own.extend(system(chat));
        }
        if let Some((gguf, end)) = model
            .gguf_files()
            .map(|(gguf, _)| gguf)
            .zip(model.added_end)
        {
            let (key, value) = ends::metadata(gguf, model.path(), end)?;
            own.retain(|(other, _)| *other != key);
            own.push((key, value));
        }
        return Ok(own);
    }
    let written = model
        .tokenizer()?
        .to_gguf(model.config())
        .map_err(|m| invalid(model.path(), m))?;
    held.bos_token_id = written.ids.bos;
    held.eos_token_ids = written.ids.eos;
    held.pad_token_id = written.ids.padding;
    warnings.extend(written.warnings);
    let mut entries = written.entries;
    entries.extend(system(model.chat()?));
    Ok(entries)
}

/// The system text alone: the template is among the tokenizer's own entries.
fn system(chat: Chat) -> Vec<(String, Value)> {
    let chat = Chat {
        template: None,
        ..chat
    };
    chat.metadata()
}
