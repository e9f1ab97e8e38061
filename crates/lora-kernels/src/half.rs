//! Activations kept in bfloat16: rounded to nearest, ties to even.
use crate::dispatch::vectorised;
use rayon::prelude::*;

/// Values that a thread converts at once.
const PART: usize = 1 << 15;

/// out = values, rounded.
pub fn narrow(values: &[f32], out: &mut [u16]) {
    out.par_chunks_mut(PART)
        .zip(values.par_chunks(PART))
        .for_each(|(to, from)| narrow_part(from, to));
}

/// out = values.
pub fn widen(values: &[u16], out: &mut [f32]) {
    out.par_chunks_mut(PART)
        .zip(values.par_chunks(PART))
        .for_each(|(to, from)| widen_part(from, to));
}

/// Rounds values where they stand, to those that come back from [`narrow`] and [`widen`].
pub fn round(values: &mut [f32]) {
    values.par_chunks_mut(PART).for_each(|part| {
        let mut rounded = [0; 1 << 10];
        for some in part.chunks_mut(rounded.len()) {
            let rounded = &mut rounded[..some.len()];
            narrow_part(some, rounded);
            widen_part(rounded, some);
        }
    });
}

vectorised! {
    /// A bfloat16 is the upper half of a float; NaN stays NaN.
    fn narrow_part(from: &[f32], to: &mut [u16]) {
        for (to, from) in to.iter_mut().zip(from) {
            let bits = from.to_bits();
            let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
            let quiet = (bits >> 16) | 0x40;
            *to = if bits & 0x7FFF_FFFF > 0x7F80_0000 { quiet } else { rounded } as u16;
        }
    }
}

vectorised! {
    fn widen_part(from: &[u16], to: &mut [f32]) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(from) << 16);
        }
    }
}
