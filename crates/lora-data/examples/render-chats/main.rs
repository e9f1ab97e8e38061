//! Renders chats beside what another program made of them: JSON lines with `name`, `source`, `messages`, `tools`,
//! `arguments`, `generate`, `date` and `expected` (a text, or null where it refuses) on standard input; the differences
//! and their count on standard output. tests/oracle/templates.py makes the lines with transformers.
#![allow(clippy::print_stdout)]
use lora_data::{ChatTemplate, Message};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead;

fn main() -> Result<(), Box<dyn Error>> {
    let mut equal: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let name = case["name"].as_str().unwrap_or_default();
        let template = name.split('/').next().unwrap_or_default().to_owned();
        let made = render(&case);
        let counts = equal.entry(template).or_default();
        counts[1] += 1;
        match (&made, case["expected"].as_str()) {
            (Ok(text), Some(expected)) if text == expected => counts[0] += 1,
            (Err(_), None) => counts[0] += 1,
            (made, expected) => println!("{name}: {}", difference(made, expected)),
        }
    }
    let (templates, all) = (equal.len(), equal.values().filter(|[a, b]| a == b).count());
    let [same, cases] = equal
        .values()
        .fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
    println!("{same} of {cases} renderings, {all} of {templates} templates in all");
    Ok(())
}

fn render(case: &Value) -> Result<String, String> {
    let text = |key: &str| case[key].as_str();
    let source = text("source").unwrap_or_default();
    let template = ChatTemplate::new(source, Some("<s>"), Some("</s>"))?;
    let template = match text("date") {
        Some(date) => template.with_date(date)?,
        None => template,
    };
    let messages: Vec<Message> =
        serde_json::from_value(case["messages"].clone()).map_err(|error| error.to_string())?;
    let tools = Some(&case["tools"]).filter(|tools| !tools.is_null());
    let arguments = case["arguments"].as_object().cloned();
    let arguments: Map<String, Value> = arguments.unwrap_or_default();
    template.render_with(&messages, tools, &arguments, case["generate"] == true)
}

/// Where two texts begin to differ.
fn difference(made: &Result<String, String>, expected: Option<&str>) -> String {
    match (made, expected) {
        (Ok(made), Some(expected)) => {
            let same = made
                .bytes()
                .zip(expected.bytes())
                .take_while(|(a, b)| a == b);
            let from = made.floor_char_boundary(same.count().saturating_sub(20));
            let show = |text: &str| text[from..].chars().take(60).collect::<String>();
            format!("{:?} in place of {:?}", show(made), show(expected))
        }
        (Ok(made), None) => format!("written, though the other refuses: {made:.60?}"),
        (Err(error), _) => format!("refused: {error}"),
    }
}
