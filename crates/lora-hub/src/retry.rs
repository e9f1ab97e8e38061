//! Asking again: after a while, a few times, and never while nobody wants to know any more.
use crate::error::{Error, Result, refused};
use crate::http::Fault;
use crate::settings::Patience;
use crate::watch::Watch;
use std::time::{Duration, Instant};

/// How often it is looked whether a pause is still wanted.
const BEAT: Duration = Duration::from_millis(50);

/// The way out where the network fails.
const OFFLINE: &str = "what was fetched is kept, and the same command goes on from there; HF_HUB_OFFLINE=1 takes what is in the cache";

/// The attempts in a row that brought nothing.
pub(crate) struct Attempts {
    patience: Patience,
    made: u32,
}

impl Attempts {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, made: 0 }
    }

    /// Something was brought: what fails from here on is the first failure.
    pub(crate) fn succeed(&mut self) {
        self.made = 0;
    }

    /// Waits, if it is worth trying again; else says why not.
    pub(crate) fn after(&mut self, fault: Fault, watch: &mut dyn Watch) -> Result<()> {
        self.made += 1;
        let is_last = self.made >= self.patience.tries;
        let pause = self.patience.pause * 2u32.saturating_pow(self.made - 1).min(64);
        let (pause, error) = match fault {
            Fault::Final(error) => return Err(error),
            Fault::Unreachable(host, why) => (
                pause,
                refused(format!("can't reach {host}: {why}"), OFFLINE),
            ),
            Fault::Broken(what) => (pause, refused(what, OFFLINE)),
            Fault::Busy(asked) => {
                let wait = asked.unwrap_or(pause);
                let error = refused(
                    format!(
                        "the hub wants fewer requests (429), and a pause of {} s",
                        wait.as_secs_f64()
                    ),
                    "wait so long and give the same command again: what was fetched is kept; with HF_TOKEN more requests are allowed",
                );
                if wait > self.patience.longest {
                    return Err(error);
                }
                (wait, error)
            }
        };
        if is_last {
            return Err(error);
        }
        if let Error::Refused { message, .. } = &error
            && self.made > 1
        {
            watch.say(&format!(
                "{message}; trying again in {} s",
                pause.as_secs_f64()
            ));
        }
        wait(pause, watch)
    }
}

fn wait(pause: Duration, watch: &mut dyn Watch) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < pause {
        if !watch.goes_on() {
            return Err(Error::Interrupted);
        }
        std::thread::sleep(BEAT.min(pause.saturating_sub(began.elapsed())));
    }
    Ok(())
}
