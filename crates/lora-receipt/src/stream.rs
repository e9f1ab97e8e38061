//! What can be read only once (standard input, a pipe) is hashed while it is read.
use crate::digest::hex;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes read at a time of what nobody else wants.
const CHUNK: usize = 1 << 18;

/// A stream whose bytes are hashed as they pass. Its clones read on where the others are.
pub struct Hashing<R>(Arc<Mutex<Stream<R>>>);

struct Stream<R> {
    reader: R,
    hash: Sha256,
}

impl<R> std::fmt::Debug for Hashing<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashing")
    }
}

impl<R> Clone for Hashing<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = stream.reader.read(buffer)?;
        stream.hash.update(&buffer[..count]);
        Ok(count)
    }
}

impl<R: Read> Hashing<R> {
    /// Nothing is read yet.
    pub fn new(reader: R) -> Self {
        let hash = Sha256::new();
        Self(Arc::new(Mutex::new(Stream { reader, hash })))
    }

    /// sha256 of the whole stream, as 64 hex digits: what nobody has read is read now.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn finish(mut self) -> io::Result<String> {
        let mut chunk = vec![0; CHUNK];
        loop {
            match self.read(&mut chunk) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(hex(&stream.hash.clone().finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_the_hash_of_its_bytes_however_much_was_read() {
        let bytes: Vec<u8> = (0..700_000u32).map(|at| at.to_le_bytes()[0]).collect();
        for wanted in [0, 1, 300_000, 700_000] {
            let stream = Hashing::new(&bytes[..]);
            let mut read = Vec::new();
            stream.clone().take(wanted).read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes[..usize::try_from(wanted).unwrap()]);
            assert_eq!(stream.finish().unwrap(), crate::hash_bytes(&bytes));
        }
    }
}
