//! Why a tensor has another shape: its rank, added tokens, or another model.
use super::other_base;
use crate::layout::Part;
use crate::{Fault, Module, ModuleKind};

/// A tensor of the file beside what the base needs.
pub(crate) struct Shapes<'s> {
    /// Its name.
    pub(crate) name: &'s str,
    /// What it is.
    pub(crate) part: Part,
    /// In the file.
    pub(crate) found: &'s [usize],
    /// On this base.
    pub(crate) needed: &'s [usize],
}

/// What is wrong with a shape; `module` is the one that the tensor belongs to, `base` what the config names.
pub(crate) fn wrong_shape(
    shapes: &Shapes<'_>,
    module: Option<&Module>,
    base: Option<&str>,
) -> Fault {
    let Shapes {
        name,
        found,
        needed,
        ..
    } = shapes;
    let what = format!("tensor {name} has shape {found:?}, this base needs {needed:?}");
    if shapes.differs_in_rank() {
        return Fault::new(what)
            .hint("the config (r, rank_pattern) says another rank than the file has");
    }
    match module.and_then(|module| shapes.tokens(module)) {
        Some((found, needed)) => tokens(found, needed, shapes.part).behind(&what),
        None if shapes.differs_in_output() => Fault::new(format!(
            "{what}: its inputs fit, its outputs don't, as with another number of heads"
        ))
        .hint(other_base(base)),
        None => Fault::new(what).hint(other_base(base)),
    }
}

impl Shapes<'_> {
    fn differs_in_rank(&self) -> bool {
        match (self.part, self.found, self.needed) {
            (Part::A, [found_rank, found], [rank, needed])
            | (Part::B, [found, found_rank], [needed, rank]) => {
                found == needed && found_rank != rank
            }
            _ => false,
        }
    }

    /// B of a rank that fits, with other rows: A fitted.
    fn differs_in_output(&self) -> bool {
        match (self.part, self.found, self.needed) {
            (Part::B, [_, found], [_, needed]) => found == needed,
            _ => false,
        }
    }

    /// Tokens in the file and in the base, if that is all that differs.
    fn tokens(&self, module: &Module) -> Option<(usize, usize)> {
        let is_table = module.kind == ModuleKind::Embedding;
        if !(is_table || module.is_head) {
            return None;
        }
        let axis = match self.part {
            Part::A if is_table => 1,
            Part::B if !is_table => 0,
            Part::Weight => 0,
            Part::LoraBias | Part::Magnitude | Part::Bias if !is_table => 0,
            _ => return None,
        };
        let others_fit = self.found.len() == self.needed.len()
            && (0..self.found.len()).all(|i| i == axis || self.found[i] == self.needed[i]);
        others_fit.then(|| (self.found[axis], self.needed[axis]))
    }
}

fn tokens(found: usize, needed: usize, part: Part) -> Fault {
    if found < needed {
        let more = needed - found;
        return Fault::new(format!(
            ": this base has {more} tokens more than the one that was trained"
        ))
        .hint("name the base as it was before tokens were added");
    }
    let more = found - needed;
    let resize = match part {
        Part::Weight => format!(
            "; if only this one is left, give it as many in transformers: model.resize_token_embeddings({found}), then \
             save_pretrained"
        ),
        _ => String::new(),
    };
    Fault::new(format!(
        ": {more} tokens were added to the base before training"
    ))
    .hint(format!("name the base with its {found} tokens{resize}"))
}
