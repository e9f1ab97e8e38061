//! Mistakes that people make, what each tool says of them, and the hint.
use crate::assert_snapshot;
use crate::session::Session;

#[test]
fn of_preparing() {
    let mut session = Session::new();
    session.write("empty.jsonl", "");
    session.write(
        "broken.jsonl",
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\":\n",
    );
    session.write("keys.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}\n");
    session.write("table.csv", "prompt,completion\na,b,c\n");
    session.run("lora-prep nowhere.jsonl --base model --out data");
    session.run("lora-prep empty.jsonl --base model --out data");
    session.run("lora-prep broken.jsonl --base model --out data");
    session.run("lora-prep keys.jsonl --base model --out data");
    session.run("lora-prep table.csv --base model --out data");
    session.run("lora-prep rows.jsonl --base nowhere --out data");
    session.run("lora-prep rows.jsonl --base model --out data --valid 1.5");
    session.run("lora-prep rows.jsonl --base model --out data --max-length 4");
    session.run("lora-prep rows.jsonl --base model");
    assert_snapshot("mistakes-lora-prep", &session.transcript());
}

#[test]
fn of_training() {
    let mut session = Session::new();
    session.run("lora-prep rows.jsonl --base model --out data --quiet --valid 0.2");
    session.run("lora-train --base nowhere --data data --out adapter");
    session.run("lora-train --base model --data nowhere --out adapter");
    session.run("lora-train --base model --data data --out adapter --rank 0");
    session.run("lora-train --base model --data data --out adapter --targets q_porj");
    session.run("lora-train --base model --data data --out adapter --lr fast");
    session.run("lora-train --base model --data data --out adapter --dropout 1.5");
    session.run("lora-train --base model --data data --out model");
    session.run("lora-train --base model --data data --out adapter --layers 99");
    session.run("lora-train --base model --data data --out adapter --dora --method full");
    assert_snapshot("mistakes-lora-train", &session.transcript());
}

#[test]
fn of_everything_after() {
    let mut session = Session::new();
    session.write("adapter/adapter_config.json", "{\"peft_type\": \"IA3\"}");
    session.write("model.gguf", "GGUF");
    session.run("lora-prep rows.jsonl --base model --out data --quiet --valid 0.2");
    session.run("lora-eval --base model --data data --adapter nowhere --out report");
    session.run("lora-eval --base model --data data --adapter adapter --out report");
    session.run("lora-eval --base model --data data --split test --out report");
    session.run("lora-eval --base adapter --data data --out report");
    session.run("lora-merge --base model --adapter adapter --out merged");
    session.run("lora-merge --base model --out merged");
    session.run("lora-export --model model.gguf --format gguf --out out.gguf");
    session.run("lora-export --model model --format onnx --out out.gguf");
    session.run("lora-export --model model --format gguf --dtype q3_k --out out.gguf");
    session.run("lora-plan params --model model --targets nothing");
    session.run("lora-plan doctor nowhere");
    session.run("lora-plan compare model");
    assert_snapshot("mistakes-after-training", &session.transcript());
}

#[test]
fn of_pipelines() {
    let mut session = Session::new();
    let pipelines = [
        ("version", "version: 2\nsteps: {}\n"),
        ("key", "version: 1\nsteps:\n  a: { uses: lora-prep }\n"),
        ("tool", "version: 1\nsteps:\n  a: { use: lora-perp }\n"),
        (
            "flag",
            "version: 1\nsteps:\n  a: { use: lora-prep, in: { raw: rows.jsonl, base: model }, with: { lr: 1 } }\n",
        ),
        (
            "name",
            "version: 1\nsteps:\n  a: { run: 'true', in: { x: $nobody } }\n",
        ),
        (
            "later",
            "version: 1\nsteps:\n  a: { run: 'true', in: { x: $b } }\n  b: { run: 'true' }\n",
        ),
        ("yaml", "version: 1\nsteps: [\n"),
    ];
    for (name, text) in pipelines {
        session.write(&format!("{name}.yaml"), text);
        session.run(&format!("lora-run {name}.yaml"));
    }
    session.run("lora-run nowhere.yaml");
    session.run("lora-run name.yaml --set rank=1");
    assert_snapshot("mistakes-lora-run", &session.transcript());
}

/// A tool answers many command lines in parts, by all cores: each answer is that of its own line.
#[test]
fn of_some_of_many_steps() {
    let mut session = Session::new();
    let lr = |step: usize| {
        if [1_150, 1_177].contains(&step) {
            "much"
        } else {
            "1e-3"
        }
    };
    let step = |i: usize| {
        format!(
            "  t{i}: {{ use: lora-train, in: {{ base: model, data: rows.jsonl }}, with: {{ lr: {} }} }}\n",
            lr(i)
        )
    };
    let steps: String = (0..1_300).map(step).collect();
    session.write("many.yaml", &format!("version: 1\nsteps:\n{steps}"));
    session.run("lora-run many.yaml");
    let said = session.transcript();
    assert!(said.contains("many.yaml:1153:"), "{said}");
    assert!(said.contains("steps.t1150.with.lr: "), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

/// Ways that compute on the CPU alone say so before a card is looked for.
#[test]
fn of_a_way_that_no_gpu_computes() {
    let mut session = Session::new();
    session.run("lora-prep rows.jsonl --base model --out data --quiet --valid 0.2");
    let ways = ["--method full", "--route composite"];
    for way in ways {
        session.run(&format!(
            "lora-train --base model --data data --out other {way} --device cuda"
        ));
    }
    assert!(!session.path("other").exists());
    let said = session.transcript();
    for way in ways {
        let error = format!("error: {way} computes on the CPU\nhint: --device cpu, or --");
        assert!(said.contains(&error), "{said}");
    }
}

/// No machine has a GPU of this number; the way out of whatever is missing first is told, by every tool that would take one.
#[test]
fn of_a_gpu_that_is_not_there() {
    let mut session = Session::new();
    session.run("lora-prep rows.jsonl --base model --out data --quiet --valid 0.2");
    session.run("lora-train --base model --data data --out adapter --steps 1 --quiet --device cpu");
    let lines = [
        "lora-train --base model --data data --out other --device cuda:63",
        "lora-eval --base model --data data --adapter adapter --out report --device cuda:63",
        "lora-merge --base model --adapter adapter --out merged --device cuda:63",
        "lora-chat --base model --adapter adapter --device cuda:63",
    ];
    lines.iter().for_each(|line| session.run(line));
    let said = session.transcript();
    assert_eq!(said.matches("error: ").count(), lines.len(), "{said}");
    assert_eq!(said.matches("hint: ").count(), lines.len(), "{said}");
    assert!(!said.contains("explains the flags"), "{said}");
}
