//! Tools have one frame: `args` is the command line, `inputs` opens it, `output` claims what will be written and ends with
//! the receipt. What goes before and between belongs to `lora-cli`.
use crate::architecture::{LEVELS, TOOL, code, sources};

/// It starts tools and has an output for each line of a pipeline.
const RUNNER: &str = "lora-run";

/// Sources of the tools but for the runner: crate, path within `src/`, text.
fn tools() -> Vec<(&'static str, String, String)> {
    let tools = LEVELS.iter().filter(|(_, level)| *level == TOOL);
    let names: Vec<&str> = tools.map(|(name, _)| *name).collect();
    let mut found = Vec::new();
    for (path, text) in sources() {
        let of = names
            .iter()
            .find_map(|name| Some((*name, path.strip_prefix(&format!("{name}/src/"))?)));
        if let Some((name, inner)) = of
            && name != RUNNER
        {
            found.push((name, inner.to_owned(), text.clone()));
        }
    }
    found
}

#[test]
fn what_a_tool_writes_is_claimed_and_ended_in_its_output_room() {
    let mut rooms = 0;
    for (tool, path, text) in tools() {
        if path == "output.rs" || path.ends_with("/output.rs") {
            rooms += 1;
            let drafts = code(&text).filter(|(_, line)| line.contains("draft::<"));
            assert!(drafts.count() > 0, "{tool}: {path} ends with no receipt");
            continue;
        }
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code(shipped) {
            let claims = ["Staged::file(", "Staged::folder(", "Staged::resume_folder("];
            let found = claims.iter().find(|word| line.contains(**word));
            assert_eq!(found, None, "{tool}: {path}:{number}");
        }
    }
    assert!(
        rooms >= 6,
        "prep, train, eval, merge, export and plan write"
    );
}

#[test]
fn only_the_frame_names_tool_version_and_time() {
    for (tool, path, text) in tools() {
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code(shipped) {
            let own = ["tool_version:", "started: Instant", "tool: \"lora-"];
            let found = own.iter().find(|word| line.contains(**word));
            assert_eq!(
                found, None,
                "{tool}: {path}:{number} has a frame of its own"
            );
        }
    }
}

#[test]
fn the_command_line_stands_in_one_room_and_is_checked_by_the_frame() {
    for (name, _) in LEVELS.iter().filter(|(_, level)| *level == TOOL) {
        if *name == RUNNER {
            continue;
        }
        let own: Vec<_> = tools()
            .into_iter()
            .filter(|(tool, ..)| tool == name)
            .collect();
        assert!(own.iter().any(|(_, path, _)| path == "args.rs"), "{name}");
        for (_, path, text) in own {
            let calls = code(&text).find(|(_, line)| line.contains("args.check()"));
            assert_eq!(
                calls, None,
                "{name}: {path} checks what the frame has checked"
            );
        }
    }
}

/// What goes together has a name: clippy counts seven arguments at most, and nothing is excused.
#[test]
fn no_function_is_excused_for_its_many_arguments() {
    for (path, text) in sources() {
        let excused = code(&text).find(|(_, line)| line.contains("clippy::too_many_arguments"));
        assert_eq!(excused, None, "{path}");
    }
}
