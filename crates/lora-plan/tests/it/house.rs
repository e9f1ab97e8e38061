//! Small runs on the embedded model, really made by the tools.
use clap::Parser;
use lora_cli::{Status, Ui};
use lora_data::{Example, Split};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder in which runs are made.
pub(crate) struct House {
    dir: TempDir,
}

/// The embedded model.
pub(crate) fn base() -> String {
    root("data/tiny-chat")
}

/// A file of the repository.
pub(crate) fn root(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name)
        .canonicalize()
        .unwrap()
        .display()
        .to_string()
}

macro_rules! tool {
    ($name:ident, $tool:ident) => {
        /// Runs the tool, which must succeed.
        pub(crate) fn $name(args: &[&str]) {
            let words = [stringify!($name)].iter().chain(args);
            let args = $tool::Args::try_parse_from(words).unwrap_or_else(|e| panic!("{e}"));
            match $tool::run(args, &Ui::silent()) {
                Ok(Status::Done) => {}
                Ok(Status::No(reason)) => panic!("no: {reason}"),
                Err(error) => panic!("{}", error.render(str::to_owned)),
            }
        }
    };
}
tool!(prep, lora_prep);
tool!(train, lora_train);
tool!(merge, lora_merge);
tool!(eval, lora_eval);
tool!(export, lora_export);

impl House {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The first `rows` of the embedded task as dataset `data`.
    pub(crate) fn tasks(&self, rows: usize) -> String {
        let (raw, limit) = (root("data/tasks.jsonl"), rows.to_string());
        prep(&[
            &raw,
            "--base",
            &base(),
            "--limit",
            &limit,
            "--seed",
            "7",
            "--out",
            &self.text("data"),
        ]);
        self.text("data")
    }

    /// The task's first rows as a dataset, edited.
    pub(crate) fn edited(
        &self,
        rows: usize,
        edit: impl Fn(&mut Vec<Example>, &mut Vec<Example>),
    ) -> String {
        self.edit(&self.tasks(rows), edit)
    }

    /// A dataset with every row edited.
    pub(crate) fn edited_in(&self, data: &str, edit: impl Fn(&mut Example)) -> String {
        self.edit(data, |train, valid| {
            train.iter_mut().chain(valid).for_each(&edit)
        })
    }

    fn edit(&self, data: &str, edit: impl Fn(&mut Vec<Example>, &mut Vec<Example>)) -> String {
        let read = |name| Split::read(Path::new(data), name).unwrap();
        let (mut train, mut valid) = (read("train"), read("valid"));
        edit(&mut train.examples, &mut valid.examples);
        let folder = self.path("edited");
        std::fs::create_dir(&folder).unwrap();
        train.write(&folder.join("train.parquet")).unwrap();
        valid.write(&folder.join("valid.parquet")).unwrap();
        folder.display().to_string()
    }

    /// An adapter `run` on a dataset.
    pub(crate) fn train(&self, data: &str, flags: &[&str]) -> PathBuf {
        self.train_as("run", data, flags)
    }

    /// An adapter of a name on a dataset.
    pub(crate) fn train_as(&self, name: &str, data: &str, flags: &[&str]) -> PathBuf {
        let (base, out) = (base(), self.text(name));
        train(
            &[
                &[
                    "--base",
                    &base,
                    "--data",
                    data,
                    "--out",
                    &out,
                    "--threads",
                    "1",
                    "--seed",
                    "7",
                ],
                flags,
            ]
            .concat(),
        );
        self.path(name)
    }
}
