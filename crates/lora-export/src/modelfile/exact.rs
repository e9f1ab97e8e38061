//! A translated template says what the model's own says, character by character, or there is none.
use super::infer::{Turns, messages};
use super::thinking::Thinking;
use super::{beyond, go, write};
use lora_data::ChatTemplate;

/// A template in Ollama's language.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) turns: Turns,
    pub(super) written: String,
    /// What it does not say, one line each.
    pub(super) notes: Vec<String>,
}

/// Infers, writes, and compares on other chats; `added` is what the tokenizer puts before every text by itself.
pub(super) fn checked(template: &ChatTemplate, added: &str) -> Result<Checked, String> {
    let turns = Turns::infer(template)?;
    let bare = turns.clone().without_bos(added);
    // Thoughts go with it if every character is right; else they are said to be lost.
    let thinking = Thinking::infer(template, &turns).filter(|thinking| {
        let written = write::write(&bare, Some(thinking));
        thinking.is_exact(template, &written, added)
    });
    let written = write::write(&bare, thinking.as_ref());
    let mut notes = Vec::new();
    for (system, chat, last) in CHATS {
        let system = system.filter(|_| turns.system.is_some());
        let wanted = template.render(&messages(system, chat, last), None, true)?;
        let wanted = wanted.strip_prefix(added).unwrap_or(&wanted);
        let mut said: Vec<(&str, &str)> = system.map(|text| ("system", text)).into_iter().collect();
        said.extend(
            chat.iter()
                .flat_map(|&(question, answer)| [("user", question), ("assistant", answer)]),
        );
        said.push(("user", last));
        let ours = go::render(&written, system.unwrap_or_default(), &said)?;
        if ours != wanted || bare.render(system, chat, last) != wanted {
            return Err(
                "the turns of a longer chat are not what those of a short one say".to_owned(),
            );
        }
    }
    let spaced = template.render(&messages(None, &[], " a "), None, true)?;
    if spaced.strip_prefix(added).unwrap_or(&spaced) != bare.render(None, &[], " a ") {
        notes.push(
            "the model's template trims messages; Ollama passes white space around them on"
                .to_owned(),
        );
    }
    notes.extend(beyond::notes(template, &turns, thinking.as_ref()));
    Ok(Checked {
        turns: bare,
        written,
        notes,
    })
}

/// A chat: system message, turns, the last question.
type Sample = (
    Option<&'static str>,
    &'static [(&'static str, &'static str)],
    &'static str,
);

/// Chats that were not used for inferring; no white space around a message.
const CHATS: [Sample; 6] = [
    (None, &[], "What is 2 + 2?\nShow your work."),
    (Some("Answer in JSON."), &[], "{\"a\": [1, 2]}"),
    (
        None,
        &[("Hi", "Hello! How can I help?")],
        "Tell me \"a story\" — über Köln 🦀",
    ),
    (
        Some("You are a pirate.\n\nSpeak so."),
        &[("a", "b"), ("c\nd", "e")],
        "f",
    ),
    (None, &[("1", "2"), ("3", "4"), ("5", "6")], "7"),
    (Some("Brief"), &[("x", "y")], "z"),
];

#[cfg(test)]
mod tests {
    use super::super::refuse_unwritable;
    use super::*;

