//! `--router-aux-loss-coef`: the loss for the balance of a mixture's experts.
use crate::args::Args;
use lora_checkpoint::{ModelConfig, Scores};
use lora_cli::{Error, Result, Ui};

/// Puts the coefficient in place that config.json asks for, and says so where one counts.
pub(crate) fn resolve(args: &mut Args, config: &ModelConfig, ui: &Ui) -> Result<()> {
    if config.experts.is_none() {
        return match args.router_aux_loss_coef {
            Some(coefficient) if coefficient > 0.0 => Err(Error::new(format!(
                "--router-aux-loss-coef {coefficient}: {} has no experts to balance",
                args.base.display()
            ))
            .hint("leave it out")),
            _ => Ok(()),
        };
    }
    let asked = args.router_aux_loss_coef.filter(|&asked| asked > 0.0);
    let scores = config.experts.map(|own| own.scores);
    if let (Some(coefficient), Some(Scores::Sigmoid)) = (asked, scores) {
        return Err(Error::new(format!(
            "--router-aux-loss-coef {coefficient}: experts of {} are scored by sigmoids, for which transformers has no such loss",
            args.base.display()
        ))
        .hint("leave it out"));
    }
    let own = config.router_aux_loss.unwrap_or(0.0);
    let coefficient = *args.router_aux_loss_coef.get_or_insert(own);
    if coefficient > 0.0 {
        ui.say(&format!(
            "experts are kept balanced: what trains is loss + {coefficient} · aux_loss (--router-aux-loss-coef); the losses \
             shown are those of the tokens"
        ));
    }
    Ok(())
}
