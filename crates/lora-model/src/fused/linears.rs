//! The linear layers of one decoder layer, alone or stacked: Phi-3 has q, k and v in one, and gate and up. Where a model has factors
//! around them, what they give is multiplied by those, and the gradients of that on the way back.
use super::buffers::{Buffer, Inner};
use super::dropout::RowsOf;
use super::pass::{LayerPass, scale, scale_columns};
use super::project::{Applied, Back};
use super::scratch::ProjectScratch;
use super::site::Site;
use crate::spec::Projection;
use lora_kernels::matrix::{Place, Write};
use lora_kernels::profile::Part;
use lora_kernels::stack;

impl LayerPass<'_, '_> {
    /// Output features of a projection.
    pub(super) fn out_features(self, projection: Projection) -> usize {
        self.pass.config.shape(self.index, projection).0
    }

    /// Input features of a projection.
    pub(super) fn in_features(self, projection: Projection) -> usize {
        self.pass.config.shape(self.index, projection).1
    }

    /// Values that a projection gives.
    pub(super) fn size(self, projection: Projection) -> usize {
        self.rows * self.out_features(projection)
    }

    /// Values that the gate gives: none where there is none.
    pub(super) fn gate_size(self) -> usize {
        match self.pass.config.facts().mlp.is_gated() {
            true => self.size(Projection::Gate),
            false => 0,
        }
    }

    /// Values that a projection takes.
    pub(super) fn input_size(self, projection: Projection) -> usize {
        self.rows * self.in_features(projection)
    }

    /// What a projection gives for the input (T, in) goes to out (T, out).
    pub(super) fn forward(
        self,
        projection: Projection,
        input: &[f32],
        out: Place<'_>,
        inner: &mut Inner,
        scratch: &mut ProjectScratch,
    ) {
        let columns = self.in_features(projection);
        self.pass
            .watch
            .see((self.index, projection), input, columns);
        let site = self.site(projection);
        let work = self.operations(projection, &site);
        let kept = &mut inner[projection.index()];
        self.pass.profile.time(Part::LinearForward, work, || {
            self.applied(&site, projection, input)
                .forward(out, kept, scratch);
        });
    }

    /// The gradient of the input goes to d_input (T, in), from dy (T, out); adds to the adapter's gradients.
    pub(super) fn backward(
        self,
        projection: Projection,
        input: &[f32],
        dy: &[f32],
        d_input: Place<'_>,
        inner: &Inner,
        back: Back<'_>,
    ) {
        let site = self.site(projection);
        // Of a factor the own gradient, too.
        let work = self.operations(projection, &site) + self.factor_operations(projection, &site);
        let kept = &inner[projection.index()];
        self.pass.profile.time(Part::LinearBackward, work, || {
            self.applied(&site, projection, input)
                .backward(kept, dy, d_input, back);
        });
    }

    /// What trains at a projection.
    fn site(&self, projection: Projection) -> Site<'_> {
        let binding = self.pass.binding;
        binding.site(binding.slot(self.index, projection))
    }

    fn applied<'p>(
        &'p self,
        site: &'p Site<'p>,
        projection: Projection,
        x: &'p [f32],
    ) -> Applied<'p> {
        Applied {
            site,
            linear: self.layer.linear(projection),
            rows: RowsOf::all(self.rows),
            x,
        }
    }

    /// Floating-point operations of one product with the weight and with both factors.
    fn operations(self, projection: Projection, site: &Site<'_>) -> u64 {
        let (out_features, in_features) = self.pass.config.shape(self.index, projection);
        let weight = 2 * self.rows * out_features * in_features;
        weight as u64 + self.factor_operations(projection, site)
    }

    fn factor_operations(self, projection: Projection, site: &Site<'_>) -> u64 {
        let (out_features, in_features) = self.pass.config.shape(self.index, projection);
        let rank = site.lora.as_ref().map_or(0, |lora| lora.rank());
        (2 * self.rows * (out_features + in_features) * rank) as u64
    }

    /// Multiplies what a projection gives, or the gradient of that, by the model's factors.
    fn multiply(self, projection: Projection, values: &mut [f32]) {
        let Some(factors) = self.pass.config.row_factors(self.index, projection) else {
            return;
        };
        match factors[..] {
            [(_, factor)] => scale(values, factor as f32),
            _ => scale_columns(values, &factors),
        }
    }

    /// All linear layers that hold one of these outputs.
    fn holding(self, outputs: impl Fn(Projection) -> bool) -> impl Iterator<Item = Projection> {
        let all = self.pass.config.projections_of(self.index).into_iter();
        all.filter(move |p| p.parts().iter().all(|&part| outputs(part)))
    }

    /// Several outputs of one input (T, in), whichever layers they lie in.
    pub(super) fn fan_out(
        self,
        input: &[f32],
        outputs: &mut [(Projection, &mut [f32])],
        inner: &mut Inner,
        stacked: &mut Buffer,
        scratch: &mut ProjectScratch,
    ) {
        let wanted: Vec<Projection> = outputs.iter().map(|(p, _)| *p).collect();
        for linear in self.holding(|p| wanted.contains(&p)) {
            let width = self.out_features(linear);
            if let [part] = linear.parts() {
                for (_, out) in outputs.iter_mut().filter(|(p, _)| p == part) {
                    let out = Place::new(out, self.rows, width);
                    self.forward(linear, input, out, inner, scratch);
                }
                continue;
            }
            let all = stacked.get(self.size(linear));
            let out = Place::new(all, self.rows, width);
            self.forward(linear, input, out, inner, scratch);
            let mut at = 0;
            let heads = self.stacks(linear);
            for part in linear.parts() {
                let columns = self.out_features(*part) / heads;
                for (_, out) in outputs.iter_mut().filter(|(p, _)| p == part) {
                    stack::take(all, width / heads, at, out, columns);
                }
                at += columns;
            }
        }
        for (part, out) in outputs {
            self.multiply(*part, out);
        }
    }

    /// How often the parts of a stacked layer stand side by side: in each head, or once.
    fn stacks(self, linear: Projection) -> usize {
        match linear.is_by_heads() {
            true => self.pass.config.num_attention_heads,
            false => 1,
        }
    }

    /// The way back: d_input (T, in) from the gradients of several outputs, written or added to as its place says. The gradients
    /// become those of what the linear layers themselves give.
    pub(super) fn fan_in(
        self,
        input: &[f32],
        outputs: &mut [(Projection, &mut [f32])],
        mut d_input: Place<'_>,
        inner: &Inner,
        stacked: &mut Buffer,
        mut back: Back<'_>,
    ) {
        for (part, d) in outputs.iter_mut() {
            self.multiply(*part, d);
        }
        let of = |part: &Projection| outputs.iter().find(|(p, _)| p == part).map(|(_, d)| &**d);
        let mut write = d_input.write();
        for linear in self.holding(|p| of(&p).is_some()) {
            let dy = match linear.parts() {
                [part] => of(part).unwrap_or_default(),
                parts => {
                    let all = stacked.get(self.size(linear));
                    let width = self.out_features(linear);
                    let mut at = 0;
                    let heads = self.stacks(linear);
                    for part in parts {
                        let columns = self.out_features(*part) / heads;
                        let values = of(part).unwrap_or_default();
                        stack::put(all, width / heads, at, values, columns);
                        at += columns;
                    }
                    all
                }
            };
            let to = d_input.reborrow().with(write);
            self.backward(linear, input, dy, to, inner, back.reborrow());
            write = Write::Add;
        }
    }
}
