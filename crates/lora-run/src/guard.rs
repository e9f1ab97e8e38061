//! A step's process in a session of its own, which ends with lora-run, however that ends: Ctrl-C of a terminal reaches lora-run
//! alone, which passes it on, and when lora-run is killed the system tells the step.
//!
//! `lora-run --guard KIND PARENT PROGRAM ARGUMENTS…` is what lora-run starts in place of the program.
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// First argument of a guard.
const ENTER: &str = "--guard";

/// What a guard does with its program.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Watch {
    /// Becomes it: a tool of ours hears of signals and has no children.
    Becomes,
    /// Stays, and passes signals on to all that it starts.
    Stays,
}

/// The same command, guarded.
pub(crate) fn guarded(command: &Command, watch: Watch) -> Command {
    let Some(own) = own_program() else {
        return plain(command, Command::new(command.get_program()));
    };
    let mut guard = Command::new(own);
    let kind = match watch {
        Watch::Becomes => "becomes",
        Watch::Stays => "stays",
    };
    guard.args([ENTER, kind, &std::process::id().to_string()]);
    guard.arg(command.get_program());
    plain(command, guard)
}

/// Arguments and environment of a command for another program.
fn plain(command: &Command, mut other: Command) -> Command {
    other.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}

/// This program, also if another has been installed in its place since it was started; none where there are no guards.
fn own_program() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if !cfg!(unix) {
        None
    } else if running.exists() {
        Some(running)
    } else {
        std::env::current_exe().ok()
    }
}

/// Does a guard's work, if that is what this process was started for.
pub fn enter() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ENTER {
        return None;
    }
    #[cfg(unix)]
    let ended = unix::enter(&mut arguments);
    #[cfg(not(unix))]
    let ended = None;
    Some(ended.unwrap_or(ExitCode::from(NOT_STARTED)))
}

/// A shell's exit code for a program that can't be started.
pub(crate) const NOT_STARTED: u8 = 127;

#[cfg(unix)]
mod unix {
    use super::NOT_STARTED;
    use nix::sys::signal::{Signal, killpg};
    use nix::unistd::{Pid, getppid, setsid};
    use std::ffi::OsString;
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Command, ExitCode};
    use std::time::Duration;

    /// What does not end this long after it was asked to is asked by TERM, and then ended.
    const PATIENCE: Duration = Duration::from_millis(600);

    /// lora-run was gone before its step began.
    const ORPHANED: u8 = 130;

    pub(super) fn enter(arguments: &mut dyn Iterator<Item = OsString>) -> Option<ExitCode> {
        let kind = arguments.next()?;
        let parent: i32 = arguments.next()?.to_str()?.parse().ok()?;
        let program = arguments.next()?;
        let own = setsid().ok()?;
        tell_me_of_my_parent_s_end();
        if getppid() != Pid::from_raw(parent) {
            return Some(ExitCode::from(ORPHANED));
        }
        let mut command = Command::new(program);
        command.args(arguments);
        if kind == "becomes" {
            let _ = command.exec(); // only if it can't be started
            return Some(ExitCode::from(NOT_STARTED));
        }
        Some(stay(command, own))
    }

    #[cfg(target_os = "linux")]
    fn tell_me_of_my_parent_s_end() {
        let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
    }

    #[cfg(not(target_os = "linux"))]
    fn tell_me_of_my_parent_s_end() {}

    /// Runs the program, and ends it with all that it has started when a signal comes.
    fn stay(mut command: Command, own: Pid) -> ExitCode {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]);
        let (begun, has_begun) = std::sync::mpsc::channel::<()>();
        if let Ok(mut signals) = signals {
            let listen = move || {
                let _ = has_begun.recv(); // a signal that comes earlier is for the program, too
                // The first comes from outside; what we pass on comes back to us, and waits for ever.
                if let Some(signal) = signals.forever().next() {
                    pass_on(own, Signal::try_from(signal).unwrap_or(Signal::SIGTERM));
                }
            };
            if std::thread::Builder::new().spawn(listen).is_err() {
                return ExitCode::from(NOT_STARTED); // a line that no signal ends must not begin
            }
        }
        let Ok(mut child) = command.spawn() else {
            return ExitCode::from(NOT_STARTED);
        };
        let _ = begun.send(());
        let Ok(status) = child.wait() else {
            return ExitCode::from(NOT_STARTED);
        };
        let killed = status.signal().map(|signal| 128 + signal);
        let code = status.code().or(killed).unwrap_or(1);
        ExitCode::from(u8::try_from(code).unwrap_or(1))
    }

    /// Asks all processes of the session to end, then ends them, this one among them.
    fn pass_on(own: Pid, first: Signal) {
        for signal in [first, Signal::SIGTERM, Signal::SIGKILL] {
            let _ = killpg(own, signal);
            std::thread::sleep(PATIENCE);
        }
    }
}
