//! Several sums side by side: what one block does value by value, eight blocks do in the lanes of one vector. Each lane adds
//! in the order in which a loop over its own block would, so that the bits are the loop's.
use std::array::from_fn;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// `W` values, one of each block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lanes<const W: usize>(pub(super) [f32; W]);

/// What a comparison found, lane by lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mask<const W: usize>([bool; W]);

impl<const W: usize> Lanes<W> {
    #[inline(always)]
    pub(super) fn splat(value: f32) -> Self {
        Self([value; W])
    }

    #[inline(always)]
    pub(super) fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        self.map(f32::abs)
    }

    /// The lesser; `other` where either is NaN.
    #[inline(always)]
    pub(super) fn least(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    /// The greater; `other` where either is NaN.
    #[inline(always)]
    pub(super) fn most(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    pub(super) fn below(self, other: Self) -> Mask<W> {
        Mask(from_fn(|i| self.0[i] < other.0[i]))
    }

    #[inline(always)]
    pub(super) fn above(self, other: Self) -> Mask<W> {
        Mask(from_fn(|i| self.0[i] > other.0[i]))
    }

    #[inline(always)]
    pub(super) fn differs(self, other: Self) -> Mask<W> {
        Mask(from_fn(|i| self.0[i] != other.0[i]))
    }

    /// The nearest whole number, ties to even, of a value within ±2²².
    #[inline(always)]
    pub(super) fn nearest(self) -> Self {
        self.map(|v| (v + MAGIC) - MAGIC)
    }
}

/// 1.5 · 2²³: what is added to it is rounded to a whole number.
pub(super) const MAGIC: f32 = 12_582_912.0;

/// The nearest whole number, ties to even. Beyond ±2²² it wraps, as ggml's does.
#[inline(always)]
pub(super) fn nearest_int(value: f32) -> i32 {
    ((value + MAGIC).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

impl<const W: usize> Mask<W> {
    #[inline(always)]
    pub(super) fn and(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] & other.0[i]))
    }

    #[inline(always)]
    #[allow(clippy::should_implement_trait)]
    pub(super) fn not(self) -> Self {
        Self(self.0.map(|lane| !lane))
    }

    #[inline(always)]
    pub(super) fn any(self) -> bool {
        self.0.iter().fold(false, |any, &lane| any | lane)
    }

    /// The one where the lane is true, the other where it is false.
    #[inline(always)]
    pub(super) fn pick(self, yes: Lanes<W>, no: Lanes<W>) -> Lanes<W> {
        Lanes(from_fn(|i| if self.0[i] { yes.0[i] } else { no.0[i] }))
    }
}

/// Defines an operator lane by lane.
macro_rules! lane_by_lane {
    ($($name:ident, $method:ident, $operator:tt;)*) => {$(
        impl<const W: usize> $name for Lanes<W> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.zip(other, |a, b| a $operator b)
            }
        }
    )*};
}

lane_by_lane! {
    Add, add, +;
    Sub, sub, -;
    Mul, mul, *;
    Div, div, /;
}

impl<const W: usize> AddAssign for Lanes<W> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<const W: usize> Neg for Lanes<W> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.map(|v| -v)
    }
}

/// `W` blocks of `N` values, one after the other → value i of all of them, for each i.
#[inline(always)]
pub(super) fn across<const N: usize, const W: usize>(values: &[f32]) -> [Lanes<W>; N] {
    from_fn(|i| Lanes(from_fn(|lane| values[lane * N + i])))
}

/// The way back: lane by lane, as whole numbers from 0 to 255.
#[inline(always)]
pub(super) fn along<const N: usize, const W: usize>(levels: &[Lanes<W>; N], out: &mut [u8]) {
    for (i, level) in levels.iter().enumerate() {
        for (lane, &value) in level.0.iter().enumerate() {
            out[lane * N + i] = value as u8;
        }
    }
}
