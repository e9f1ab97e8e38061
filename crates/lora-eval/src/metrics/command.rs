//! `--metric-command`: a program of the user's that reads answers as JSON lines and writes a score for each.
use lora_cli::{Context as _, Error, Foreign as _, Result};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Child, Stdio};

/// Name of a metric that was given without one.
const UNNAMED: &str = "command";

/// `NAME=CMD` or `CMD`. A higher score is better.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: String,
    line: String,
}

/// What the program reads of a row.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) id: &'a str,
    pub(crate) model: &'a str,
    pub(crate) prompt: &'a str,
    pub(crate) answer: &'a str,
    pub(crate) references: &'a [String],
}

impl Command {
    /// A name is letters, digits and underscores in front of the first `=`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let is_name = |name: &str| {
            let mut chars = name.chars();
            chars.next().is_some_and(|c| c.is_ascii_lowercase())
                && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let (name, line) = match text.split_once('=') {
            Some((name, line)) if is_name(name) => (name, line),
            _ => (UNNAMED, text),
        };
        if line.trim().is_empty() {
            return Err(Error::new("--metric-command is empty")
                .hint("e.g. --metric-command 'judge=python3 judge.py'"));
        }
        Ok(Self {
            name: name.to_owned(),
            line: line.to_owned(),
        })
    }

    /// The score of each row.
    ///
    /// # Errors
    /// When the program fails, or does not write one finite number for each line that it reads.
    pub(crate) fn scores(&self, rows: &[Asked<'_>]) -> Result<Vec<f64>> {
        let failed = || format!("the metric command `{}` failed", self.line);
        let mut lines = String::new();
        for row in rows {
            let line = json!({
                "id": row.id,
                "model": row.model,
                "prompt": row.prompt,
                "answer": row.answer,
                "references": row.references,
            });
            lines += &line.to_string();
            lines.push('\n');
        }
        let output = answered(self.spawn().context(failed)?, lines).context(failed)?;
        if !output.status.success() {
            return Err(Error::new(format!("{}: {}", failed(), output.status))
                .hint(last_line(&output.stderr)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let written: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        if written.len() != rows.len() {
            return Err(Error::new(format!(
                "the metric command `{}` wrote {} scores for {} answers",
                self.line,
                written.len(),
                rows.len()
            ))
            .hint("it writes one line for each line that it reads, in the same order: a number, or {\"score\": NUMBER}"));
        }
        let numbered = written.iter().enumerate();
        numbered
            .map(|(at, line)| self.score(at + 1, line))
            .collect()
    }

    fn spawn(&self) -> Result<Child> {
        let mut command = if cfg!(windows) {
            let mut shell = std::process::Command::new("cmd");
            shell.args(["/C", &self.line]);
            shell
        } else {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &self.line]);
            shell
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(lora_cli::refused)
    }

    fn score(&self, number: usize, line: &str) -> Result<f64> {
        let value: Option<Value> = serde_json::from_str(line).ok();
        let score = value.as_ref().and_then(|value| {
            let own = value.get("score").unwrap_or(value);
            own.as_f64()
                .or_else(|| own.as_bool().map(|is_met| f64::from(u8::from(is_met))))
        });
        score.filter(|score| score.is_finite()).ok_or_else(|| {
            Error::new(format!(
                "the metric command `{}` wrote no score in line {number}: {line}",
                self.line
            ))
            .hint("a line is a number, true or false, or {\"score\": NUMBER}")
        })
    }
}

/// Feeds the program and waits for it; it may read and write at the same time.
fn answered(mut child: Child, lines: String) -> Result<std::process::Output> {
    let mut stdin = child.stdin.take();
    let writer = lora_cli::thread("writing to it", move || {
        if let Some(stdin) = &mut stdin {
            let _ = stdin.write_all(lines.as_bytes()); // a program that stops reading tells why by its status
        }
    })?; // without one its standard input is closed
    let output = child.wait_with_output().foreign()?;
    let _ = writer.join();
    Ok(output)
}

/// What a program said last.
fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(
        || "it said nothing on stderr".to_owned(),
        |line| format!("it said: {}", line.trim()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(line: &str) -> Result<Vec<f64>> {
        let row = |answer| Asked {
            id: "0",
            model: "base",
            prompt: "p",
            answer,
            references: &[],
        };
        Command::parse(line)?.scores(&[row("a"), row("b")])
    }

    #[test]
    fn a_name_stands_before_the_command() {
        let name = |text: &str| Command::parse(text).unwrap().name;
        assert_eq!(name("judge=python3 judge.py --a=b"), "judge");
        assert_eq!(
            (name("python3 judge.py --a=b"), name("A=1 ./x")),
            (UNNAMED.to_owned(), UNNAMED.to_owned())
        );
        assert!(Command::parse("judge=").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn each_answer_has_one_finite_score() {
        assert_eq!(
            scores("while read l; do echo 0.5; done").unwrap(),
            [0.5, 0.5]
        );
        assert_eq!(
            scores("cat >/dev/null; echo '{\"score\": 2}'; echo true").unwrap(),
            [2.0, 1.0]
        );
        for (line, wanted) in [
            ("cat >/dev/null; echo 1", "wrote 1 scores for 2 answers"),
            (
                "cat >/dev/null; echo 1; echo NaN",
                "wrote no score in line 2",
            ),
            (
                "cat >/dev/null; echo 1; echo 1e999",
                "wrote no score in line 2",
            ),
            ("echo oh no >&2; exit 3", "failed"),
        ] {
            let error = scores(line).unwrap_err().to_string();
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }
}
