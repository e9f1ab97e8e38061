//! A parquet file whose pages are looked at before they are decoded: a page claims how many values it has, and memory is
//! taken for so many.
use crate::brotli::Brotli;
use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;
use std::sync::Arc;

/// Values that a row has at most in one column: a list of ids or of messages is never longer.
const VALUES_OF_A_ROW: u64 = 1 << 20;

/// A file of which the footer was read. (The parquet crate's own `FileReader` would bring its readers of single records with it.)
pub(crate) struct ParquetFile<R> {
    groups: Groups<R>,
    schema: Schema,
}

impl<R: ChunkReader + 'static> ParquetFile<R> {
    /// Reads the footer.
    pub(crate) fn open(file: R) -> Result<Self> {
        let metadata = Arc::new(ParquetMetaDataReader::new().parse_and_finish(&file)?);
        let about = metadata.file_metadata();
        let schema = parquet_to_arrow_schema(about.schema_descr(), about.key_value_metadata())?;
        let file = Arc::new(file);
        let groups = Groups { file, metadata };
        Ok(Self { groups, schema })
    }

    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        &self.groups.metadata
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
        ParquetRecordBatchReader::try_new_with_row_groups(&levels, &self.groups, rows, None)
    }
}

/// The row groups of a file, whose pages are checked.
struct Groups<R> {
    file: Arc<R>,
    metadata: Arc<ParquetMetaData>,
}

impl<R: ChunkReader + 'static> RowGroups for Groups<R> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.file_metadata().num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        for group in self.metadata.row_groups() {
            claimed(group.column(column), group.num_rows())?;
        }
        Ok(Box::new(Chunks {
            file: Arc::clone(&self.file),
            metadata: Arc::clone(&self.metadata),
            column,
            next: 0,
        }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.metadata.row_groups().iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
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

/// The parts of a column, one of each row group.
struct Chunks<R> {
    file: Arc<R>,
    metadata: Arc<ParquetMetaData>,
    column: usize,
    next: usize,
}

impl<R: ChunkReader + 'static> Chunks<R> {
    fn pages(&self, group: &RowGroupMetaData) -> Result<Box<dyn PageReader>> {
        let chunk = group.column(self.column);
        let left = claimed(chunk, group.num_rows())?;
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let (brotli, chunk) = Brotli::taken(chunk)?;
        let pages = SerializedPageReader::new(Arc::clone(&self.file), &chunk, rows, None)?;
        let pages = Box::new(pages);
        Ok(Box::new(Pages {
            pages,
            left,
            brotli,
        }))
    }
}

impl<R: ChunkReader + 'static> PageIterator for Chunks<R> {}

impl<R: ChunkReader + 'static> Iterator for Chunks<R> {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.metadata.row_groups().get(self.next)?;
        self.next += 1;
        Some(self.pages(group))
    }
}

/// The pages of a part of a column.
struct Pages {
    pages: Box<dyn PageReader>,
    /// Values that may come still.
    left: u64,
    brotli: Option<Brotli>,
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
        let Some(mut page) = page? else {
            return Ok(None);
        };
        if let Some(brotli) = &mut self.brotli {
            brotli.unpack(&mut page)?;
        }
        self.check(&page)?;
        Ok(Some(page))
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
