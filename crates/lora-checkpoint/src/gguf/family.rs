//! Which family a GGUF file is of.
use super::experts;
use super::parse::Gguf;
use super::value::Value;
use crate::error::Fault;
use crate::families::{Family, Marks, NAME_KEY};

/// The family of an architecture, or of what [`NAME_KEY`] names, and the architecture.
pub(super) fn of_file(gguf: &Gguf) -> Result<(Family, &'static str), Fault> {
    if gguf.metadata.get("general.type").and_then(|v| v.as_str()) == Some("adapter") {
        return Err(
            Fault::new("an adapter, not a model").hint("name the GGUF file of the base model")
        );
    }
    let arch = gguf
        .metadata
        .get("general.architecture")
        .and_then(|v| v.as_str());
    let arch = arch.ok_or("no general.architecture in the metadata")?;
    let names = |key: &str| {
        let number = gguf.metadata.get(&format!("{arch}.{key}"));
        number.and_then(Value::as_u64).is_some_and(|n| n > 0)
    };
    let named = gguf.metadata.get(NAME_KEY);
    let named = named
        .map(|name| name.as_str().ok_or(format!("{NAME_KEY} is no text")))
        .transpose()?;
    let marks = Marks {
        named,
        window: names("attention.sliding_window"),
        experts: names(experts::COUNT),
        shared: names(experts::SHARED_WIDTH),
    };
    let found = Family::of_gguf(arch, marks);
    let family = found.ok_or_else(|| match named {
        Some(name) => Fault::new(format!(
            "{NAME_KEY} is \"{name}\", of which no file of architecture \"{arch}\" is"
        ))
        .hint("a newer lora-export may have written it: use that version, or export the model again with this one"),
        None => Fault::new(format!("architecture \"{arch}\" is not supported"))
            .hint(format!("known are {}", Family::gguf_names())),
    })?;
    let own = &family.facts().gguf;
    let stateless = own.stateless.into_iter().flatten();
    let mut all = stateless.chain([own.architecture]);
    let architecture = all.find(|own| *own == arch);
    Ok((family, architecture.unwrap_or(own.architecture)))
}