    /// Templates of the known families, shortened, and what Ollama's must contain. (name, source, part of the result)
    const FAMILIES: [(&str, &str, &str); 8] = [
        (
            "chatml with a default system message",
            "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are \
             helpful.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}\
             {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
            "{{ else }}<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n{{ end }}",
        ),
        (
            "llama 2",
            "{% if messages[0]['role'] == 'system' %}{% set sys = messages[0]['content'] %}{% set messages = messages[1:] %}\
             {% else %}{% set sys = false %}{% endif %}{% for m in messages %}{% if loop.index0 == 0 and sys %}\
             {% set content = '<<SYS>>\n' + sys + '\n<</SYS>>\n\n' + m['content'] %}{% else %}{% set content = m['content'] %}\
             {% endif %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
             {% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
            "[INST] <<SYS>>\n{{ .System }}\n<</SYS>>\n\n",
        ),
        (
            "llama 3",
            "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + \
             m['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}\
             {{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}\
             {% endif %}",
            "<|start_header_id|>system<|end_header_id|>\n\n{{ .System }}<|eot_id|>",
        ),
        (
            "mistral: the system message before the last question",
            "{%- if messages[0]['role'] == 'system' %}{% set sys = messages[0]['content'] %}{% set loop_messages = messages[1:] \
             %}{% else %}{% set loop_messages = messages %}{% endif %}{{- bos_token }}{% for m in loop_messages %}\
             {% if m['role'] == 'user' %}{% if loop.last and sys is defined %}{{ '[INST] ' + sys + '\n\n' + m['content'] + \
             '[/INST]' }}{% else %}{{ '[INST] ' + m['content'] + '[/INST]' }}{% endif %}{% else %}{{ ' ' + m['content'] + \
             eos_token }}{% endif %}{% endfor %}",
            "{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}{{ $.System }}\n\n{{ end }}",
        ),
        (
            "gemma: no system message",
            "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}\
             {% endif %}{% for m in messages %}{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else %}\
             {% set role = m['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + \
             '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
            "<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "phi 3",
            "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}\
             {% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
            "<|system|>\n{{ .System }}<|end|>\n<|user|>\n",
        ),
        (
            "zephyr",
            "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + eos_token }}\
             {% elif m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + eos_token }}{% elif m['role'] == 'assistant' \
             %}{{ '<|assistant|>\n'  + m['content'] + eos_token }}{% endif %}{% if loop.last and add_generation_prompt %}\
             {{ '<|assistant|>' }}{% endif %}\n{% endfor %}",
            "<|system|>\n{{ .System }}</s>",
        ),
        (
            "texts that Go and the Modelfile would read as their own",
            "{% for m in messages %}{{ '{' + '{' + m['role'] + ' \"\"\" {' + m['content'] + '}' + '}\"' }}{% endfor %}\
             {{ '{' }}",
            "{{ \"}}\\\"{{user \\\"\\\"\\\" {\" }}",
        ),
    ];

    #[test]
    fn the_known_families_are_translated_exactly() {
        for (family, source, part) in FAMILIES {
            let template = ChatTemplate::new(source, Some("<s>"), Some("</s>")).unwrap();
            for added in ["", "<s>"] {
                let Checked { turns, written, .. } =
                    checked(&template, added).unwrap_or_else(|e| panic!("{family}: {e}"));
                assert!(written.contains(part), "{family}: {written}");
                assert!(
                    added.is_empty() || !turns.head.starts_with("<s>"),
                    "{family}: {written}"
                );
                assert!(!written.contains("\"\"\""), "{family}: {written}");
            }
        }
    }

    #[test]
    fn characters_that_ollama_drops_are_escaped_or_refused() {
        let source = "{% for m in messages %}<{{ m.role }}>\u{a0}{{ m.content }}👩\u{200d}🔬\u{feff}\n{% endfor %}";
        let template = ChatTemplate::new(source, None, None).unwrap();
        let written = checked(&template, "").unwrap().written;
        assert!(
            written.chars().all(crate::modelfile::plain::is_kept),
            "{written:?}"
        );
        assert!(
            written.contains("\\U000000a0") && written.contains("👩\\U0000200d🔬"),
            "{written}"
        );
        for kept in ["Sei kurz.\r\n\t– Ü, e\u{301}, 東京, 🦀", "\"quoted\""] {
            assert!(refuse_unwritable(kept).is_ok(), "{kept}");
        }
        for dropped in ["a\u{a0}b", "👩\u{200d}🔬", "\0", "\u{3000}", "a \"\"\" b"] {
            assert!(refuse_unwritable(dropped).is_err(), "{dropped:?}");
        }
    }

    #[test]
    fn what_a_template_does_more_is_said() {
        let notes = |index: usize| {
            let template = ChatTemplate::new(FAMILIES[index].1, Some("<s>"), Some("</s>")).unwrap();
            checked(&template, "").unwrap().notes
        };
        for plain in [0, 5] {
            let [note] = &notes(plain)[..] else {
                panic!("{:?}", notes(plain));
            };
            assert!(note.starts_with("a system message further down"), "{note}");
        }
        assert!(notes(2)[0].contains("trims"));
        assert!(
            notes(4)
                .iter()
                .any(|note| note.contains("no place for a system message"))
        );
    }

    /// ChatML with one thing more.
    fn chatml_and(more: &str) -> Vec<String> {
        let source = format!(
            "{more}{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}{{{{ calls(m) if calls else '' \
             }}}}<|im_end|>\n{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
        );
        let template = ChatTemplate::new(&source, None, None).unwrap();
        checked(&template, "").unwrap().notes
    }

    #[test]
    fn tools_and_reasoning_are_found_by_what_the_template_writes() {
        let of = |more: &str, word: &str| chatml_and(more).iter().any(|note| note.contains(word));
        let tools = "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}";
        let calls = "{% macro calls(m) %}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{% endmacro %}";
        let thoughts = "{% macro calls(m) %}{{ m.reasoning_content or '' }}{% endmacro %}";
        let switch =
            "{% if enable_thinking is defined and enable_thinking is false %}/no_think{% endif %}";
        for (more, has_tools, has_reasoning) in [
            ("", false, false),
            (tools, true, false),
            (calls, true, false),
            (thoughts, false, true),
            (switch, false, true),
        ] {
            assert_eq!(of(more, "does not support tools"), has_tools, "{more}");
            assert_eq!(of(more, "reasoning"), has_reasoning, "{more}");
        }
        let dropped = "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[-1].lstrip() }}\n{% endfor %}";
        let template = ChatTemplate::new(dropped, None, None).unwrap();
        let turns = Turns::infer(&template).unwrap();
        assert!(
            beyond::notes(&template, &turns, None)
                .iter()
                .any(|note| note.contains("reasoning"))
        );
    }

    #[test]
    fn later_system_messages_are_said_only_where_the_template_takes_them() {
        let has_note = |index: usize| {
            let template = ChatTemplate::new(FAMILIES[index].1, Some("<s>"), Some("</s>")).unwrap();
            let notes = checked(&template, "").unwrap().notes;
            notes.iter().any(|note| note.contains("further down"))
        };
        assert!(has_note(0), "ChatML writes them where they stand");
        assert!(!has_note(4), "Gemma has none at all");
    }

    #[test]
    fn a_template_that_turns_do_not_describe_is_refused() {
        for (source, words) in [
            (
                "{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}",
                "longer chat",
            ),
            (
                "{{ messages|length }}{% for m in messages %}[{{ m.content }}]{% endfor %}",
                "change with the length",
            ),
            (
                "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
                "more than once",
            ),
            ("{{ messages[-1].content }}", "missing"),
            (
                "{% for m in messages %}{{ m.role }}{{ m.content|upper }}{% endfor %}",
                "missing",
            ),
            (
                "{% for m in messages %}<{{ m.content if m.content|length < 20 else 'long' }}>{% endfor %}",
                "longer chat",
            ),
        ] {
            let template = ChatTemplate::new(source, None, None).unwrap();
            let error = checked(&template, "")
                .map(|checked| checked.written)
                .unwrap_err();
            assert!(error.contains(words), "{source}: {error}");
        }
    }

    #[test]
    fn hostile_go_is_an_error_and_never_a_panic() {
        let pieces = [
            "{{",
            "}}",
            " if ",
            "end",
            "else",
            " eq ",
            ".Role",
            "\"user\"",
            "$before",
            "(",
            ")",
            " and ",
            "len",
            "slice",
            "$.Messages",
            "$i",
            " range $i, $message := .Messages ",
            ":=",
            "=",
            "1",
            "\\",
            "\"",
            ".Content",
            "ü",
        ];
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize
        };
        for _ in 0..20_000 {
            let source: String = (0..next() % 16)
                .map(|_| pieces[next() % pieces.len()])
                .collect();
            let _ = go::render(&source, "s", &[("user", "a"), ("assistant", "b")]);
        }
    }
}
