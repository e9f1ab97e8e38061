//! The loop at a terminal: a line is typed, with history and editing, and taken by the session.
use crate::answer::Speaker;
use crate::session::{Next, Session};
use lora_cli::{Foreign as _, Result};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

/// Talks until the person leaves.
pub(crate) fn talk(speaker: &mut Speaker<'_>) -> Result<()> {
    let ui = speaker.ui;
    ui.stays_after_ctrl_c();
    let mut editor = DefaultEditor::new().foreign()?;
    let mut session = Session::new(speaker);
    ui.text("/help lists the commands, Ctrl-D leaves\n");
    loop {
        let line = match typed(&mut editor, &session.label()) {
            Ok(line) => line,
            // Ctrl-C at the prompt throws the line away.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).foreign(),
        };
        let _ = editor.add_history_entry(&line);
        if session.take(&line) == Next::Leave {
            return Ok(());
        }
    }
}

/// A line, with those that follow a backslash at its end.
fn typed(editor: &mut DefaultEditor, label: &str) -> Result<String, ReadlineError> {
    let mut text = editor.readline(&format!("{label}> "))?;
    while let Some(before) = text.strip_suffix('\\') {
        let next = editor.readline("… ")?;
        text = format!("{before}\n{next}");
    }
    Ok(text)
}
