//! A plan as a pipeline that lora-run runs as it is.
use super::plan::Plan;
use super::situation::Situation;
use serde_json::Value;
use std::fmt::Write as _;

/// Flags of lora-prep that a receipt holds and a pipeline step takes.
const PREP_FLAGS: [&str; 10] = [
    "valid",
    "test",
    "seed",
    "max-length",
    "limit",
    "keep-duplicates",
    "text-block",
    "system",
    "template",
    "no-chat-template",
];

/// Writes the steps: prepare (if the raw records are still there), train, measure, merge, export.
pub fn pipeline(situation: &Situation, plan: &Plan) -> String {
    let mut yaml = String::from("# Written by lora-plan advise. Why each value:\n");
    for choice in &plan.choices {
        let _ = writeln!(
            yaml,
            "#   {} {}: {}",
            choice.what, choice.value, choice.reason
        );
    }
    for conflict in &plan.conflicts {
        let _ = writeln!(
            yaml,
            "#   conflict: {}, but {}. Won: {}.",
            conflict.one, conflict.other, conflict.won
        );
    }
    let _ = write!(
        yaml,
        "version: 1\nparams:\n  base: {}\n  seed: 7\nsteps:\n",
        text(&situation.model.display().to_string())
    );
    let base = if plan.quantise {
        yaml += "  quantised:\n    use: lora-export\n    in: { model: $base }\n    with: { format: gguf, dtype: q8_0 }\n";
        "$quantised/model.gguf"
    } else {
        "$base"
    };
    let data = match prep(situation, base) {
        Some(step) => {
            yaml += &step;
            "$prep".to_owned()
        }
        None => text(&situation.data.path.display().to_string()),
    };
    let mut with = format!(
        "rank: {}, alpha: {}, targets: {}",
        plan.rank, plan.alpha, plan.targets
    );
    if plan.rslora {
        with += ", rslora: true";
    }
    let _ = write!(
        with,
        ", dropout: {}, lr: {:e}, epochs: {}, batch: {}, accumulation: {}, schedule: cosine, seed: $seed",
        plan.dropout, plan.lr, plan.epochs, plan.batch, plan.accumulation
    );
    for (name, values) in situation.lora.given() {
        let values: Vec<String> = values.into_iter().map(text).collect();
        let _ = match &values[..] {
            [] => write!(with, ", {name}: true"),
            [one] => write!(with, ", {name}: {one}"),
            all => write!(with, ", {name}: [{}]", all.join(", ")),
        };
    }
    if situation.data.has_valid {
        with += ", patience: 3";
    }
    let device = match plan.device {
        Some(_) => ", device: cuda",
        None => "",
    };
    with += device;
    let _ = write!(
        yaml,
        "  train:\n    use: lora-train\n    in: {{ base: {base}, data: {data} }}\n    with: {{ {with} }}\n"
    );
    let needs = if situation.data.has_valid {
        let generate = if situation.data.has_prompts {
            "100"
        } else {
            "0"
        };
        let _ = write!(
            yaml,
            "  eval:\n    use: lora-eval\n    in: {{ base: {base}, data: {data}, adapter: $train }}\n    \
             with: {{ split: valid, generate: {generate}, must-beat-base: true{device} }}\n"
        );
        "\n    needs: [eval]"
    } else {
        ""
    };
    let _ = write!(
        yaml,
        "  merge:\n    use: lora-merge\n    in: {{ base: {base}, adapter: $train }}{needs}\n  export:\n    use: lora-export\n    \
         in: {{ model: $merge }}\n    with: {{ format: gguf, dtype: q8_0 }}\n"
    );
    yaml
}

/// The step that made the dataset, again from its raw records.
fn prep(situation: &Situation, base: &str) -> Option<String> {
    let receipt = situation.data.made_by.as_ref()?;
    let raw: Vec<String> = receipt
        .inputs
        .iter()
        .filter(|input| input.name == "raw")
        .map(|input| text(&input.path.display().to_string()))
        .collect();
    let raw = if raw.len() == 1 {
        raw[0].clone()
    } else {
        format!("[{}]", raw.join(", "))
    };
    let with: Vec<String> = PREP_FLAGS
        .iter()
        .filter_map(|flag| Some((flag, receipt.config.get(*flag)?)))
        .filter(|(_, value)| !value.is_null() && **value != Value::Bool(false))
        .map(|(flag, value)| {
            format!(
                "{flag}: {}",
                value.as_str().map_or_else(|| value.to_string(), text)
            )
        })
        .collect();
    Some(format!(
        "  prep:\n    use: lora-prep\n    in: {{ raw: {raw}, base: {base} }}\n    with: {{ {} }}\n",
        with.join(", ")
    ))
}

/// A word as YAML reads it inside `{ }`, and reads as a word; `$` would begin a param.
fn text(word: &str) -> String {
    const OTHER_MEANING: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let word = word.replace('$', "$$");
    let is_word = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && word.chars().all(plain)
        && !OTHER_MEANING.contains(&word.to_ascii_lowercase().as_str());
    if is_word {
        word
    } else {
        Value::from(word).to_string()
    }
}
