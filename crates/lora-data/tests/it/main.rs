//! Integration tests of lora-data.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
mod encode;
mod manifest;
mod order;
mod parquet_files;
mod records;
mod sources;
mod templates;

/// A small generator for hostile bytes.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.next() % most).map(|_| self.next() as u8).collect()
    }
}
