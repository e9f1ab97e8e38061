//! Errors are rendered exactly so.
use lora_cli::Foreign as _;
use lora_cli::{Context, Error};
use std::io;

/// A library's error with a cause and a hint, as thiserror makes them.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("failed to read model/config.json")]
#[diagnostic(help("is this a model folder?"))]
struct Library(#[source] io::Error);

fn plain(error: &Error) -> String {
    error.render(str::to_owned)
}

#[test]
fn a_message_alone() {
    assert_eq!(plain(&Error::new("no rows")), "error: no rows\n");
}

#[test]
fn a_chain_with_a_hint() {
    let error =
        Error::from(Library(io::Error::from_raw_os_error(2))).context("failed to open the base");
    assert_eq!(
        plain(&error),
        "error: failed to open the base\n\
         cause: failed to read model/config.json\n\
         cause: No such file or directory\n\
         hint: is this a model folder?\n"
    );
    assert_eq!(
        error.to_string(),
        "failed to open the base: failed to read model/config.json: No such file or directory"
    );
}

#[test]
fn the_outer_hint_wins() {
    let error = Error::from(Library(io::Error::other("x"))).hint("look here");
    assert!(plain(&error).ends_with("hint: look here\n"));
}

#[test]
fn a_cause_that_the_message_already_tells_is_not_repeated() {
    #[derive(Debug, thiserror::Error)]
    #[error("line 3: {0}")]
    struct Outer(#[source] io::Error);
    assert_eq!(
        plain(&Error::foreign(Outer(io::Error::other("bad token")))),
        "error: line 3: bad token\n"
    );
}

#[test]
fn a_full_disk_has_a_way_out() {
    let result: Result<(), io::Error> = Err(io::Error::from(io::ErrorKind::StorageFull));
    let error = result
        .foreign()
        .context(|| "failed to write d.partial/train.parquet".to_owned())
        .unwrap_err();
    assert_eq!(
        plain(&error),
        "error: failed to write d.partial/train.parquet\n\
         cause: no storage space\n\
         hint: the disk is full: free some space, or write elsewhere\n"
    );
}

#[test]
fn lines_below_the_first_are_indented() {
    assert_eq!(plain(&Error::new("one\ntwo")), "error: one\n       two\n");
}

#[test]
fn labels_can_be_painted() {
    assert_eq!(
        Error::new("x")
            .hint("y")
            .render(|label| format!("<{label}>")),
        "<error:> x\n<hint:> y\n"
    );
}

#[test]
fn interruption_is_told_apart() {
    assert!(
        Error::interrupted()
            .context("failed to train")
            .is_interrupted()
    );
    assert!(!Error::new("interrupted").is_interrupted());
}
