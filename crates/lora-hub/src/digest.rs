//! The hash that a file has on the hub: sha256 of what is in LFS, git's sha1 of all else.
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// A hash on its way.
pub(crate) enum Running {
    Lfs(Sha256),
    Git(Sha1),
}

impl Running {
    /// For a file of so many bytes whose hash has as many digits as `etag`.
    pub(crate) fn like(etag: &str, bytes: u64) -> Self {
        if etag.len() == 64 {
            return Self::Lfs(Sha256::new());
        }
        let mut git = Sha1::new();
        git.update(format!("blob {bytes}\0").as_bytes());
        Self::Git(git)
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Lfs(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn hex(self) -> String {
        match self {
            Self::Lfs(hash) => hex(&hash.finalize()),
            Self::Git(hash) => hex(&hash.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::Running;

    /// `git hash-object` and `sha256sum` of the same file.
    #[test]
    fn a_hash_is_git_s_or_sha256() {
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let lfs = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for etag in [git, lfs] {
            let mut running = Running::like(etag, 6);
            running.take(b"hel");
            running.take(b"lo\n");
            assert_eq!(running.hex(), etag);
        }
    }
}
