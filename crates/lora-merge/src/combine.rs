//! Several adapters, or one with a weight, become the one that is merged.
use crate::{Args, Combine};
use lora_cli::{Error, Result, Ui};
use lora_core::{Adapter, Combination, Module};
use serde_json::{Value, json};

/// Values kept by ties and dare where the command line does not say.
const DENSITY: f64 = 0.5;

/// Refuses flags that would have no effect, before any file is opened.
pub(crate) fn check_arguments(args: &Args) -> Result<()> {
    let unused = |flag: &str, needs: &str| {
        Err(Error::new(format!(
            "{flag} has no effect without --combine {needs}"
        )))
    };
    if args.rank.is_some() && args.combine != Combine::Svd {
        return unused("--rank", "svd");
    }
    if args.density.is_some()
        && !matches!(
            args.combine,
            Combine::Ties | Combine::Dare | Combine::DareTies
        )
    {
        return unused("--density", "ties, dare or dare-ties");
    }
    if args.seed.is_some() && !matches!(args.combine, Combine::Dare | Combine::DareTies) {
        return unused("--seed", "dare or dare-ties");
    }
    let (weights, adapters) = (args.weight.len(), args.adapter.len());
    if weights != 0 && weights != adapters {
        return Err(
            Error::new(format!("{weights} weights for {adapters} adapters"))
                .hint("give one --weight for each --adapter, in the same order"),
        );
    }
    Ok(())
}

/// Combines the loaded adapters as the arguments say. One alone, with weight 1, stays as it is, whatever it holds.
pub(crate) fn adapters(
    args: &Args,
    loaded: Vec<Adapter>,
    modules: &[Module],
    ui: &Ui,
) -> Result<(Adapter, Value)> {
    let weight = |index: usize| args.weight.get(index).copied().unwrap_or(1.0);
    let weighted: Vec<(&Adapter, f64)> = loaded
        .iter()
        .enumerate()
        .map(|(i, adapter)| (adapter, weight(i)))
        .collect();
    if args.combine == Combine::Cat && weighted.len() == 1 && weight(0) == 1.0 {
        let alone = loaded
            .into_iter()
            .next()
            .ok_or_else(|| Error::new("no adapter"))?;
        return Ok((alone, Value::Null));
    }
    let combined = lora_core::combine(&weighted, combination(args, &loaded), modules)?;
    let (adapter, error) = (&combined.adapter, combined.relative_error());
    let how = args.combine.name();
    let apart = match (args.combine, error) {
        (Combine::Cat, _) => "the exact sum".to_owned(),
        (_, None) => "the sum is zero".to_owned(),
        (_, Some(error)) => format!(
            "{:.3} % away from the exact sum (‖difference‖ ÷ ‖sum‖ of ΔW)",
            100.0 * error
        ),
    };
    let (count, modules) = (weighted.len(), adapter.modules.len());
    ui.say(&format!(
        "{how} of {count} adapters: rank {} on {modules} modules, {apart}",
        adapter.config.r
    ));
    let results = json!({"combine": how, "adapters": count, "rank": adapter.config.r, "relative_error": error});
    Ok((combined.adapter, results))
}

fn combination(args: &Args, loaded: &[Adapter]) -> Combination {
    let density = args.density.unwrap_or(DENSITY);
    let seed = args.seed.unwrap_or(0);
    let largest = || {
        loaded
            .iter()
            .flat_map(|a| &a.modules)
            .map(|m| m.rank)
            .max()
            .unwrap_or(1)
    };
    match args.combine {
        Combine::Cat => Combination::Cat,
        Combine::Svd => Combination::Svd {
            rank: args.rank.unwrap_or_else(largest),
        },
        Combine::Linear => Combination::Linear,
        Combine::Ties => Combination::Ties { density },
        Combine::Dare => Combination::Dare { density, seed },
        Combine::DareTies => Combination::DareTies { density, seed },
    }
}
