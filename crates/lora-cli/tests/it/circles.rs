//! No two files of a crate import each other, directly or on a longer way round: counted from the sources.
//!
//! A file imports another by a `use` or by a path written in place (`crate::…`, `super::…`, a child module's name).
//! A name that a facade passes on (`pub use` in lib.rs or mod.rs) belongs to the file that defines it, and passing it on
//! is no import, unless the facade uses the name itself. `mod` lines and what is compiled for tests only don't count.
use crate::imports::{Crate, circles};
use std::path::Path;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = 0;
    let mut imports = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&crates).unwrap() {
        let folder = entry.unwrap();
        let name = folder.file_name().into_string().unwrap();
        if !folder.path().join("src").is_dir() {
            continue;
        }
        let found = Crate::read(&folder.path().join("src"));
        files += found.files();
        let edges = found.imports();
        imports += edges.values().map(|targets| targets.len()).sum::<usize>();
        for circle in circles(&edges) {
            wrong.push(format!("{name}: {}", circle.join(" ↔ ")));
        }
    }
    assert!(files >= 200, "walked only {files} files");
    assert!(imports >= files, "found only {imports} imports");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The reader of imports against a small crate written for it.
#[test]
fn imports_are_found_however_they_are_written() {
    let sources = [
        (
            "lib.rs",
            "mod alone; mod facade; mod item; mod near; pub use item::Item; pub const NAME: &str = \"\";",
        ),
        (
            "alone.rs",
            "// use crate::near::far;\n const TEXT: &str = \"crate::near::far\";",
        ),
        (
            "item.rs",
            "pub struct Item; #[cfg(test)] mod tests { use crate::near::far; use super::*; }",
        ),
        (
            "facade/mod.rs",
            "mod child; pub use child::Child; pub fn own() {}",
        ),
        (
            "facade/child.rs",
            "use super::own; use crate::{Item as Thing, NAME}; pub struct Child;",
        ),
        (
            "near.rs",
            "mod inner { fn f() { super::super::facade::own() } } pub fn far() -> crate::facade::Child { todo!() }",
        ),
    ];
    let edges = Crate::of(sources.map(|(path, text)| (path.to_owned(), text.to_owned()))).imports();
    let of = |file: &str| -> Vec<&str> { edges[file].iter().map(String::as_str).collect() };
    assert_eq!(of("lib.rs"), [""; 0], "passing on is no import");
    assert_eq!(of("alone.rs"), [""; 0], "comments and texts are no code");
    assert_eq!(of("item.rs"), [""; 0], "tests don't count");
    assert_eq!(of("facade/mod.rs"), [""; 0]);
    assert_eq!(
        of("facade/child.rs"),
        ["facade/mod.rs", "item.rs", "lib.rs"]
    );
    assert_eq!(of("near.rs"), ["facade/child.rs", "facade/mod.rs"]);
    assert!(circles(&edges).is_empty());
}

#[test]
fn a_circle_is_found_with_all_its_files() {
    let sources = [
        ("lib.rs", "mod a; mod b; mod c; mod d; pub use a::A;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "pub struct B; fn f() { crate::c::g() }"),
        ("c.rs", "use crate::A; pub fn g() {}"),
        ("d.rs", "use crate::A;"),
    ];
    let found = Crate::of(sources.map(|(path, text)| (path.to_owned(), text.to_owned())));
    assert_eq!(circles(&found.imports()), [["a.rs", "b.rs", "c.rs"]]);

    let facade = [
        ("lib.rs", "mod m;"),
        (
            "m/mod.rs",
            "mod part; pub use part::go; pub struct Own; pub fn run() { go() }",
        ),
        ("m/part.rs", "use super::Own; pub fn go() {}"),
    ];
    let found = Crate::of(facade.map(|(path, text)| (path.to_owned(), text.to_owned())));
    assert_eq!(circles(&found.imports()), [["m/mod.rs", "m/part.rs"]]);
}
