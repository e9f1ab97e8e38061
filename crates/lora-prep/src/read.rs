//! Raw rows from the files and the standard input that the command line names.
use crate::Args;
use crate::source::Source;
use crate::tally::Tally;
use lora_cli::{Error, Result, Ui};
use lora_data::{KNOWN_KEYS, RawRow, RawRows, SplitName};
use lora_receipt::Input;
use std::io::Read;
use std::path::Path;

/// Rows between two looks at Ctrl-C and the progress bar.
pub(crate) const STRIDE: usize = 64;

/// What was read.
pub(crate) struct Raw {
    /// Rows, and their split where files bring their own.
    pub(crate) rows: Vec<(RawRow, Option<SplitName>)>,
    /// Lines that can't be read and are left out.
    pub(crate) bad: Tally,
    /// The splits that files bring.
    pub(crate) own: Vec<SplitName>,
}

impl Raw {
    /// All raw rows, up to the limit (of those to train on); every source is added to the inputs.
    pub(crate) fn read(args: &Args, inputs: &mut Vec<Input>, ui: &Ui) -> Result<Self> {
        let sources = Source::all(args)?;
        let own = |name| sources.iter().any(|source| source.split == Some(name));
        let own: Vec<SplitName> = [SplitName::Valid, SplitName::Test]
            .into_iter()
            .filter(|name| own(*name))
            .collect();
        let mut raw = Self {
            rows: Vec::new(),
            bad: Tally::default(),
            own,
        };
        for source in &sources {
            raw.add(source, args, inputs, ui)?;
        }
        if raw.rows.is_empty() {
            return Err(Error::new("there is no row to prepare").hint(format!(
                "each row is a JSON object with the keys {KNOWN_KEYS}"
            )));
        }
        Ok(raw)
    }

    fn add(
        &mut self,
        source: &Source,
        args: &Args,
        inputs: &mut Vec<Input>,
        ui: &Ui,
    ) -> Result<()> {
        let is_held_out = matches!(source.split, Some(SplitName::Valid | SplitName::Test));
        let limit = args.limit.filter(|_| !is_held_out).unwrap_or(usize::MAX);
        for row in open(&source.path, inputs)? {
            if self.rows.len() >= limit {
                break;
            }
            if self.rows.len().is_multiple_of(STRIDE) {
                ui.check_interrupt()?;
            }
            match row {
                Ok(row) => self.rows.push((row, source.split)),
                // What is invalid is one line: a file that is invalid as a whole can't be opened.
                Err(error @ lora_data::Error::Invalid { .. }) if args.skips_bad_lines() => {
                    self.bad.add("a line that can't be read", error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Opens one source, and adds it to the inputs. What can be read only once (standard input, a pipe, `<(…)`) is read whole.
fn open(path: &Path, inputs: &mut Vec<Input>) -> Result<RawRows> {
    let is_stdin = path.as_os_str() == "-";
    let is_file = || std::fs::metadata(path).is_ok_and(|about| about.is_file() || about.is_dir());
    if !is_stdin && (is_file() || !path.exists()) {
        let source = RawRows::open(path)?;
        inputs.push(Input::read("raw", path)?);
        return Ok(source);
    }
    let name = if is_stdin { Path::new("stdin") } else { path };
    let mut bytes = Vec::new();
    let read = match is_stdin {
        true => std::io::stdin().lock().read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| {
        let what = if is_stdin {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        Error::foreign(error).context(format!("failed to read {what}"))
    })?;
    inputs.push(Input::new("raw", path, lora_receipt::hash_bytes(&bytes)));
    Ok(RawRows::from_bytes(name, bytes)?)
}
