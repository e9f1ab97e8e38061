//! Hashes depend on content and relative paths, and on nothing else.
use lora_receipt::{hash_bytes, hash_path, peak_rss_bytes};
use lora_testkit::Told as _;
use std::fs;
use tempfile::tempdir;

#[test]
fn a_file_hashes_as_sha256sum_does() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("abc");
    fs::write(&file, "abc").unwrap();
    let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hash_path(&file).unwrap(), known);
    assert_eq!(hash_bytes(b"abc"), known);
}

#[test]
fn a_tree_hashes_as_sha256sum_of_the_sorted_list() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("b")).unwrap();
    fs::write(dir.path().join("b/x"), "1").unwrap();
    fs::write(dir.path().join("a"), "2").unwrap();
    let list = format!("{}  a\0{}  b/x\0", hash_bytes(b"2"), hash_bytes(b"1"));
    assert_eq!(hash_path(dir.path()).unwrap(), hash_bytes(list.as_bytes()));
}

#[test]
fn receipts_empty_folders_and_the_tree_s_place_do_not_count() {
    let (one, two) = (tempdir().unwrap(), tempdir().unwrap());
    for dir in [&one, &two] {
        fs::write(dir.path().join("a"), "2").unwrap();
        fs::write(dir.path().join("m.gguf"), "3").unwrap();
    }
    fs::write(two.path().join("receipt.json"), receipt_of(&["a"])).unwrap();
    let beside = two.path().join("m.gguf.receipt.json");
    fs::write(beside, receipt_of(&["m.gguf"])).unwrap();
    fs::create_dir(two.path().join("empty")).unwrap();
    assert_eq!(
        hash_path(one.path()).unwrap(),
        hash_path(two.path()).unwrap()
    );
}

/// A receipt that lists these outputs.
fn receipt_of(outputs: &[&str]) -> String {
    let output = |path: &&str| serde_json::json!({"path": path, "sha256": "", "bytes": 1});
    let outputs: Vec<_> = outputs.iter().map(output).collect();
    serde_json::json!({"version": 1, "tool": "lora-test", "config": {}, "outputs": outputs})
        .to_string()
}

#[test]
fn a_file_that_is_only_called_like_a_receipt_is_content() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("a"), "2").unwrap();
    fs::create_dir(dir.path().join("tills")).unwrap();
    let mut seen = vec![hash_path(dir.path()).unwrap()];
    let shop = r#"{"version": 1, "tool": "till 4", "total": 12.5}"#;
    let of_something_else = receipt_of(&["b"]);
    let texts = ["", "{}", "[1, 2]", shop, &of_something_else[..]];
    for name in ["receipt.json", "tills/receipt.json", "x.receipt.json"] {
        for text in texts {
            fs::write(dir.path().join(name), text).unwrap();
            let hash = hash_path(dir.path()).unwrap();
            assert!(!seen.contains(&hash), "{name} with {text:?} does not count");
            seen.push(hash);
        }
    }
}

#[test]
fn what_is_added_to_a_finished_output_counts_if_a_tool_would_read_it() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("a"), "2").unwrap();
    for (artefact, counting, aside) in [
        (
            "adapter",
            &["chat_template.jinja", "b.json"][..],
            &["note.txt", ".DS_Store"][..],
        ),
        ("files", &["note.txt", "b.json"], &[".DS_Store", "a~"]),
    ] {
        let mut receipt: serde_json::Value = serde_json::from_str(&receipt_of(&["a"])).unwrap();
        receipt["artefact"] = artefact.into();
        fs::write(at("receipt.json"), receipt.to_string()).unwrap();
        let before = hash_path(dir.path()).unwrap();
        for name in counting.iter().chain(aside) {
            fs::write(at(name), "added").unwrap();
            let is_same = hash_path(dir.path()).unwrap() == before;
            assert_eq!(is_same, aside.contains(name), "{artefact} {name}");
            fs::remove_file(at(name)).unwrap();
        }
    }
}

#[test]
fn names_and_contents_count() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("a"), "2").unwrap();
    let before = hash_path(dir.path()).unwrap();
    fs::rename(dir.path().join("a"), dir.path().join("c")).unwrap();
    let renamed = hash_path(dir.path()).unwrap();
    fs::write(dir.path().join("c"), "3").unwrap();
    let changed = hash_path(dir.path()).unwrap();
    assert!(before != renamed && renamed != changed && before != changed);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_circles_refused() {
    let dir = tempdir().unwrap();
    let (real, linked) = (dir.path().join("real"), dir.path().join("linked"));
    fs::create_dir(&real).unwrap();
    fs::create_dir(&linked).unwrap();
    fs::write(real.join("w"), "weights").unwrap();
    std::os::unix::fs::symlink(real.join("w"), linked.join("w")).unwrap();
    assert_eq!(hash_path(&real).unwrap(), hash_path(&linked).unwrap());

    std::os::unix::fs::symlink(&linked, linked.join("again")).unwrap();
    let error = hash_path(&linked).unwrap_err().told();
    assert!(
        error.ends_with(
            "linked/again links back to a folder above it\nhint: name a folder without it"
        ),
        "{error}"
    );
}

#[test]
fn a_missing_path_is_an_error_that_names_it() {
    let error = hash_path("no/such/path".as_ref()).unwrap_err();
    assert_eq!(error.to_string(), "failed to read no/such/path");
}

#[cfg(target_os = "linux")]
#[test]
fn peak_memory_is_known_on_linux() {
    assert!(peak_rss_bytes() > 100_000);
}
