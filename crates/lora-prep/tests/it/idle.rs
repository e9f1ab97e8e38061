//! A flag that changes nothing in any row is said.
use crate::harness::Folder;

const TEXTS: &str = "{\"text\": \"a b c\"}\n{\"text\": \"d e f\", \"note\": \"x\"}\n";

#[test]
fn flags_without_effect_are_said_and_others_not() {
    let folder = Folder::new();
    folder.write("text.jsonl", TEXTS);
    folder.write(
        "chat.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"u\", \"note\": \"n\"}, {\"role\": \"assistant\", \"content\": \"a\"}]}\n",
    );
    let dated = "{{ strftime_now('%d %b %Y') }} {% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                 {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    folder.write("dated.jinja", dated);
    let date = ["--date", "2026-11-27"];
    let cases: [(&str, Vec<&str>, &str); 8] = [
        (
            "text.jsonl",
            vec!["--ignore", "txet"],
            "warning: --ignore txet: no row has this key",
        ),
        ("text.jsonl", vec!["--ignore", "note"], ""),
        ("chat.jsonl", vec!["--ignore", "note"], ""),
        (
            "text.jsonl",
            vec!["--system", "Be brief"],
            "warning: --system changes nothing",
        ),
        (
            "text.jsonl",
            vec!["--learn", "last"],
            "warning: --learn changes nothing",
        ),
        (
            "chat.jsonl",
            vec!["--system", "Be brief", "--learn", "last"],
            "",
        ),
        (
            "chat.jsonl",
            date.to_vec(),
            "warning: --date 2026-11-27 changes nothing",
        ),
        (
            "chat.jsonl",
            [&date[..], &["--template", "dated.jinja"]].concat(),
            "lora-chat --date 2026-11-27 asks so",
        ),
    ];
    for (raw, flags, wanted) in cases {
        let more = [&flags[..], &["--valid", "0", "--force"]].concat();
        let answer = folder.prep(raw, "d", &more);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        match wanted {
            "" => assert!(
                !answer.stderr.contains("warning:"),
                "{flags:?}: {}",
                answer.stderr
            ),
            wanted => assert!(
                answer.stderr.contains(wanted),
                "{flags:?}: {}",
                answer.stderr
            ),
        }
    }
    let wrong = folder.prep("chat.jsonl", "e", &["--date", "27.11.2026"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.stderr.contains("no date such as 2026-11-27"),
        "{}",
        wrong.stderr
    );
}
