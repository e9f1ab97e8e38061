//! What xIELU learns, and its constants: lists among the metadata, one number a layer, or one number for all.
use super::names::{XIELU_CONSTANTS, xielu_key};
use super::parse::Gguf;
use super::value::Value;
use crate::error::Fault;
use crate::families::{Facts, Mlp, XieluNumber, is_rounded};
use std::ops::Range;

/// Refuses a file of a family with xIELU that lacks its numbers, or has other constants.
pub(super) fn check(gguf: &Gguf, facts: &Facts, layers: usize) -> Result<(), Fault> {
    if facts.mlp != Mlp::Xielu {
        return Ok(());
    }
    for number in XieluNumber::ALL {
        numbers(gguf, xielu_key(number), layers)?;
    }
    for (key, constant) in XIELU_CONSTANTS {
        let all = numbers(gguf, key, layers)?;
        let other = all.iter().find(|&&x| !is_rounded(x, constant));
        if let Some(other) = other {
            return Err(Fault::new(format!(
                "{key} is {other}, only {constant} is supported, as transformers has it"
            )));
        }
    }
    Ok(())
}

fn numbers<'g>(gguf: &'g Gguf, key: &str, layers: usize) -> Result<&'g [f32], Fault> {
    match gguf.metadata.get(key) {
        Some(Value::F32s(list)) if list.len() == layers => Ok(list),
        Some(Value::F32(one)) => Ok(std::slice::from_ref(one)),
        Some(_) => Err(Fault::new(format!(
            "{key} is no list of {layers} 32-bit floats, one a layer"
        ))),
        None => Err(Fault::new(format!("no {key} in the metadata"))),
    }
}

/// Where the number of a layer lies in the file.
pub(crate) fn place(
    gguf: &Gguf,
    number: XieluNumber,
    layer: usize,
    layers: usize,
) -> Option<Range<usize>> {
    let key = xielu_key(number);
    let (_, whole) = gguf.places.metadata.iter().find(|(k, _)| k == key)?;
    let behind = match gguf.metadata.get(key)? {
        Value::F32s(_) => layers - layer,
        _ => 1,
    };
    let start = whole.end - behind * size_of::<f32>();
    Some(start..start + size_of::<f32>())
}
