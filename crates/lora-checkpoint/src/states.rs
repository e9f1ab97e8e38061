//! Layers that keep a state in place of keys and values: whether their heads and taps make sense.
use crate::config::MAX_DIMENSION;
use crate::families::{Mixer, ShortConv};
use crate::{ModelConfig, Rope};

/// Most taps of a convolution.
const MAX_TAPS: usize = 64;

impl ModelConfig {
    /// Whether the layers that keep a state are known, and of a sensible size.
    pub(crate) fn validate_recurrent(&self) -> Result<(), String> {
        let known = |mixer| match mixer {
            Mixer::Attention => true,
            Mixer::Delta => self.delta.is_some(),
            Mixer::ShortConv => self.short_conv.is_some(),
            Mixer::Mamba => self.mamba.is_some(),
        };
        if !self.layers.iter().all(|layer| known(layer.mixer)) {
            return Err("recurrent layers whose shape is not known".to_owned());
        }
        let taps = self.short_conv.map_or(1, |own| own.taps);
        if taps == 0 || taps > MAX_TAPS {
            let key = ShortConv::KEY;
            return Err(format!("{key} is {taps}, expected 1 to {MAX_TAPS}"));
        }
        self.validate_delta()?;
        self.validate_mamba()?;
        // A text that is read again from its begin would need the states of its begin.
        let changes = |rope: &Rope| rope.changes_beyond().is_some();
        if self.is_recurrent() && self.ropes.iter().any(changes) {
            return Err(
                "a rotary embedding that depends on the length (dynamic, longrope) is not supported beside layers that keep a state"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn validate_delta(&self) -> Result<(), String> {
        let Some(delta) = self.delta else {
            return Ok(());
        };
        for (key, size) in delta.named() {
            if size == 0 || size > MAX_DIMENSION {
                return Err(format!("{key} is {size}, expected 1 to {MAX_DIMENSION}"));
            }
        }
        let widths = [
            delta.key_heads.saturating_mul(delta.key_dim),
            delta.value_heads.saturating_mul(delta.value_dim),
        ];
        if widths.iter().any(|&width| width > MAX_DIMENSION / 4) || delta.taps > MAX_TAPS {
            return Err(format!(
                "linear attention with heads of {} and {} columns and {} taps is absurdly large",
                widths[0], widths[1], delta.taps
            ));
        }
        if !delta.value_heads.is_multiple_of(delta.key_heads) {
            return Err(format!(
                "linear_num_value_heads {} is not a multiple of linear_num_key_heads {}",
                delta.value_heads, delta.key_heads
            ));
        }
        Ok(())
    }

    fn validate_mamba(&self) -> Result<(), String> {
        let Some(mamba) = self.mamba else {
            return Ok(());
        };
        for (key, size) in mamba.named() {
            if size == 0 || size > MAX_DIMENSION {
                return Err(format!("{key} is {size}, expected 1 to {MAX_DIMENSION}"));
            }
        }
        let widths = [
            mamba.heads.saturating_mul(mamba.width),
            mamba.groups.saturating_mul(mamba.state),
        ];
        if widths.iter().any(|&width| width > MAX_DIMENSION / 8) || mamba.taps > MAX_TAPS {
            return Err(format!(
                "Mamba-2 with heads of {} and groups of {} columns and {} taps is absurdly large",
                widths[0], widths[1], mamba.taps
            ));
        }
        if !mamba.heads.is_multiple_of(mamba.groups) {
            return Err(format!(
                "mamba_n_heads {} is not a multiple of mamba_n_groups {}",
                mamba.heads, mamba.groups
            ));
        }
        match mamba.limits {
            [least, most] if least >= 0.0 && least <= most && least.is_finite() => Ok(()),
            [least, most] => Err(format!(
                "time_step_limit is from {least} to {most}, expected two ascending numbers that are not negative"
            )),
        }
    }
}
