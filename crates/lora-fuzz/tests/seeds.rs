//! Every target takes its seeds, whole, cut off and with a byte changed.
#![allow(clippy::unwrap_used)]
use lora_fuzz::TARGETS;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

#[test]
fn every_target_takes_its_seeds() {
    // What guards against panics in foreign readers would fill the output with their messages.
    std::panic::set_hook(Box::new(|_| {}));
    for (name, target) in TARGETS {
        let folder = fuzz().join("seeds").join(name);
        let mut seeds = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let whole = std::fs::read(&path).unwrap();
            let mut all = vec![whole.clone()];
            for part in 1..8 {
                let at = whole.len() * part / 8;
                all.push(whole[..at].to_vec());
                let mut changed = whole.clone();
                if let Some(byte) = changed.get_mut(at) {
                    *byte ^= 1 << (part % 8);
                }
                all.push(changed);
            }
            for bytes in all {
                let run = || target(&bytes);
                let panicked = std::panic::catch_unwind(run).is_err();
                assert!(!panicked, "{} makes {name} panic", path.display());
            }
            seeds += 1;
        }
        assert!(seeds > 0, "{} holds no seed", folder.display());
    }
}

#[test]
fn every_target_has_its_file() {
    for (name, _) in TARGETS {
        let file = fuzz().join("fuzz_targets").join(format!("{name}.rs"));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains(&format!("lora_fuzz::run(\"{name}\"")),
            "{}",
            file.display()
        );
    }
}
