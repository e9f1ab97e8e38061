//! A parquet file whose pages are looked at before they are decoded: a page claims how many values it has, and memory is
//! taken for so many.
use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, FileReader};
use parquet::file::serialized_reader::SerializedFileReader;
use std::sync::Arc;

/// Values that a row has at most in one column: a list of ids or of messages is never longer.
const VALUES_OF_A_ROW: u64 = 1 << 20;

/// A file of which the footer was read.
pub(crate) struct ParquetFile {
    file: Arc<dyn FileReader>,
    schema: Schema,
}

impl ParquetFile {
    /// Reads the footer.
    pub(crate) fn open(file: impl ChunkReader + 'static) -> Result<Self> {
        let file: Arc<dyn FileReader> = Arc::new(SerializedFileReader::new(file)?);
        let about = file.metadata().file_metadata();
        let schema = parquet_to_arrow_schema(about.schema_descr(), about.key_value_metadata())?;
        Ok(Self { file, schema })
    }

    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        self.file.metadata()
    }

    /// The columns as Arrow has them.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The rows, so many at a time, of these columns (all, without names).
    pub(crate) fn batches(
        self,
        columns: Option<&[&str]>,
        rows: usize,
    ) -> Result<ParquetRecordBatchReader> {
        let descriptor = self.metadata().file_metadata().schema_descr();
        let mask = match columns {
            Some(names) => ProjectionMask::columns(descriptor, names.iter().copied()),
            None => ProjectionMask::all(),
        };
        let fields = Some(self.schema.fields());
        let levels = parquet_to_arrow_field_levels(descriptor, mask, fields)?;
        let checked = Checked { file: self.file };
        ParquetRecordBatchReader::try_new_with_row_groups(&levels, &checked, rows, None)
    }
}

/// The row groups of a file, whose pages are checked.
struct Checked {
    file: Arc<dyn FileReader>,
}

impl RowGroups for Checked {
    fn num_rows(&self) -> usize {
        RowGroups::num_rows(&self.file)
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let chunks = self.row_groups().map(|group| {
            let rows = group.num_rows();
            claimed(group.column(column), rows)
        });
        Ok(Box::new(Chunks {
            claimed: chunks.collect::<Result<Vec<_>>>()?.into_iter(),
            pages: RowGroups::column_chunks(&self.file, column)?,
        }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(RowGroups::metadata(self).row_groups().iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        RowGroups::metadata(&self.file)
    }
}

/// The values that a column's part in a row group says it has.
fn claimed(chunk: &ColumnChunkMetaData, rows: i64) -> Result<u64> {
    let values = u64::try_from(chunk.num_values()).unwrap_or(u64::MAX);
    let most = u64::try_from(rows)
        .unwrap_or(0)
        .saturating_mul(VALUES_OF_A_ROW);
    match values <= most {
        true => Ok(values),
        false => Err(ParquetError::General(format!(
            "column '{}' claims {} values in {rows} rows",
            chunk.column_path().string(),
            chunk.num_values()
        ))),
    }
}

/// The parts of a column, each with the values that it claims.
struct Chunks {
    pages: Box<dyn PageIterator>,
    claimed: std::vec::IntoIter<u64>,
}

impl PageIterator for Chunks {}

impl Iterator for Chunks {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let pages = self.pages.next()?;
        let left = self.claimed.next().unwrap_or(0);
        Some(pages.map(|pages| Box::new(Pages { pages, left }) as Box<dyn PageReader>))
    }
}

/// The pages of a part of a column.
struct Pages {
    pages: Box<dyn PageReader>,
    /// Values that may come still.
    left: u64,
}

impl Pages {
    fn check(&mut self, page: &Page) -> Result<()> {
        let values = u64::from(page.num_values());
        let bytes = page.buffer().len();
        let fail = |what: String| Err(ParquetError::General(what));
        match page {
            // Every value of a dictionary takes a byte at least.
            Page::DictionaryPage { .. } if values > bytes as u64 => fail(format!(
                "a dictionary of {bytes} bytes claims {values} values"
            )),
            Page::DictionaryPage { .. } => Ok(()),
            _ if values > self.left => fail(format!(
                "a page claims {values} values where its column has {} left",
                self.left
            )),
            _ => {
                self.left -= values;
                Ok(())
            }
        }
    }

    fn checked(&mut self, page: Result<Option<Page>>) -> Result<Option<Page>> {
        if let Ok(Some(page)) = &page {
            self.check(page)?;
        }
        page
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page();
        self.checked(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.pages.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        let page = self.pages.take_deferred_dictionary();
        self.checked(page)
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
