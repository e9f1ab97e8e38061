//! lora-chat: a base and its adapters to talk to, in a terminal, through a pipe or over HTTP.
//!
//! Reading order: `args` is the command line; `voices` opens what speaks and how its chats are written; `answer` generates,
//! `growing` is a text on its way, `steps` who has ended; `session` is what a typed line does, `terminal` the loop around it, `pipe` prompts in and
//! answers out (`line` is one), `serve` the chat-completions protocol.
mod answer;
mod args;
mod command;
mod growing;
mod line;
mod pipe;
mod route;
mod serve;
mod session;
mod steps;
mod terminal;
mod voices;

pub use args::Args;

use lora_cli::{Result, Status, Ui, artefact_input, resolve_names};
use lora_receipt::Artefact;
use std::io::{BufRead as _, BufReader, IsTerminal as _, stdin, stdout};
use std::sync::Arc;

/// Talks to the person at the terminal, or answers what comes through the pipe.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    args.base = artefact_input(&args.base, Artefact::Model)?;
    resolve_names(&mut args.adapter, Artefact::Adapter)?;
    let ui = &ui.without_events();
    let door = args.serve.map(|at| serve::open(at, &args)).transpose()?;
    let adding = lora_model::Adding {
        adapters: &args.adapter,
        dataset: None,
    };
    let lora_model::Opened { base, notes } = lora_model::open_for(&args.base, adding)?;
    notes.iter().for_each(|note| ui.say(note));
    let voices = Arc::new(voices::open(&args, &base, ui)?);
    let mut route = route::route(&args, &base, &voices, ui)?;
    let mut speaker = answer::Speaker {
        route: &mut *route,
        voices: &voices,
        stop: voices::stop_ids(&base, &voices),
        context: base.checkpoint().config().max_position_embeddings,
        args: &args,
        ui,
    };
    if let Some(door) = door {
        serve::serve(door, &mut speaker, voices.clone())?;
    } else if stdin().is_terminal() && stdout().is_terminal() && !args.common.json {
        terminal::talk(&mut speaker)?;
    } else {
        pipe::answer(&mut speaker, BufReader::new(stdin()).lines())?;
    }
    Ok(Status::Done)
}
