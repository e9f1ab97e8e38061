//! What people see.
use crate::harness::Folder;

#[test]
fn help_names_every_flag_and_ends_with_examples() {
    let help = Folder::new().run(&["--help"]);
    assert_eq!(help.code, 0);
    for word in [
        "--base",
        "--out",
        "--valid",
        "--test",
        "--seed",
        "--max-length",
        "--limit",
        "--keep-duplicates",
        "--text-block",
        "--system",
        "--template",
        "--no-chat-template",
        "--json",
        "--quiet",
        "show",
        "Examples:",
    ] {
        assert!(help.stdout.contains(word), "{word}");
    }
    assert_eq!(
        Folder::new().run(&["--version"]).stdout,
        format!("lora-prep {}\n", env!("CARGO_PKG_VERSION"))
    );
}
