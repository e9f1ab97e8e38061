//! Mistakes that people make: each is said, its true cause is named, and its hint helps when it is followed to the letter.
use crate::harness::{adapter_bytes, base, dataset, floats, golden, refused, run, train};
use std::fs;
use std::path::Path;

struct Place {
    dir: tempfile::TempDir,
    base: String,
    data: String,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dataset(dir.path());
        Self {
            base: base(),
            data,
            dir,
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The command for an output, with more flags.
    fn flags(&self, out: &str, more: &[&str]) -> Vec<String> {
        let out = self.path(out);
        let mut all = vec!["--data", &self.data, "--out", &out];
        if !more.contains(&"--base") {
            all.extend(["--base", &self.base]);
        }
        all.extend(more);
        all.into_iter().map(str::to_owned).collect()
    }

    fn refused(&self, out: &str, more: &[&str]) -> String {
        let flags = self.flags(out, more);
        refused(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Must succeed; gives stderr.
    fn said(&self, out: &str, more: &[&str]) -> String {
        let flags = self.flags(out, more);
        let output = run(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{more:?}: {stderr}");
        stderr
    }

    fn train(&self, out: &str, more: &[&str]) {
        let flags = self.flags(out, more);
        train(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn bytes(&self, out: &str) -> Vec<u8> {
        adapter_bytes(&self.dir.path().join(out))
    }
}

/// The largest value of any B.
fn largest_b(adapter: &Path) -> f32 {
    let tensors = floats(&adapter.join("adapter_model.safetensors"));
    let b = tensors.iter().filter(|(name, _)| name.contains("lora_B"));
    b.flat_map(|(_, values)| values)
        .fold(0.0, |largest, x| largest.max(x.abs()))
}

#[test]
fn a_run_of_one_step_learns_or_is_refused() {
    let place = Place::new();
    let stderr = place.said("one", &["--steps", "1"]);
    assert!(
        stderr.contains("the run has one step, and no warm-up"),
        "{stderr}"
    );
    assert!(largest_b(&place.dir.path().join("one")) > 0.0);
    let stderr = place.refused("none", &["--steps", "1", "--warmup", "1"]);
    assert!(
        stderr.contains("nothing would be learned") && stderr.contains("hint: --warmup 0"),
        "{stderr}"
    );
    place.train("zero", &["--steps", "1", "--warmup", "0"]);
    assert!(place.bytes("zero") == place.bytes("one"));
    let stderr = place.said("two", &["--steps", "2", "--warmup", "2"]);
    assert!(stderr.contains("never reaches its peak"), "{stderr}");
    assert!(largest_b(&place.dir.path().join("two")) > 0.0);
    let stderr = place.refused("tiny", &["--steps", "2", "--lr", "1e-60"]);
    assert!(stderr.contains("a number above 0"), "{stderr}");
}

#[test]
fn a_finished_run_is_never_resumed_away() {
    let place = Place::new();
    let four = ["--steps", "4", "--rank", "4"];
    place.train("a", &four);
    let before = place.bytes("a");
    for more in [&["--resume"][..], &["--resume", "--force"]] {
        for steps in ["4", "8"] {
            let flags = [&["--steps", steps, "--rank", "4"], more].concat();
            let stderr = place.refused("a", &flags);
            assert!(
                stderr.contains("a is finished: there is nothing to resume"),
                "{stderr}"
            );
            let hint = format!("--adapter {} --out ANOTHER", place.path("a"));
            assert!(stderr.contains(&hint), "{stderr}");
            assert!(place.bytes("a") == before);
        }
    }
    place.train("b", &["--steps", "4", "--adapter", &place.path("a")]);
    assert!(place.bytes("b") != before);
    // Without --resume, --force is asked for the replacement that it makes.
    place.train("a", &[&four[..], &["--force", "--seed", "3"]].concat());
    assert!(place.bytes("a") != before);
}

#[test]
fn an_interrupted_run_over_a_finished_one_says_what_continues_it() {
    let place = Place::new();
    place.train("a", &["--steps", "2", "--rank", "4"]);
    let partial = place.dir.path().join("a.partial/checkpoints");
    fs::create_dir_all(&partial).unwrap();
    fs::write(partial.join("state.safetensors"), "x").unwrap();
    let stderr = place.refused("a", &["--steps", "3", "--resume"]);
    assert!(
        stderr.contains("--resume --force continues that run"),
        "{stderr}"
    );
    // Nobody's folder is not continued, and a damaged state says so and what becomes of the run.
    let stderr = place.refused("a", &["--steps", "3", "--resume", "--force"]);
    assert!(stderr.contains("a.partial is in the way"), "{stderr}");
    assert!(partial.join("state.safetensors").exists());
    fs::write(place.dir.path().join("a.partial/.lora-unfinished"), "").unwrap();
    let stderr = place.said("a", &["--steps", "3", "--resume", "--force"]);
    assert!(
        stderr.contains("not a checkpoint")
            && stderr.contains("no whole one is left: starting from the beginning"),
        "{stderr}"
    );
}

#[test]
fn nothing_to_resume_is_said() {
    let place = Place::new();
    let flags = ["--steps", "2", "--rank", "4", "--resume"];
    let stderr = place.said("a", &flags);
    assert!(
        stderr.contains("--resume: there is no") && stderr.contains("starting from the beginning"),
        "{stderr}"
    );
    fs::create_dir(place.dir.path().join("b.partial")).unwrap();
    let stderr = place.said("b", &flags);
    assert!(stderr.contains("holds no checkpoint yet"), "{stderr}");
    assert!(place.bytes("a") == place.bytes("b"));
}

#[test]
fn a_rank_above_the_smaller_side_is_said() {
    let place = Place::new();
    let flags = ["--steps", "2", "--targets", "q_proj,k_proj", "--rank"];
    let stderr = place.said("a", &[&flags[..], &["40"]].concat());
    assert!(
        stderr.contains("warning")
            && stderr.contains("rank 40 is above the smaller side of model.layers.0"),
        "{stderr}"
    );
    let stderr = place.said("b", &[&flags[..], &["4"]].concat());
    assert!(!stderr.contains("smaller side"), "{stderr}");
}

#[test]
fn what_is_not_finite_in_the_base_is_not_blamed_on_the_learning_rate() {
    let place = Place::new();
    let broken = place.dir.path().join("broken");
    fs::create_dir(&broken).unwrap();
    let config = golden("llama_gqa_tied", "base/config.json");
    fs::copy(config, broken.join("config.json")).unwrap();
    let mut bytes = fs::read(golden("llama_gqa_tied", "base/model.safetensors")).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    let values = weights.tensor(name).unwrap().data();
    let start = values.as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[start + 8..start + 12].fill(0xff); // NaN in any float
    fs::write(broken.join("model.safetensors"), bytes).unwrap();
    let stderr = place.refused("a", &["--steps", "2", "--base", &place.path("broken")]);
    assert!(!stderr.contains("--lr"), "{stderr}");
    let cause = format!("the base's {name} holds values that are not finite");
    assert!(stderr.contains(&cause), "{stderr}");
    assert!(
        stderr.contains("at step 1") && stderr.contains("download or convert the base again"),
        "{stderr}"
    );
}

#[test]
fn a_run_that_diverged_goes_on_from_its_last_good_checkpoint() {
    let place = Place::new();
    let flags = ["--rank", "4", "--warmup", "3", "--schedule", "constant"];
    let stderr = place.refused(
        "a",
        &[&flags[..], &["--lr", "1e30", "--eval-every", "1"]].concat(),
    );
    assert!(stderr.contains("keeps the checkpoints so far"), "{stderr}");
    assert!(
        !stderr.contains("--resume"),
        "the same steps end in the same way: {stderr}"
    );
    let (_, hint) = stderr.split_once("or with --adapter ").unwrap();
    let (adapter, _) = hint.split_once(" --out ANOTHER").unwrap();
    place.train("b", &["--adapter", adapter, "--steps", "2", "--lr", "1e-4"]);
}

#[test]
fn sizes_beyond_all_machines_are_refused_at_once_or_planned_at_once() {
    let place = Place::new();
    for (flags, reason) in [
        (&["--rank", "10000000000"][..], "from 1 to 65536"),
        (&["--rank-pattern", "q_proj=10000000000"], "from 1 to 65536"),
        (&["--threads", "1000000000"], "from 1 to 1024"),
        (&["--accumulation", "100000000000"], "from 1 to 1048576"),
        (
            &["--rank", "65536", "--memory", "200MB", "--targets", "all"],
            "adapter and optimiser are the largest part",
        ),
    ] {
        let began = std::time::Instant::now();
        let stderr = place.refused("a", &[&["--steps", "2"], flags].concat());
        assert!(stderr.contains(reason), "{flags:?}: {stderr}");
        assert!(began.elapsed().as_secs() < 20, "{flags:?}");
    }
}
