//! Pages that brotli has compressed. The parquet crate would bring brotli's compressor with it, which is a megabyte of each tool
//! and which nothing here uses; so it hands the pages over as they are in the file.
use brotli_decompressor::Decompressor;
use parquet::basic::Compression;
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use std::borrow::Cow;
use std::io::Read;

/// Bytes that are decompressed at a time.
const BUFFER: usize = 1 << 16;

/// What decompresses the pages of a part of a column.
pub(crate) struct Brotli {
    /// Bytes that may come still: the column says how many there are.
    left: u64,
}

impl Brotli {
    /// What decompresses these pages if brotli has compressed them, and what else is told of them: that they are not compressed.
    pub(crate) fn taken(
        chunk: &ColumnChunkMetaData,
    ) -> Result<(Option<Self>, Cow<'_, ColumnChunkMetaData>)> {
        if !matches!(chunk.compression(), Compression::BROTLI(_)) {
            return Ok((None, Cow::Borrowed(chunk)));
        }
        let left = u64::try_from(chunk.uncompressed_size()).unwrap_or(0);
        let plain = chunk.clone().into_builder();
        let plain = plain.set_compression(Compression::UNCOMPRESSED).build()?;
        Ok((Some(Self { left }), Cow::Owned(plain)))
    }

    /// The page's bytes become what was compressed.
    ///
    /// # Errors
    /// If they are no brotli, or more than the column says it has.
    pub(crate) fn unpack(&mut self, page: &mut Page) -> Result<()> {
        let (bytes, plain) = match page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => (buf, 0),
            Page::DataPageV2 {
                is_compressed: false,
                ..
            } => return Ok(()),
            // Levels stand before what is compressed.
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => (
                buf,
                *def_levels_byte_len as usize + *rep_levels_byte_len as usize,
            ),
        };
        let general = |what: &str| ParquetError::General(what.to_owned());
        let Some((levels, packed)) = bytes.split_at_checked(plain) else {
            return Err(general("a page is shorter than its levels"));
        };
        let mut whole = levels.to_vec();
        if !packed.is_empty() {
            let read = Decompressor::new(packed, BUFFER)
                .take(self.left + 1)
                .read_to_end(&mut whole)?;
            self.left = (self.left.checked_sub(read as u64))
                .ok_or_else(|| general("pages hold more than their column says"))?;
        }
        *bytes = whole.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::basic::Encoding;

    /// A thousand letters a.
    const PACKED: [u8; 11] = [27, 231, 3, 0, 36, 194, 162, 177, 64, 66, 3];

    fn unpacked(left: u64, (levels, packed): (u32, &[u8])) -> Result<Page> {
        let mut page = Page::DataPageV2 {
            buf: packed.to_vec().into(),
            num_values: 1,
            encoding: Encoding::PLAIN,
            num_nulls: 0,
            num_rows: 1,
            def_levels_byte_len: levels,
            rep_levels_byte_len: 0,
            is_compressed: true,
            statistics: None,
        };
        Brotli { left }.unpack(&mut page)?;
        Ok(page)
    }

    #[test]
    fn a_page_holds_what_its_column_says_and_no_more() {
        let with_levels = [&[7, 9][..], &PACKED].concat();
        let page = unpacked(1000, (2, &with_levels)).unwrap();
        assert_eq!(page.buffer()[..3], [7, 9, b'a']);
        assert_eq!(page.buffer().len(), 1002);
        assert_eq!(unpacked(0, (2, &[7, 9])).unwrap().buffer().len(), 2);
        for broken in [
            unpacked(999, (2, &with_levels)),
            unpacked(1000, (0, &PACKED[..10])),
            unpacked(1000, (0, &[255; 11])),
            unpacked(1000, (12, &PACKED)),
        ] {
            assert!(broken.is_err());
        }
    }
}
