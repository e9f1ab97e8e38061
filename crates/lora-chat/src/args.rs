//! The command line: every flag is one field.
use lora_cli::values::{at_least_one, threads};
use lora_cli::{ChangedInput, Common, DeviceChoice, OtherBase, Result, SamplingArgs, ToolArgs};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Talk to a model and its adapters: in a terminal, through a pipe, or as a server.
///
/// At a terminal you type and the model answers, written with its own chat template (an adapter's, where it was trained
/// with another); Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands. Through a pipe each line of stdin is a
/// prompt: a JSON object (`{"prompt": …}` or `{"messages": […]}`, `id` and `system` if you like) is answered by a JSON
/// line, plain text by text. With --serve it answers OpenAI's chat-completions protocol; `model` chooses the base or an
/// adapter. For trying and comparing, not for production.
#[derive(Debug, Clone, clap::Parser, serde::Serialize)]
#[command(name = "lora-chat", version, after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct Args {
    /// Base model: a Hugging Face folder, a GGUF file, or `hub:OWNER/NAME[@REVISION][/FILE]`.
    #[arg(long, value_name = "MODEL")]
    pub base: PathBuf,
    /// Adapter folder (PEFT's layout) or hub:OWNER/NAME, may be repeated; the first one answers until you say otherwise.
    #[arg(long, value_name = "DIR")]
    pub adapter: Vec<PathBuf>,
    /// Bases that are not the adapter's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub other_base: OtherBase,
    /// Inputs that have changed since a tool wrote them.
    #[command(flatten)]
    #[serde(flatten)]
    pub changed_input: ChangedInput,
    /// System message, in place of the model's own; an empty text is none.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Date that chat templates write which ask for today's (strftime_now), e.g. 2026-11-27: the one that lora-prep --date gave
    /// the rows; without it they write their own.
    #[arg(long, value_name = "DATE", value_parser = lora_data::date)]
    pub date: Option<String>,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value = "512")]
    pub max_new_tokens: usize,
    /// Serve OpenAI's chat-completions protocol here: a port, or ADDRESS:PORT; an address other than this machine's own
    /// needs a key. Requests that wait for the same model with the same way of choosing tokens are answered together, and
    /// what comes meanwhile waits for them to end. A request's own values go before the flags'.
    #[arg(long, value_name = "ADDRESS", value_parser = address, help_heading = "Server")]
    pub serve: Option<SocketAddr>,
    /// File that holds the key which requests must bring (`Authorization: Bearer KEY`); without it, the one in the
    /// environment's LORA_CHAT_API_KEY.
    #[arg(long, value_name = "FILE", requires = "serve", help_heading = "Server")]
    pub api_key_file: Option<PathBuf>,
    /// Requests that may wait; one more is told to come back later (429).
    #[arg(
        long,
        value_name = "N",
        value_parser = at_least_one,
        default_value = "64",
        requires = "serve",
        help_heading = "Server"
    )]
    pub max_waiting: usize,
    /// How tokens are chosen.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    /// Where to compute: a GPU if there is one that can do it (auto), cpu, or cuda:N. A GPU computes in bfloat16.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Threads [default: as many as this process may use].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

/// A port of this machine alone, or an address and a port.
fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let port = text.strip_prefix("localhost:").unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(SocketAddr::new(own, port));
    }
    text.parse()
        .map_err(|_| "expected a port, or an IP address and a port: 127.0.0.1:8080".to_owned())
}

const EXAMPLES: &str = "\
Examples:
  lora-chat --base smollm2.gguf
  lora-chat --base data/tiny-chat --adapter work/adapter --temperature 0.7
  lora-chat --base m --adapter a --adapter b --serve 8080
  lora-chat --base m --adapter a < prompts.jsonl > answers.jsonl
  echo 'Remind me to call Ann on friday' | lora-chat --base m --adapter a";

impl ToolArgs for Args {
    const OUTPUTS: &'static [&'static str] = &[];

    fn check(&self) -> Result<()> {
        self.sampling.check()
    }

    fn common(&self) -> &Common {
        &self.common
    }
}
