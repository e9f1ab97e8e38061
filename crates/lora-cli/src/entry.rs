//! The body of every tool's `main`: parse, listen for signals, run, render the end, pick the exit code.
use crate::check::check_arguments;
use crate::ending::{FAILED, INTERRUPT, NO, paint};
use crate::{
    Error, Result, Status, ToolArgs, Ui, cache, describe, failure, hub, input, last_words, overlap,
    panics, peers, signals,
};
use lora_records::Event;
use std::ffi::OsString;
use std::io::{BufReader, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// The body of every tool's `main`: parses, listens for signals, runs, renders errors, picks the exit code.
pub fn main<A: ToolArgs>(run: fn(A, &Ui) -> Result<Status>) -> ExitCode {
    one_candle_thread();
    panics::note();
    last_words::speak_at_aborts();
    if let Some(code) = about_itself::<A>() {
        return code;
    }
    let parsed = peers::command::<A>()
        .try_get_matches()
        .and_then(|mut matches| {
            let overlap = overlap::check::<A>(&matches);
            input::allow_changed(&matches);
            A::from_arg_matches_mut(&mut matches).map(|args| (args, overlap))
        });
    let (args, overlap) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print(); // help on stdout, usage errors on stderr
            failure::say_usage(&error, A::command().get_name());
            return u8::try_from(error.exit_code()).unwrap_or(FAILED).into();
        }
    };
    let ui = Ui::for_terminal(args.common());
    if ui.json() {
        last_words::tell_events();
    }
    let told = ui.clone();
    signals::listen(move |line| told.say(line));
    hub::tell(ui.clone());
    if let Some(cache) = cache::folder() {
        lora_receipt::keep_hashes_in(&cache);
    }
    let work = || {
        overlap?;
        args.check()?;
        run(args, &ui)
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => finish(&ui, result, A::command().get_name()),
        Err(_) => {
            let bug = panics::last();
            ui.stderr(&bug);
            failure::bug(&ui, &bug);
            FAILED.into()
        }
    }
}

/// Renders how it ended and gives the exit code.
fn finish(ui: &Ui, result: Result<Status>, tool: &str) -> ExitCode {
    let result = result.and_then(|status| ui.check_stdout().map(|()| status));
    match result {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::No(reason)) => {
            ui.stderr(&format!("{} {reason}\n", paint("no:")));
            ui.event(&failure::no(&reason));
            NO.into()
        }
        Err(error) => {
            let known = error.has_hint() || error.is_interrupted();
            let error = if known {
                error
            } else {
                error.hint(format!("{tool} --help explains the flags, with examples"))
            };
            ui.stderr(&error.render(paint));
            let code = if error.is_interrupted() {
                INTERRUPT
            } else {
                FAILED
            };
            ui.event(&Event::Error(error.failure(code)));
            code.into()
        }
    }
}

/// `--completions SHELL`, `--describe` and `--man` as first argument: what the tool tells about itself, whatever else it needs.
fn about_itself<A: ToolArgs>() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let text = match args.next()?.to_str()? {
        "--describe" => serde_json::to_string(&describe::<A>())
            .unwrap_or_default()
            .into_bytes()
            .into_iter()
            .chain(*b"\n")
            .collect(),
        "--check-args" => match check_arguments::<A>(BufReader::new(std::io::stdin())) {
            Ok(answers) => answers.into_bytes(),
            Err(error) => {
                let _ = anstream::stderr().write_all(error.render(paint).as_bytes());
                return Some(FAILED.into());
            }
        },
        "--man" => man_pages(A::command()),
        "--completions" => match completions(A::command(), args.next()) {
            Ok(script) => script,
            Err(error) => {
                let _ = anstream::stderr().write_all(error.render(paint).as_bytes());
                return Some(FAILED.into());
            }
        },
        _ => return None,
    };
    let _ = std::io::stdout().write_all(&text);
    Some(ExitCode::SUCCESS)
}

/// The tool's manual page, and one after it for each subcommand.
fn man_pages(mut command: clap::Command) -> Vec<u8> {
    command.build();
    let mut pages = Vec::new();
    let subcommands = command.get_subcommands().filter(|c| c.get_name() != "help");
    for shown in std::iter::once(&command).chain(subcommands) {
        // Writing into memory does not fail.
        let _ = clap_mangen::Man::new(shown.clone()).render(&mut pages);
    }
    pages
}

fn completions(mut command: clap::Command, shell: Option<OsString>) -> Result<Vec<u8>> {
    let name = shell.unwrap_or_default();
    let shell = <clap_complete::Shell as clap::ValueEnum>::from_str(&name.to_string_lossy(), true)
        .map_err(|_| {
            Error::new(format!(
                "--completions knows no shell `{}`",
                name.to_string_lossy()
            ))
            .hint("one of bash, elvish, fish, powershell, zsh")
        })?;
    let tool = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, tool, &mut script);
    Ok(script)
}

/// Our thread pool is the only one: without this, candle starts a second one of its own.
#[allow(unsafe_code)]
fn one_candle_thread() {
    const NAME: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(NAME).is_none() {
        // SAFETY: this is the first thing that `main` does, so no other thread can read the environment meanwhile.
        unsafe { std::env::set_var(NAME, "1") };
    }
}
