//! The searches for a block's scale: candidates are tried one after the other, and the one with the least weighted square
//! error is kept. The candidates, and the order of each sum, are those of ggml's `make_qkx2_quants`, `make_qkx3_quants` (a
//! scale and a least value), `make_qx_quants` and `make_q3_quants` (a scale alone).
use super::lanes::{Lanes, Mask, nearest_int};

/// Below this a block counts as zero.
pub(super) const NOTHING: f32 = 1e-15;

/// Which candidates for a scale and a least value are tried: (first + step·i + levels) ÷ range, for i from 0 to `steps`.
pub(super) struct Candidates {
    pub(super) first: f32,
    pub(super) step: f32,
    pub(super) steps: u16,
    /// Weighs distances instead of their squares.
    pub(super) absolute: bool,
}

/// Values ≈ scale·level − below.
pub(super) struct Affine<const N: usize, const W: usize> {
    pub(super) scale: Lanes<W>,
    pub(super) below: Lanes<W>,
    /// 0 to the greatest.
    pub(super) levels: [Lanes<W>; N],
}

/// Values ≈ scale·(level − greatest).
pub(super) struct Symmetric<const N: usize, const W: usize> {
    pub(super) scale: Lanes<W>,
    /// 0 to 2·greatest − 1; 0 everywhere in a block of zeros.
    pub(super) levels: [Lanes<W>; N],
}

