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
const STRIDE: usize = 64;

/// A row, and where it belongs.
pub(crate) struct SourceRow {
    pub(crate) row: RawRow,
    /// Its split, where files bring their own.
    pub(crate) split: Option<SplitName>,
    /// The place of its source's name.
    pub(crate) source: usize,
}

/// The sources, and what was read of them; no row is held.
pub(crate) struct Raw {
    sources: Vec<Source>,
    /// Rows that were read.
    pub(crate) read: usize,
    /// The sources, as the command line names them, and the rows read of each.
    pub(crate) names: Vec<String>,
    pub(crate) read_of: Vec<usize>,
    /// Lines that can't be read and are left out.
    pub(crate) bad: Tally,
    /// The splits that files bring.
    pub(crate) own: Vec<SplitName>,
}

impl Raw {
    /// The sources of a command line.
    pub(crate) fn of(args: &Args) -> Result<Self> {
        let sources = Source::all(args)?;
        let own = |name| sources.iter().any(|source| source.split == Some(name));
        let own: Vec<SplitName> = [SplitName::Valid, SplitName::Test]
            .into_iter()
            .filter(|name| own(*name))
            .collect();
        Ok(Self {
            sources,
            read: 0,
            names: Vec::new(),
            read_of: Vec::new(),
            bad: Tally::default(),
            own,
        })
    }

    /// Gives all raw rows, one after the other, up to the limit (of those to train on); every source is added to the
    /// inputs.
    pub(crate) fn each(
        &mut self,
        args: &Args,
        inputs: &mut Vec<Input>,
        ui: &Ui,
        mut take: impl FnMut(SourceRow) -> Result<()>,
    ) -> Result<()> {
        let progress = ui.progress("preparing", 0, "rows");
        for source in std::mem::take(&mut self.sources) {
            for row in self.rows_of(&source, args, inputs)? {
                if self.read.is_multiple_of(STRIDE) {
                    ui.check_interrupt()?;
                    progress.inc(STRIDE as u64);
                }
                if let Some(row) = self.checked(row, args)? {
                    take(row)?;
                }
            }
        }
        if self.read == 0 {
            return Err(Error::new("there is no row to prepare").hint(format!(
                "each row is a JSON object with the keys {KNOWN_KEYS}"
            )));
        }
        Ok(())
    }

    /// The rows of one source, and its place among the names.
    fn rows_of(
        &mut self,
        source: &Source,
        args: &Args,
        inputs: &mut Vec<Input>,
    ) -> Result<impl Iterator<Item = Numbered> + use<>> {
        let is_held_out = matches!(source.split, Some(SplitName::Valid | SplitName::Test));
        let limit = args.limit.filter(|_| !is_held_out).unwrap_or(usize::MAX);
        let known = self.names.iter().position(|name| *name == source.given);
        let place = known.unwrap_or(self.names.len());
        if known.is_none() {
            self.names.push(source.given.clone());
            self.read_of.push(0);
        }
        let split = source.split;
        let most = limit.saturating_sub(self.read);
        let mut good = 0;
        let rows = open(&source.path, inputs)?.take_while(move |row| {
            let is_wanted = good < most;
            good += usize::from(row.is_ok());
            is_wanted
        });
        Ok(rows.map(move |row| (row, split, place)))
    }

    /// A row that could be read; None for a bad line that is left out, and counted.
    fn checked(&mut self, row: Numbered, args: &Args) -> Result<Option<SourceRow>> {
        let (row, split, source) = row;
        match row {
            Ok(row) => {
                self.read += 1;
                self.read_of[source] += 1;
                Ok(Some(SourceRow { row, split, source }))
            }
            // What is invalid is one line: a file that is invalid as a whole can't be opened.
            Err(error @ lora_data::Error::Invalid { .. }) if args.skips_bad_lines() => {
                self.bad.add("a line that can't be read", error);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What was read of a row, its split and the place of its source.
type Numbered = (
    std::result::Result<RawRow, lora_data::Error>,
    Option<SplitName>,
    usize,
);

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
