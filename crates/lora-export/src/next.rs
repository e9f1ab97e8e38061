//! What to do with a GGUF file that was just written: the commands that run it, to copy and paste.
use crate::inputs::Source;
use crate::{Args, Format, output};
use lora_checkpoint::Format as Stored;
use lora_model::Served;
use std::path::Path;

/// One line each; none where the output is for other programs.
pub(crate) fn commands(args: &Args, source: &Source, served: &Served) -> Vec<String> {
    if args.format != Format::Gguf {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if args.modelfile {
        let name = ollama_name(&output::name(args, source.model().path()));
        let file = word(&args.out_path().join("Modelfile"));
        lines.push(format!(
            "ollama create {name} -f {file} && ollama run {name}"
        ));
    }
    let place = |file: &str| match args.is_single() {
        true => word(args.out_path()),
        false => word(&args.out_path().join(file)),
    };
    let mut line = match source {
        Source::Model(_) => format!("llama-cli -m {} --jinja", place("model.gguf")),
        Source::Adapter(base, _) => {
            let own = base.checkpoint();
            let is_folder = own.format() != Stored::Gguf;
            let adapter = place("adapter.gguf");
            if is_folder {
                lines.push(format!(
                    "lora-export --model {} --out base.gguf",
                    word(own.path())
                ));
            }
            let base = match is_folder {
                true => "base.gguf".to_owned(),
                false => word(own.path()),
            };
            format!("llama-cli -m {base} --lora {adapter} --jinja")
        }
    };
    if let Some(system) = &served.chat.system {
        line += &format!(" -sys {}", quoted(system));
    }
    lines.push(line);
    lines
}

/// A name as Ollama takes it: small letters, digits and `-`, `_`, `.`.
fn ollama_name(name: &str) -> String {
    let kept = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
        '.' | '_' => c,
        _ => '-',
    };
    let name: String = name.chars().map(kept).collect();
    match name.trim_matches(['-', '.', '_']) {
        "" => "mine".to_owned(),
        name => name.to_owned(),
    }
}

fn word(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A word for a shell, in quotation marks where it needs them.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::{ollama_name, quoted};

    #[test]
    fn names_are_as_ollama_takes_them_and_words_as_a_shell_does() {
        for (name, taken) in [
            ("Smol LM2/135M", "smol-lm2-135m"),
            ("..", "mine"),
            ("über", "ber"),
        ] {
            assert_eq!(ollama_name(name), taken);
        }
        for (word, shown) in [
            ("a/b.gguf", "a/b.gguf"),
            ("it's a", r"'it'\''s a'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }
}
