//! The linear layers of one decoder layer, alone or stacked: Phi-3 has q, k and v in one, and gate and up.
use super::binding::Site;
use super::buffers::{Buffer, Inner, ProjectScratch};
use super::pass::Pass;
use super::project::{Applied, RowsOf};
use super::weights::Layer;
use crate::spec::Projection;
use lora_kernels::profile::Part;
use lora_kernels::stack;

/// A layer's linear layers in a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linears<'s, 'a, 'b> {
    pub(super) pass: &'s Pass<'a>,
    pub(super) index: usize,
    pub(super) layer: &'s Layer<'b>,
    /// Rows of their inputs, T.
    pub(super) rows: usize,
}

impl Linears<'_, '_, '_> {
    /// Values that a projection gives.
    pub(super) fn size(self, projection: Projection) -> usize {
        self.rows * self.pass.config.shape(projection).0
    }

    /// Values that a projection takes.
    pub(super) fn input_size(self, projection: Projection) -> usize {
        self.rows * self.pass.config.shape(projection).1
    }

    /// out (T, out) = projection of input (T, in), or out += with `accumulate`.
    pub(super) fn forward(
        self,
        projection: Projection,
        input: &[f32],
        out: &mut [f32],
        accumulate: bool,
        u: &mut Inner,
        scratch: &mut ProjectScratch,
    ) {
        let site = self
            .pass
            .binding
            .site(self.pass.binding.slot(self.index, projection));
        let applied = self.applied(&site, projection, input);
        let work = self.operations(projection, &site);
        let kept = &mut u[projection.index()];
        self.pass.profile.time(Part::LinearForward, work, || {
            applied.forward(out, accumulate, kept, scratch)
        });
    }

    fn applied<'p>(
        &'p self,
        site: &'p Site<'p>,
        projection: Projection,
        x: &'p [f32],
    ) -> Applied<'p> {
        let rows = RowsOf {
            first: 0,
            count: self.rows,
        };
        Applied {
            site,
            linear: self.layer.linear(projection),
            rows,
            x,
        }
    }

    /// d_input (T, in) from dy (T, out), or d_input += with `accumulate`; adds to the adapter's gradients.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn backward(
        self,
        projection: Projection,
        input: &[f32],
        dy: &[f32],
        d_input: &mut [f32],
        accumulate: bool,
        u: &Inner,
        gradients: &mut [f32],
        scratch: &mut ProjectScratch,
    ) {
        let site = self
            .pass
            .binding
            .site(self.pass.binding.slot(self.index, projection));
        let applied = self.applied(&site, projection, input);
        // Of a factor the own gradient, too.
        let work = self.operations(projection, &site) + self.factor_operations(projection, &site);
        let kept = &u[projection.index()];
        let back = || applied.backward(kept, dy, d_input, accumulate, gradients, scratch);
        self.pass.profile.time(Part::LinearBackward, work, back);
    }

    /// Floating-point operations of one product with the weight and with both factors.
    fn operations(self, projection: Projection, site: &Site<'_>) -> u64 {
        let (out, inn) = self.pass.config.shape(projection);
        (2 * self.rows * out * inn) as u64 + self.factor_operations(projection, site)
    }

    fn factor_operations(self, projection: Projection, site: &Site<'_>) -> u64 {
        let (out, inn) = self.pass.config.shape(projection);
        (2 * self.rows * (out + inn) * site.lora.as_ref().map_or(0, |lora| lora.rank)) as u64
    }

    /// All linear layers that hold one of these outputs.
    fn holding(self, outputs: impl Fn(Projection) -> bool) -> impl Iterator<Item = Projection> {
        self.pass
            .config
            .projections()
            .iter()
            .copied()
            .filter(move |p| p.parts().iter().all(|&part| outputs(part)))
    }

    /// Several outputs of one input (T, in), whichever layers they lie in.
    pub(super) fn fan_out(
        self,
        input: &[f32],
        outputs: &mut [(Projection, &mut [f32])],
        u: &mut Inner,
        stacked: &mut Buffer,
        scratch: &mut ProjectScratch,
    ) {
        let wanted: Vec<Projection> = outputs.iter().map(|(p, _)| *p).collect();
        for linear in self.holding(|p| wanted.contains(&p)) {
            if let [part] = linear.parts() {
                for (_, out) in outputs.iter_mut().filter(|(p, _)| p == part) {
                    self.forward(linear, input, out, false, u, scratch);
                }
                continue;
            }
            let all = stacked.get(self.size(linear));
            self.forward(linear, input, all, false, u, scratch);
            let (width, mut at) = (self.pass.config.shape(linear).0, 0);
            for part in linear.parts() {
                let columns = self.pass.config.shape(*part).0;
                for (_, out) in outputs.iter_mut().filter(|(p, _)| p == part) {
                    stack::take(all, width, at, out, columns);
                }
                at += columns;
            }
        }
    }

    /// The way back: d_input (T, in) from the gradients of several outputs.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn fan_in(
        self,
        input: &[f32],
        outputs: &[(Projection, &[f32])],
        d_input: &mut [f32],
        u: &Inner,
        gradients: &mut [f32],
        stacked: &mut Buffer,
        scratch: &mut ProjectScratch,
    ) {
        let of = |part: &Projection| outputs.iter().find(|(p, _)| p == part).map(|(_, d)| *d);
        for (i, linear) in self.holding(|p| of(&p).is_some()).enumerate() {
            let (width, mut at) = (self.pass.config.shape(linear).0, 0);
            let dy = match linear.parts() {
                [part] => of(part).unwrap_or_default(),
                parts => {
                    let all = stacked.get(self.size(linear));
                    for part in parts {
                        let columns = self.pass.config.shape(*part).0;
                        stack::put(all, width, at, of(part).unwrap_or_default(), columns);
                        at += columns;
                    }
                    all
                }
            };
            self.backward(linear, input, dy, d_input, i > 0, u, gradients, scratch);
        }
    }
}
