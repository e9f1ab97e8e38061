//! The names in PEFT's tensor file without the wrappers of a training framework.
use crate::Fault;
use safetensors::tensor::{SafeTensors, TensorView};
use std::collections::{BTreeMap, BTreeSet};

/// What frameworks put around modules, and who does; none is part of a module's own name, and PEFT takes the first off
/// itself.
const WRAPPERS: [(&str, &str); 3] = [
    ("_orig_mod.", "torch.compile"),
    ("_fsdp_wrapped_module.", "FSDP"),
    ("_checkpoint_wrapped_module.", "activation checkpointing"),
];

/// The same at the beginning of a name only: a model may have a module that is called so.
const OUTERMOST: (&str, &str) = ("module.", "DistributedDataParallel");

/// A file's tensors by their names without wrappers.
pub(crate) struct TensorNames<'f> {
    tensors: &'f SafeTensors<'f>,
    /// Name without wrappers → name in the file.
    names: BTreeMap<String, String>,
    /// What was taken off.
    wrappers: BTreeSet<String>,
}

impl<'f> TensorNames<'f> {
    /// Takes the wrappers off; two tensors of one name are an error.
    pub(crate) fn of(tensors: &'f SafeTensors<'f>) -> Result<Self, Fault> {
        let mut found = Self {
            tensors,
            names: BTreeMap::new(),
            wrappers: BTreeSet::new(),
        };
        for name in tensors.names() {
            let bare = found.unwrapped(name);
            if let Some(other) = found.names.insert(bare.clone(), name.to_owned()) {
                return Err(Fault::new(format!(
                    "tensors {other} and {name} are both {bare} without their wrappers"
                ))
                .hint("save the adapter again with PEFT's save_pretrained"));
            }
        }
        Ok(found)
    }

    fn unwrapped(&mut self, name: &str) -> String {
        let mut bare = name;
        let (outermost, framework) = OUTERMOST;
        if let Some(inner) = name.strip_prefix(outermost) {
            bare = inner;
            self.note(outermost, framework);
        }
        let mut bare = bare.to_owned();
        for (wrapper, framework) in WRAPPERS {
            if bare.starts_with(wrapper) || bare.contains(&format!(".{wrapper}")) {
                bare = bare.replace(wrapper, "");
                self.note(wrapper, framework);
            }
        }
        bare
    }

    fn note(&mut self, wrapper: &str, framework: &str) {
        self.wrappers.insert(format!(
            "`{wrapper}` ({framework}) is taken off the tensors' names"
        ));
    }

    /// One line for each kind of wrapper that was taken off.
    pub(crate) fn notes(&self) -> impl Iterator<Item = &str> {
        self.wrappers.iter().map(String::as_str)
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The tensor of a name.
    pub(crate) fn get(&self, name: &str) -> Option<TensorView<'f>> {
        self.tensors.tensor(self.names.get(name)?).ok()
    }
}
