//! Where the time goes, part by part: the device is waited for before and after each, so that a run that is profiled is
//! slower than one that is not.
use super::pass::Pass;
use lora_gpu::{Error, Gpu};
use lora_kernels::profile::{Part, Profile};

/// Runs `work` and counts its time, if a profile is asked for.
pub(super) fn timed<R>(
    profile: Option<&Profile>,
    gpu: &Gpu,
    part: Part,
    operations: u64,
    work: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    let Some(profile) = profile else {
        return work();
    };
    gpu.synchronize()?;
    profile.time(part, operations, || {
        let done = work()?;
        gpu.synchronize()?;
        Ok(done)
    })
}

impl Pass<'_> {
    /// Runs `work` and counts its time, if a profile is asked for.
    pub(super) fn timed<R>(
        &self,
        part: Part,
        operations: usize,
        work: impl FnOnce() -> Result<R, Error>,
    ) -> Result<R, Error> {
        timed(
            self.profile.as_deref(),
            self.gpu,
            part,
            operations as u64,
            work,
        )
    }
}
