//! Module names that have another beginning: adapters trained inside another model class.
use crate::Fault;

/// How two names of one tensor differ at their beginnings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// What the file's name has before the common end, without the parts that both have.
    pub(crate) in_file: String,
    /// What the base's name has there.
    pub(crate) in_base: String,
    /// Where both go on alike.
    pub(crate) then: String,
}

/// The name among `present` that is the wanted one but for its beginning, if there is one. Both must go on alike from the
/// layer's list of modules on, or, outside of layers, from the module's name.
pub(crate) fn foreign(wanted: &str, present: &[&str]) -> Option<Foreign> {
    let wanted: Vec<&str> = wanted.split('.').collect();
    let number = wanted.iter().position(|part| part.parse::<usize>().is_ok());
    let start = number.map_or(wanted.len().checked_sub(3)?, |at| at.saturating_sub(1));
    let end = &wanted[start..];
    let same_end = |name: &&str| -> Option<Foreign> {
        let parts: Vec<&str> = name.split('.').collect();
        let before = parts.strip_suffix(end)?;
        let own = &wanted[..start];
        let alike = before.iter().zip(own).take_while(|(a, b)| a == b).count();
        let (before, own) = (&before[alike..], &own[alike..]);
        let pairs = before.iter().rev().zip(own.iter().rev());
        let tail = pairs.take_while(|(a, b)| a == b).count();
        let before = &before[..before.len() - tail];
        let (own, shared) = own.split_at(own.len() - tail);
        Some(Foreign {
            in_file: before.join("."),
            in_base: own.join("."),
            then: shared.first().copied().unwrap_or(end[0]).to_owned(),
        })
    };
    let found = present.iter().find_map(same_end)?;
    (found.in_file != found.in_base).then_some(found)
}

impl Foreign {
    /// The same seen from the other side: what was taken for the base's is the file's.
    pub(crate) fn turned(self) -> Self {
        Self {
            in_file: self.in_base,
            in_base: self.in_file,
            then: self.then,
        }
    }

    /// What is wrong, and what to do with the names.
    pub(crate) fn fault(&self) -> Fault {
        let Self {
            in_file,
            in_base,
            then,
        } = self;
        match (in_file.is_empty(), in_base.is_empty()) {
            (false, true) => Fault::new(format!(": the file has `{in_file}.` before `{then}`"))
                .hint(format!(
                    "it was trained inside another model class; take `{in_file}.` out of its tensors' names"
                )),
            (true, false) => Fault::new(format!(": the file lacks `{in_base}.` before `{then}`"))
                .hint(format!(
                    "it was trained on the model without its head; put `{in_base}.` into its tensors' names, before `{then}`"
                )),
            _ => Fault::new(format!(
                ": the file has `{in_file}.` where this base has `{in_base}.`"
            ))
            .hint(format!(
                "it was trained inside another model class; write `{in_base}.` for `{in_file}.` in its tensors' names"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differ(present: &str) -> Option<(String, String, String)> {
        let wanted = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
        let found = foreign(wanted, &["other", present])?;
        Some((found.in_file, found.in_base, found.then))
    }

    #[test]
    fn the_parts_that_differ_are_found() {
        let end = "layers.0.self_attn.q_proj.lora_A.weight";
        let is = |prefix: &str, file: &str, base: &str, then: &str| {
            let found = differ(&format!("{prefix}.{end}"));
            let wanted = Some((file.to_owned(), base.to_owned(), then.to_owned()));
            assert_eq!(found, wanted, "{prefix}");
        };
        is(
            "base_model.model.model.language_model",
            "language_model",
            "",
            "layers",
        );
        is(
            "base_model.model.language_model.model",
            "language_model",
            "",
            "model",
        );
        is("base_model.model.model.model", "model", "", "layers");
        is("base_model.model", "", "model", "layers");
        is(
            "base_model.model.transformer",
            "transformer",
            "model",
            "layers",
        );
        assert_eq!(
            differ("base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"),
            None
        );
        assert_eq!(
            differ("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"),
            None
        );
    }

    #[test]
    fn names_outside_of_layers_begin_with_the_module() {
        let wanted = "base_model.model.lm_head.lora_A.weight";
        let found = foreign(
            wanted,
            &["base_model.model.language_model.lm_head.lora_A.weight"],
        );
        assert_eq!(found.map(|f| f.in_file).as_deref(), Some("language_model"));
    }
}
