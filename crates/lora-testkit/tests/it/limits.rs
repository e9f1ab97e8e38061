//! Memory and threads that can't be had: one line and exit code 2, whatever the limit; never a signal, never a panic.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr)] // what a machine does not let a test try is said
use crate::session::tool;
use lora_testkit::{assert_code, piped, repository, stderr, tiny_chat};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Address space in MB: from what hardly starts a program to what is enough for all of it.
const SPACES: [u64; 9] = [24, 28, 32, 40, 64, 160, 400, 700, 8000];

/// Threads of one user: none beside the first, some, enough.
const THREADS: [u64; 4] = [1, 2, 4, 400];

/// A user that has no other processes (only root can become one; anybody else counts those that run already).
const NOBODY_ELSE: u32 = 54_321;

/// Each reads what those above have written.
const LINES: [&str; 9] = [
    "lora-prep rows.jsonl --base BASE --out data --force",
    "lora-train --base BASE --data data --out adapter --steps 2 --force",
    "lora-eval --base BASE --data data --adapter adapter --out report --generate 2 --force",
    "lora-merge --base BASE --adapter adapter --out merged --force",
    "lora-export --model merged --out merged.gguf --force",
    "lora-plan params --model BASE",
    "lora-plan doctor adapter",
    "lora-run p.yaml",
    "lora-chat --base BASE --adapter adapter --max-new-tokens 2",
];

const PIPELINE: &str = r#"
version: 1
steps:
  sorted: { run: 'sort "$IN_RAW" > "$OUT/rows.jsonl"', in: { raw: rows.jsonl } }
  data: { use: lora-prep, in: { raw: $sorted/rows.jsonl, base: BASE } }
"#;

/// A folder with what the lines read.
fn prepared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let rows = std::fs::read_to_string(repository("data/tasks.jsonl")).unwrap();
    let rows: String = rows.split_inclusive('\n').take(60).collect();
    std::fs::write(dir.path().join("rows.jsonl"), rows).unwrap();
    let pipeline = PIPELINE.replace("BASE", &tiny_chat().display().to_string());
    std::fs::write(dir.path().join("p.yaml"), pipeline).unwrap();
    dir
}

/// Runs a tool by a shell that limits itself before.
fn limited(dir: &Path, limit: &str, line: &str, as_user: Option<u32>) -> Output {
    let (name, words) = line.split_once(' ').unwrap();
    let words = words.replace("BASE", &tiny_chat().display().to_string());
    let _ = std::fs::remove_dir_all(dir.join("work"));
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit} && exec \"$0\" {words}")]);
    command
        .arg(tool(name))
        .env("HOME", dir)
        .env_remove("XDG_CACHE_HOME");
    if let Some(user) = as_user {
        std::os::unix::process::CommandExt::uid(&mut command, user);
    }
    piped(command.current_dir(dir), b"sort b a\n")
}

/// True if it did its work; false if it says in one line why not. The loader may fail before a line of ours.
fn ended_well(output: &Output, what: &str) -> bool {
    let said = stderr(output);
    let errors = said.lines().filter(|line| line.starts_with("error: "));
    match output.status.code() {
        Some(0) => return true,
        Some(2) => assert_eq!(errors.count(), 1, "{what}: {said}"),
        Some(127) => {
            let is_loader_s = said.contains("error while loading shared libraries")
                || said.contains("cannot allocate");
            assert!(is_loader_s, "{what}: {said}");
        }
        _ => panic!("{what}: {}: {said}", output.status),
    }
    for bug in ["internal error", "panicked"] {
        assert!(!said.contains(bug), "{what}: {said}");
    }
    false
}

#[test]
fn every_limit_of_memory_ends_in_success_or_in_one_line() {
    let dir = prepared();
    for line in LINES {
        let name = line.split(' ').next().unwrap();
        let program = std::fs::metadata(tool(name)).unwrap().len();
        // Where the program's own file has no room, the system ends it before a line of ours.
        let spaces = SPACES.into_iter().filter(|mb| mb * 1_000_000 > program);
        for megabytes in spaces {
            let limit = format!("ulimit -v {}", megabytes * 1000);
            let output = limited(dir.path(), &limit, line, None);
            ended_well(&output, &format!("{megabytes} MB: {line}"));
        }
        let output = limited(dir.path(), "ulimit -v 8000000", line, None);
        assert_code(&output, 0);
    }
}

/// A control group that limits memory.
struct Group {
    folder: PathBuf,
    limit: &'static str,
}

impl Group {
    /// None where this user may not make one.
    fn new() -> Option<Self> {
        let folders = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        folders.into_iter().find_map(|(above, limit)| {
            let folder = Path::new(above).join(format!("lora-limits-{}", std::process::id()));
            std::fs::create_dir(&folder).ok()?;
            let group = Self { folder, limit };
            group.folder.join(limit).is_file().then_some(group)
        })
    }

    fn set(&self, megabytes: u64) {
        let bytes = (megabytes * 1_000_000).to_string();
        std::fs::write(self.folder.join(self.limit), bytes).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// A predicted peak holds within a control group, and what does not fit is refused before the first step, whatever
/// `--memory` promises; the same within a limited address space.
#[test]
fn what_can_not_fit_is_refused_before_it_starts() {
    let dir = prepared();
    assert_code(&limited(dir.path(), "true", LINES[0], None), 0);
    let plain = "lora-train --base BASE --data data --out adapter --steps 2 --force";
    let promised = format!("{plain} --memory 2GB");
    let refused = |limit: &str, line: &str| {
        let output = limited(dir.path(), limit, line, None);
        let said = stderr(&output);
        assert_code(&output, 2);
        assert!(said.contains("error: the run needs"), "{limit}: {said}");
    };
    let large = format!("{promised} --batch 40");
    refused("ulimit -v 80000", &large);
    let Some(group) = Group::new() else {
        return eprintln!("skipped: no control group can be made here");
    };
    let inside = format!("echo $$ > {}/cgroup.procs", group.folder.display());
    group.set(16);
    refused(&inside, plain);
    refused(&inside, &promised);
    group.set(80);
    for line in [plain, &promised] {
        assert_code(&limited(dir.path(), &inside, line, None), 0);
    }
}

#[test]
fn every_limit_of_threads_ends_in_success_or_in_one_line() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let dir = prepared();
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), everybody).unwrap();
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let user = is_root.then_some(NOBODY_ELSE);
    // bash calls it u, dash p.
    let limit = |threads: u64| format!("{{ ulimit -u {threads} || ulimit -p {threads}; }} 2>&-");
    if !limited(dir.path(), "true", "lora-plan --version", user)
        .status
        .success()
    {
        return eprintln!("skipped: another user can't reach the tools");
    }
    for line in LINES {
        let mut is_done = false;
        // A user who runs much else may have less than enough: so it ends without a limit.
        let limits = THREADS.map(limit).into_iter().chain(["true".to_owned()]);
        for limit in limits {
            let output = limited(dir.path(), &limit, line, user);
            is_done = ended_well(&output, &format!("{limit}: {line}"));
        }
        assert!(is_done, "{line}");
    }
    // That there is no thread makes no template wrong, and a server says it before it says that it serves.
    for line in [
        LINES[0],
        LINES[1],
        "lora-chat --base BASE --serve 127.0.0.1:0",
    ] {
        let output = limited(dir.path(), &limit(1), line, user);
        let said = stderr(&output);
        assert_code(&output, 2);
        assert!(
            said.contains("error: a thread could not be started: "),
            "{line}: {said}"
        );
    }
}
