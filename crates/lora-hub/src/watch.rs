//! Who is told how far a download is.

/// Hears how a download goes, and may end it.
pub trait Watch {
    /// So many bytes are to be fetched, some of which were fetched before; [`Watch::more`] counts from there.
    fn begin(&mut self, what: &str, bytes: u64, already: u64);

    /// This file is next.
    fn file(&mut self, name: &str);

    /// So many more bytes are here.
    fn more(&mut self, bytes: u64);

    /// What was begun is done, or given up.
    fn end(&mut self);

    /// One line that people should read.
    fn say(&mut self, line: &str);

    /// False if no more is wanted.
    fn goes_on(&mut self) -> bool;
}
