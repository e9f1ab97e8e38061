//! `--allow-other-base`: an adapter and the base that it was trained on.
use crate::{Error, Result, Ui};
use lora_receipt::{Belonging, Identity, Input};
use std::path::Path;

/// The way past a base that is not the adapter's own; flatten with `#[command(flatten)] #[serde(flatten)]`.
#[derive(Debug, Clone, Copy, Default, clap::Args, serde::Serialize)]
pub struct OtherBase {
    /// Go on though the adapter was trained on another base than this one.
    #[arg(long, requires = "adapter")]
    #[serde(rename = "allow-other-base")]
    pub allow_other_base: bool,
}

impl OtherBase {
    /// Refuses a base, read as `given`, that the adapter was not trained on, unless the user allows it; says or warns of
    /// what is not certain.
    ///
    /// # Errors
    /// When the base is another one.
    pub fn check(self, ui: &Ui, adapter: &Path, given: &Input, own: Belonging) -> Result<()> {
        let trained_on = own.trained_on.as_deref();
        let named = trained_on.unwrap_or("an unnamed base");
        let (adapter, base) = (adapter.display(), given.path.display());
        match own.identity {
            Identity::Same => {}
            Identity::Likely(signs) => ui.say(&format!(
                "{adapter} was trained on {named}; {base} is another file of that model, by all signs: {signs}"
            )),
            Identity::Unknown(why) => ui.warn(&format!(
                "{adapter} was trained on {named}, and nothing tells whether {base} is that model: {why}"
            )),
            Identity::Other(why) if self.allow_other_base => ui.warn(&format!(
                "{adapter} was trained on {named}, not on {base}: {why}; going on, as --allow-other-base says"
            )),
            Identity::Other(why) => {
                return Err(Error::new(format!(
                    "{adapter} was trained on {named}, not on {base}: {why}"
                ))
                .hint(way_out(trained_on, &base.to_string())));
            }
        }
        Ok(())
    }
}

fn way_out(trained_on: Option<&str>, base: &str) -> String {
    match trained_on {
        Some(path) if path != base && Path::new(path).exists() => format!(
            "name the base that it was trained on: --base {path}; --allow-other-base goes on with this one"
        ),
        _ => "name the base that it was trained on, or train again on this one; --allow-other-base goes on, and what the \
              adapter then does is not what was trained"
            .to_owned(),
    }
}