/// The best scale and least value (at most 0) for levels 0 to `greatest`.
#[inline(always)]
pub(super) fn affine<const N: usize, const W: usize>(
    x: &[Lanes<W>; N],
    weights: &[Lanes<W>; N],
    greatest: f32,
    candidates: &Candidates,
) -> Affine<N, W> {
    let zero = Lanes::splat(0.0);
    let mut least = x[0];
    let mut most = x[0];
    let mut sum_w = weights[0];
    let mut sum_x = sum_w * x[0];
    for (&x, &w) in x.iter().zip(weights).skip(1) {
        least = x.least(least);
        most = x.most(most);
        sum_w += w;
        sum_x += w * x;
    }
    least = least.above(zero).pick(zero, least);
    let has_range = most.above(least);
    let level = |x: Lanes<W>, inverse: Lanes<W>, least: Lanes<W>| {
        let v = (inverse * (x - least)).most(zero);
        v.least(Lanes::splat(greatest)).nearest()
    };
    let error = |x: Lanes<W>, w: Lanes<W>, level: Lanes<W>, scale: Lanes<W>, least: Lanes<W>| {
        let difference = scale * level + least - x;
        w * match candidates.absolute {
            true => difference.abs(),
            false => difference * difference,
        }
    };
    // How the levels of the best candidate so far came about.
    let mut inverse = Lanes::splat(greatest) / (most - least);
    let mut from = least;
    let mut scale = Lanes::splat(1.0) / inverse;
    let mut best = zero;
    for (&x, &w) in x.iter().zip(weights) {
        best += error(x, w, level(x, inverse, least), scale, least);
    }
    for step in 0..=candidates.steps {
        let levels_wide = candidates.first + candidates.step * f32::from(step) + greatest;
        let tried = Lanes::splat(levels_wide) / (most - least);
        let mut levels = [zero; N];
        let mut sum_l = zero;
        let mut sum_l2 = zero;
        let mut sum_xl = zero;
        for i in 0..N {
            let l = level(x[i], tried, least);
            levels[i] = l;
            let wl = weights[i] * l;
            sum_l += wl;
            sum_l2 += wl * l;
            sum_xl += wl * x[i];
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        let fitted = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let fitted_least = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        let positive = fitted_least.above(zero);
        let new_least = positive.pick(zero, fitted_least);
        let new_scale = positive.pick(sum_xl / sum_l2, fitted);
        let mut sum = zero;
        for i in 0..N {
            sum += error(x[i], weights[i], levels[i], new_scale, new_least);
        }
        let better = determinant.above(zero).and(sum.below(best));
        inverse = better.pick(tried, inverse);
        from = better.pick(least, from);
        best = better.pick(sum, best);
        scale = better.pick(new_scale, scale);
        least = better.pick(new_least, least);
    }
    Affine {
        scale: has_range.pick(scale, zero),
        below: -least,
        levels: x.map(|x| has_range.pick(level(x, inverse, from), zero)),
    }
}

/// The value of largest magnitude of each block, and whether that is more than nothing.
#[inline(always)]
fn extreme<const N: usize, const W: usize>(x: &[Lanes<W>; N]) -> (Lanes<W>, Mask<W>) {
    let mut extreme = Lanes::splat(0.0);
    let mut largest = Lanes::splat(0.0);
    for &x in x {
        let more = x.abs().above(largest);
        extreme = more.pick(x, extreme);
        largest = more.pick(x.abs(), largest);
    }
    (extreme, largest.below(Lanes::splat(NOTHING)).not())
}

/// The nearest level from −greatest to greatest − 1.
#[inline(always)]
fn signed_level<const W: usize>(v: Lanes<W>, greatest: f32) -> Lanes<W> {
    v.nearest()
        .least(Lanes::splat(greatest - 1.0))
        .most(Lanes::splat(-greatest))
}

/// The best scale for levels −greatest to greatest − 1.
#[inline(always)]
pub(super) fn symmetric<const N: usize, const W: usize>(
    x: &[Lanes<W>; N],
    weights: &[Lanes<W>; N],
    greatest: f32,
) -> Symmetric<N, W> {
    let zero = Lanes::splat(0.0);
    let (extreme, counts) = extreme(x);
    let sums = |inverse: Lanes<W>| {
        let mut sum_lx = zero;
        let mut sum_l2 = zero;
        for (&x, &w) in x.iter().zip(weights) {
            let l = signed_level(inverse * x, greatest);
            sum_lx += w * x * l;
            sum_l2 += w * l * l;
        }
        (sum_lx, sum_l2)
    };
    let mut inverse = Lanes::splat(-greatest) / extreme;
    let (sum_lx, sum_l2) = sums(inverse);
    let mut scale = sum_l2.differs(zero).pick(sum_lx / sum_l2, zero);
    let mut best = scale * sum_lx;
    for step in (-9..=9i8).filter(|&step| step != 0) {
        let tried = Lanes::splat(-(greatest + 0.1 * f32::from(step))) / extreme;
        let (sum_lx, sum_l2) = sums(tried);
        let better = sum_l2
            .above(zero)
            .and((sum_lx * sum_lx).above(best * sum_l2));
        inverse = better.pick(tried, inverse);
        scale = better.pick(sum_lx / sum_l2, scale);
        best = better.pick(scale * sum_lx, best);
    }
    let level = |x| signed_level(inverse * x, greatest) + Lanes::splat(greatest);
    Symmetric {
        scale: counts.pick(scale, zero),
        levels: x.map(|x| counts.pick(level(x), zero)),
    }
}

/// A scale for levels −greatest to greatest − 1, found by changing one level after the other as long as that helps.
#[inline(always)]
pub(super) fn symmetric_by_turns<const N: usize, const W: usize>(
    x: &[Lanes<W>; N],
    greatest: f32,
) -> Symmetric<N, W> {
    let zero = Lanes::splat(0.0);
    let (extreme, counts) = extreme(x);
    let inverse = Lanes::splat(-greatest) / extreme;
    let mut levels = x.map(|x| counts.pick(signed_level(inverse * x, greatest), zero));
    let mut sum_lx = zero;
    let mut sum_l2 = zero;
    for (&x, &l) in x.iter().zip(&levels) {
        let w = x * x;
        sum_lx += w * x * l;
        sum_l2 += w * l * l;
    }
    for _ in 0..5 {
        let mut changed = false;
        for (&x, level) in x.iter().zip(&mut levels) {
            let w = x * x;
            let l = *level;
            let mut without_lx = sum_lx - w * x * l;
            let mut without_l2 = sum_l2 - w * l * l;
            let is_positive = without_lx.above(zero);
            let new = (x * without_l2 / without_lx)
                .map(|v| nearest_int(v) as f32)
                .least(Lanes::splat(greatest - 1.0))
                .most(Lanes::splat(-greatest));
            without_lx += w * x * new;
            without_l2 += w * new * new;
            let better = without_l2
                .above(zero)
                .and((without_lx * without_lx * sum_l2).above(sum_lx * sum_lx * without_l2));
            let takes = counts.and(is_positive).and(new.differs(l)).and(better);
            *level = takes.pick(new, l);
            sum_lx = takes.pick(without_lx, sum_lx);
            sum_l2 = takes.pick(without_l2, sum_l2);
            changed |= takes.any();
        }
        if !changed {
            break;
        }
    }
    let scale = sum_l2.above(zero).pick(sum_lx / sum_l2, zero);
    Symmetric {
        scale: counts.pick(scale, zero),
        levels: levels.map(|l| counts.pick(l + Lanes::splat(greatest), zero)),
    }
}

/// The best scale for values that are not negative, and their levels 0 to `greatest` (ggml's `make_qp_quants`): some scales
/// are tried, then one level after the other is changed as long as that helps.
pub(super) fn positive(x: &[f32], weights: &[f32], greatest: u8, levels: &mut [u8]) -> f32 {
    levels.fill(0);
    let largest = x.iter().fold(0.0f32, |m, &v| if m > v { m } else { v });
    if largest < NOTHING {
        return 0.0;
    }
    let most = f32::from(greatest);
    let mut inverse = most / largest;
    let scale = 1.0 / inverse;
    let mut best = 0.0;
    for (&x, &w) in x.iter().zip(weights) {
        let difference = x - scale * f32::from(nearest_int(inverse * x) as u8);
        best += w * difference * difference;
    }
    let capped = |v: f32| nearest_int(v).min(greatest.into());
    for step in (-4..=4i8).filter(|&step| step != 0) {
        let tried = (0.1 * f32::from(step) + most) / largest;
        let scale = 1.0 / tried;
        let mut error = 0.0;
        for (&x, &w) in x.iter().zip(weights) {
            let difference = x - scale * capped(tried * x) as f32;
            error += w * difference * difference;
        }
        if error < best {
            best = error;
            inverse = tried;
        }
    }
    let mut sum_lx = 0.0;
    let mut sum_l2 = 0.0;
    for ((&x, &w), level) in x.iter().zip(weights).zip(levels.iter_mut()) {
        let l = capped(inverse * x);
        *level = l as u8;
        sum_lx += w * x * l as f32;
        sum_l2 += w * l as f32 * l as f32;
    }
    for _ in 0..5 {
        let mut changed = false;
        for ((&x, &w), level) in x.iter().zip(weights).zip(levels.iter_mut()) {
            let l = f32::from(*level);
            let mut without_lx = sum_lx - w * x * l;
            let mut without_l2 = sum_l2 - w * l * l;
            let is_positive = without_lx > 0.0 && without_l2 > 0.0;
            let new = capped(x * without_l2 / without_lx);
            if !is_positive || new == i32::from(*level) {
                continue;
            }
            without_lx += w * x * new as f32;
            without_l2 += w * new as f32 * new as f32;
            if without_lx * without_lx * sum_l2 > sum_lx * sum_lx * without_l2 {
                *level = new as u8;
                sum_lx = without_lx;
                sum_l2 = without_l2;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 }
}
