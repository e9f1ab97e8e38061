//! What a chat template does beyond the turns of questions and answers, found by rendering: Ollama's template, which is
//! written from the turns alone, does not do it, and that is said.
use super::infer::{Turns, messages};
use super::thinking::Thinking;
use lora_data::{ChatTemplate, Message};
use serde_json::{Value, json};

/// Words that no template touches.
const TOOL: &str = "Xtool0X";
const THOUGHT: &str = "Xthought0X";

/// One line for each thing that is lost.
pub(super) fn notes(
    template: &ChatTemplate,
    turns: &Turns,
    thinking: Option<&Thinking>,
) -> Vec<String> {
    let has_switch = template.source().contains("enable_thinking");
    let lacks_switch = thinking.is_some_and(|thinking| thinking.off.is_none());
    let lost = [
        (
            writes_tools(template),
            "the model's template writes tools and their calls, and Ollama's will not: Ollama says that the model does not support tools (llama-server --jinja applies the model's own template)",
        ),
        (
            thinking.is_none() && treats_reasoning(template),
            "the model's template writes, drops or asks for reasoning; Ollama's passes answers on as they are, and has no switch for thinking",
        ),
        (
            has_switch && lacks_switch,
            "the model's template has a switch for thinking that Ollama's can't say: `think: false` changes nothing",
        ),
        (
            joins_systems(template, turns),
            "a system message further down in a chat: Ollama writes it with the first one, the model's template does not",
        ),
        (
            turns.system.is_none(),
            "the model's template has no place for a system message; Ollama will leave it out",
        ),
    ];
    let lost = lost.into_iter().filter(|(is_lost, _)| *is_lost);
    lost.map(|(_, note)| note.to_owned()).collect()
}

/// A list of tools, or a call of one, stands in the text.
fn writes_tools(template: &ChatTemplate) -> bool {
    let tools = json!([{"type": "function", "function": {
        "name": TOOL, "description": "d", "parameters": {"type": "object", "properties": {}},
    }}]);
    let call =
        json!({"id": "abcdefghi", "type": "function", "function": {"name": TOOL, "arguments": {}}});
    let asked = messages(None, &[], "question");
    let called = [
        asked.clone(),
        chat(&[json!({"role": "assistant", "content": "", "tool_calls": [call]})]),
    ];
    let has_tool = |text: Result<String, String>| text.is_ok_and(|text| text.contains(TOOL));
    has_tool(template.render(&asked, Some(&tools), true))
        || has_tool(template.render(&called.concat(), None, false))
        || has_tool(template.render(&called.concat(), Some(&tools), false))
}

/// Reasoning stands in the text, or is taken out of an earlier answer, or the template asks whether there is to be any.
fn treats_reasoning(template: &ChatTemplate) -> bool {
    let thought = format!("<think>\n{THOUGHT}\n</think>\n\nanswer");
    let apart = [
        messages(None, &[], "question"),
        chat(&[json!({"role": "assistant", "content": "answer", "reasoning_content": THOUGHT})]),
    ];
    let is_written = template.render(&apart.concat(), None, false);
    let earlier = template.render(
        &messages(None, &[("question", &thought)], "next"),
        None,
        true,
    );
    is_written.is_ok_and(|text| text.contains(THOUGHT))
        || earlier.is_ok_and(|text| !text.contains(&thought))
        || template.source().contains("enable_thinking")
}

/// Ollama joins all system messages by an empty line, in the place of the first.
fn joins_systems(template: &ChatTemplate, turns: &Turns) -> bool {
    let later = [
        messages(Some("first"), &[], "question"),
        chat(&[json!({"role": "assistant", "content": "answer"})]),
        messages(Some("second"), &[], "next"),
    ];
    let ours = turns.render(Some("first\n\nsecond"), &[("question", "answer")], "next");
    turns.system.is_some()
        && template
            .render(&later.concat(), None, true)
            .is_ok_and(|text| text != ours)
}

fn chat(all: &[Value]) -> Vec<Message> {
    all.iter()
        .filter_map(|message| message.as_object().cloned())
        .collect()
}
