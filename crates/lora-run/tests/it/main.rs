//! lora-run as a process: what it runs, what it skips, and what it says.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may fail loudly, in its helpers too
mod dry_run;
mod embedded;
mod healing;
mod mistakes;
mod secrets;
mod skipping;
mod stopping;
mod sweeps;
mod talking;
mod verifying;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with pipelines, raw files and a fake tool on the PATH.
struct House {
    dir: TempDir,
}

/// What one run of lora-run said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A tool that copies its `--base` file into its output, with the flags that it was given beside it.
const FAKE_TOOL: &str = r#"#!/bin/sh
if [ "$1" = --describe ]; then
  flag() { printf '{"name":"%s","positional":%s,"required":%s,"takes_value":%s,"repeated":%s,"delimiter":%s,"values":%s,%s"help":""}' "$1" "$2" "$3" "$4" "$5" "$6" "$7" "$8"; }
  printf '{"tool":"lora-fake","version":"%s","flags":[' "${FAKE_VERSION:-0.1.0}"
  flag raw true false true true null '[]'; printf ,
  flag base false true true false null '[]'; printf ,
  flag lr false false true false null '[]'; printf ,
  flag targets false false true true '","' '[]'; printf ,
  flag split false false true false null '["train","valid"]'; printf ,
  flag speed false false true false null '[]' '"changes_result":false,'; printf ,
  flag template false false true false null '[]' '"type":"path","role":"input",'; printf ,
  flag must-pass false false false false null '[]'; printf ,
  flag out false true true false null '[]'; printf ,
  flag force false false false false null '[]'; printf ,
  flag resume false false false false null '[]'
  printf '],"subcommands":[]}\n'
  exit 0
fi
all="$*"
while [ $# -gt 0 ]; do
  case "$1" in
    --base) base=$2; shift ;;
    --lr) lr=$2; shift ;;
    --out) out=$2; shift ;;
    --must-pass) gate=1 ;;
    --resume) echo "picked up $(cat "$out.partial/half")" >&2; rm -r "$out.partial" ;;
  esac
  shift
done
if [ "$lr" = 666 ]; then
  printf 'error: not what the event says\ncause: lr is 666\n' >&2
  echo '{"event":"error","message":"loss is not finite","causes":["lr is 666"],"hint":"lower --lr","exit_code":2}'
  exit 2
fi
if [ "$lr" = 13 ] && [ ! -e gone ]; then touch gone; mkdir -p "$out.partial"; echo half > "$out.partial/half"; exit 130; fi
[ -d "$base" ] && base="$base/made"
rm -rf "$out"; mkdir -p "$out"
{ cat "$base"; echo "lr=$lr"; } > "$out/made"
sum=$(sha256sum < "$out/made" | cut -d' ' -f1); bytes=$(wc -c < "$out/made")
printf '{"version":2,"tool":"lora-fake","tool_version":"0.1.0","artefact":"model","out":"%s","config":{"lr":"%s","speed":9},"seed":null,"inputs":[],"outputs":[{"path":"made","sha256":"%s","bytes":%d}],"results":{"valid_nll":1.25,"sentiment":3},"measured":{"tokens_per_s":'$$'},"wall_seconds":0.1,"peak_rss_bytes":2000000,"host":{}}\n' "$out" "$lr" "$sum" "$bytes" > "$out/receipt.json"
if [ "$lr" = 99 ] && [ ! -e gone ]; then touch gone; kill -9 $PPID; fi
cat "$out/receipt.json"
if [ -n "$gate" ]; then echo '{"event":"no","message":"worse than the base","exit_code":1}'; exit 1; fi
"#;

impl House {
    /// With `p.yaml` and the raw file `raw.txt`.
    fn new(pipeline: &str) -> Self {
        let house = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(house.path("bin")).unwrap();
        house.write("bin/lora-fake", FAKE_TOOL);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(
                house.path("bin/lora-fake"),
                std::fs::Permissions::from_mode(0o755),
            )
            .unwrap();
        }
        house.write("p.yaml", pipeline);
        house.write("raw.txt", "raw\n");
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lora-run"));
        let path = std::env::join_paths(
            std::iter::once(self.path("bin"))
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("PATH", path.unwrap())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::from(self.command(args).output().unwrap())
    }

    /// Runs `p.yaml`, which must go well, and tells each step with its reason, e.g. `train: running (first run)`.
    fn steps(&self, args: &[&str]) -> Vec<String> {
        let said = self.run(&[&["p.yaml"], args].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        let told = |line: &&str| line.ends_with(": skipped") || line.contains(": running (");
        said.stderr
            .lines()
            .filter(told)
            .map(str::to_owned)
            .collect()
    }

    /// What stderr says of a pipeline that is refused.
    fn refused(&self, args: &[&str]) -> String {
        let said = self.run(&[&["p.yaml"], args].concat());
        assert_eq!(said.code, Some(2), "{said:?}");
        let told: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(told["event"], "error", "one line, and nothing else");
        assert!(
            said.stderr
                .starts_with(&format!("error: {}\n", told["message"].as_str().unwrap())),
            "{said:?}"
        );
        assert_eq!(
            said.stderr
                .lines()
                .filter(|line| line.starts_with("hint: "))
                .count(),
            1,
            "{}",
            said.stderr
        );
        said.stderr
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}
