//! From an adapter's file to the modules that it is for.
use crate::folder::{self, Kind};
use crate::tensor_file::TensorFile;
use crate::tensor_names::TensorNames;
use crate::{CONFIG_FILE, Error, Fault, LoraConfig, Module};
use std::collections::BTreeMap;
use std::path::Path;

/// The modules that an adapter folder (PEFT's or mlx-lm's) puts LoRA on, with their shapes, in the order of the layers: enough
/// to load it without its base.
///
/// # Errors
/// If the folder can't be read, or the adapter also trains whole tensors, whose modules only the base knows.
pub fn modules_of(dir: &Path) -> Result<Vec<Module>, Error> {
    let kind = folder::kind(dir);
    if kind == Kind::Peft {
        folder::require(dir)?;
        let path = dir.join(CONFIG_FILE);
        if LoraConfig::load(&path)?.targets_parameters() {
            return Err(Error::invalid(
                &path,
                Fault::new("target_parameters are parameters that only the base knows")
                    .hint("name the base model as well: --base MODEL"),
            ));
        }
    }
    let file = TensorFile::read(&dir.join(kind.weights_file()))?;
    let tensors = file.tensors()?;
    let names = TensorNames::of(&tensors).map_err(|message| file.invalid(message))?;
    modules_in(&names, kind == Kind::Mlx).map_err(|message| file.invalid(message))
}

/// (suffix, true for A, true for an embedding), PEFT's and then mlx-lm's.
const PARTS: [(&str, bool, bool); 4] = [
    (".lora_A.weight", true, false),
    (".lora_B.weight", false, false),
    (".lora_embedding_A", true, true),
    (".lora_embedding_B", false, true),
];
const MLX_PARTS: [(&str, bool, bool); 2] = [(".lora_a", true, false), (".lora_b", false, false)];

/// What surrounds A and B and gives no shape.
const BESIDE: [&str; 4] = [
    ".lora_magnitude_vector",
    ".lora_B.bias",
    ".base_layer.weight",
    ".m",
];

fn modules_in(tensors: &TensorNames<'_>, is_mlx: bool) -> Result<Vec<Module>, Fault> {
    let parts: &[_] = if is_mlx { &MLX_PARTS } else { &PARTS };
    let mut found: BTreeMap<Vec<Piece<'_>>, Sides<'_>> = BTreeMap::new();
    for name in tensors.names() {
        let Some(tensor) = tensors.get(name) else {
            continue;
        };
        let bare = name.strip_prefix("base_model.model.").unwrap_or(name);
        let part = parts
            .iter()
            .find_map(|&(suffix, a, embedding)| Some((bare.strip_suffix(suffix)?, a, embedding)));
        let Some((path, is_a, is_embedding)) = part else {
            if BESIDE.iter().any(|suffix| bare.ends_with(suffix)) {
                continue;
            }
            return Err(Fault::new(format!("tensor {name} trains as a whole"))
                .hint("name the base model as well: --base MODEL"));
        };
        // The side that is not the rank: A is (r, in) and B (out, r), mlx-lm's the other way round.
        let side = tensor
            .shape()
            .get(usize::from(is_a != is_mlx))
            .filter(|_| tensor.shape().len() == 2);
        let side = *side.ok_or_else(|| {
            format!(
                "tensor {name} has shape {:?}, a matrix was expected",
                tensor.shape()
            )
        })?;
        let entry = found.entry(pieces(path)).or_insert(Sides {
            path,
            is_embedding,
            sides: [None; 2],
        });
        entry.sides[usize::from(!is_a)] = Some(side);
    }
    // mlx-lm's names don't tell an embedding from a linear layer.
    let is_table = |path: &str| is_mlx && path.rsplit('.').next() == Some("embed_tokens");
    let module = |Sides {
                      path,
                      is_embedding,
                      sides,
                  }: Sides<'_>| match sides {
        [Some(input), Some(output)] if is_embedding || is_table(path) => {
            Ok(Module::embedding(path, input, output))
        }
        [Some(input), Some(output)] => Ok(Module {
            is_head: path == "lm_head",
            ..Module::linear(path, input, output)
        }),
        _ => Err(format!("{path} has only one of A and B")),
    };
    let modules = found.into_values().map(module);
    Ok(modules.collect::<Result<_, String>>()?)
}

/// What the file says of a module: its input and output features.
struct Sides<'p> {
    path: &'p str,
    is_embedding: bool,
    sides: [Option<usize>; 2],
}

/// A part of a path, numbers by their value: layer 9 comes before layer 10.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'p> {
    Number(usize),
    Name(&'p str),
}

fn pieces(path: &str) -> Vec<Piece<'_>> {
    path.split('.')
        .map(|piece| piece.parse().map_or(Piece::Name(piece), Piece::Number))
        .collect()
}
