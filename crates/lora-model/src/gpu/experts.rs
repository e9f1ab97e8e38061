//! A mixture of experts in a layer on the device, forward and backward. The weights of router and experts are frozen: gradients
//! pass through what is chosen and through its weights, and to an adapter's factors beside them.
//!
//! The router's logits come to the host, which chooses as on the CPU and sends back which row is whose: the queue of the device
//! is waited for once in each layer, twice in its backward pass. Logits are kept, and the backward pass chooses by them again.
//! Each expert then multiplies the rows that are its own, one after the other. What they read is made again on the way back
//! where factors need it, and so is what these make of it.
use super::mixture::Mixture;
use super::pass::LayerPass;
use super::saved::Saved;
use super::stack::Stack;
use super::stack_factors::{Sided, StackFactors, Way};
use lora_gpu::{Error, Mat, Slots, Tensor, Write};
use lora_kernels::experts::{Routing, score};
use lora_kernels::profile::Part;

/// Where the tokens of a layer went.
pub(super) struct Chosen {
    pub(super) routing: Routing,
    /// What the router made of its logits, (T, E).
    pub(super) probabilities: Vec<f32>,
}

impl<'p> LayerPass<'p> {
    /// Gates and ups of all experts, and what trains beside them.
    fn gates_and_ups(self, mixture: &'p Mixture) -> Sided<'p> {
        let own = self.pass.on_device.mixture(self.index);
        self.sided(&mixture.gate_up, own.gate_up.as_ref())
    }

    /// The same of downs.
    fn downs(self, mixture: &'p Mixture) -> Sided<'p> {
        let own = self.pass.on_device.mixture(self.index);
        self.sided(&mixture.down, own.down.as_ref())
    }

    fn sided(self, stack: &'p Stack, factors: Option<&'p StackFactors>) -> Sided<'p> {
        Sided {
            gpu: self.pass.gpu,
            stack,
            factors: factors.zip(self.pass.on_device.params()),
            zeros: self.pass.on_device.zeros(),
            wide: &self.scratch.wide,
        }
    }

    /// Rows of all tokens, T·k.
    fn rows_of(self, mixture: &Mixture) -> usize {
        self.pass.rows * mixture.choice.chosen
    }

    /// What gates and ups of the chosen experts gave, (T·k, 2·I), or its gradient.
    fn expert_gate_up<'t>(self, mixture: &Mixture, saved: &'t Saved) -> Mat<'t> {
        let rows = self.rows_of(mixture);
        saved.expert_gate_up.mat(rows, 2 * mixture.width())
    }

    /// Chooses by the router's logits in `saved`, and tells the device.
    fn choose(self, mixture: &Mixture, saved: &Saved) -> Result<Chosen, Error> {
        let gpu = self.pass.gpu;
        let choice = mixture.choice;
        let mut probabilities = vec![0.0f32; self.pass.rows * choice.experts];
        gpu.download(&saved.router, &mut probabilities)?;
        score(&mut probabilities, choice);
        let mut routing = Routing::default();
        let bias = mixture.choice_bias.as_deref();
        let chooser = &self.pass.chooser;
        chooser.choose(self.index, &probabilities, (choice, bias), &mut routing);
        let scratch = &self.scratch.experts;
        let tokens: Vec<u32> = routing.tokens_of_rows().collect();
        let weights: Vec<f32> = routing.weights_of_rows().collect();
        gpu.upload(&tokens, &scratch.tokens, 0)?;
        gpu.upload(routing.rows_of_slots(), &scratch.places, 0)?;
        gpu.upload(&weights, &scratch.weights, 0)?;
        if mixture.biases.is_some() {
            let of_rows = routing.ranges();
            let of_rows = of_rows.flat_map(|(expert, rows)| rows.map(move |_| expert as u32));
            let experts: Vec<u32> = of_rows.collect();
            gpu.upload(&experts, &scratch.experts, 0)?;
        }
        Ok(Chosen {
            routing,
            probabilities,
        })
    }

    /// The rows of tokens, with the weights that the choice gave them or with none.
    fn slots(self, mixture: &Mixture, weighted: bool) -> Slots<'p> {
        let scratch = &self.scratch.experts;
        Slots {
            places: &scratch.places,
            chosen: mixture.choice.chosen,
            weights: weighted.then_some(&scratch.weights),
        }
    }

    /// activation(gate)∘up of the chosen experts with u behind it, in the scratch, (T·k, I + columns).
    fn activate_experts(
        self,
        mixture: &'p Mixture,
        routing: &Routing,
        saved: &Saved,
    ) -> Result<Mat<'p>, Error> {
        let downs = self.downs(mixture);
        let activated = downs.all(&self.scratch.experts.activated, self.rows_of(mixture));
        let gate_up = self.expert_gate_up(mixture, saved);
        self.pass.timed(Part::Activation, 0, || {
            let to = downs.plain(activated);
            mixture.unit.forward(self.pass.gpu, gate_up, to)
        })?;
        let inner = || downs.inner(routing, activated);
        self.pass.timed(Part::LinearForward, 0, inner)?;
        Ok(activated)
    }

    /// x (T, H) += what the chosen experts give for n (T, H).
    pub(super) fn add_experts(
        self,
        mixture: &'p Mixture,
        n: Mat<'_>,
        x: Mat<'_>,
        saved: &Saved,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let scratch = &self.scratch.experts;
        let (reads, downs) = (self.gates_and_ups(mixture), self.downs(mixture));
        let count = self.rows_of(mixture);
        let operations = self.operations_of(mixture, reads, 1);
        let chosen = self.pass.timed(Part::LinearForward, operations, || {
            let logits = saved.router.mat(n.rows(), mixture.choice.experts);
            self.route(mixture, n, logits)?; // (T, H) -> (T, E)
            let chosen = self.choose(mixture, saved)?;
            if let Some(balancing) = &self.pass.balancing {
                let Chosen {
                    routing,
                    probabilities,
                } = &chosen;
                balancing.count(probabilities, routing, mixture.choice);
            }
            let rows = self.gathered(mixture, &chosen.routing, n)?; // -> (T·k, H)
            let to = self.expert_gate_up(mixture, saved);
            reads.multiply(&chosen.routing, Way::Forward, rows, to)?; // -> (T·k, 2·I)
            if let Some(biases) = &mixture.biases {
                gpu.add_bias_of(&biases.gate_up, &scratch.experts, to)?;
            }
            Ok(chosen)
        })?;
        let activated = self.activate_experts(mixture, &chosen.routing, saved)?;
        let operations = self.operations_of(mixture, downs, 0);
        self.pass.timed(Part::LinearForward, operations, || {
            let rows = scratch.rows.mat(count, n.columns());
            downs.multiply(&chosen.routing, Way::Forward, activated, rows)?; // (T·k, I) -> (T·k, H)
            if let Some(biases) = &mixture.biases {
                gpu.add_bias_of(&biases.down, &scratch.experts, rows)?;
            }
            let slots = self.slots(mixture, true);
            gpu.combine(rows, slots, self.residual_multiplier(), x, Write::Add)
        })
    }

    /// The rows of n (T, H) that experts read, with u behind them, in the scratch, (T·k, H + columns).
    fn gathered(
        self,
        mixture: &'p Mixture,
        routing: &Routing,
        n: Mat<'_>,
    ) -> Result<Mat<'p>, Error> {
        let reads = self.gates_and_ups(mixture);
        let scratch = &self.scratch.experts;
        let rows = reads.all(&scratch.rows, self.rows_of(mixture));
        let to = reads.plain(rows);
        self.pass.gpu.gather(n, &scratch.tokens, 0, to)?;
        reads.inner(routing, rows)?;
        Ok(rows)
    }

    /// From the gradient dy (T, H) of what the experts give that of what they and the router read, `dn` (T, H); adds to the
    /// gradients of factors. What `saved` keeps of gates and ups becomes its gradient.
    pub(super) fn experts_backward(
        self,
        mixture: &'p Mixture,
        dy: Mat<'_>,
        (dn, write): (Mat<'_>, Write),
        (saved, gradients): (&Saved, &Tensor),
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let chosen = self.choose(mixture, saved)?;
        let d = self.downs_backward(mixture, &chosen.routing, dy, (saved, gradients))?;
        let gate_up = self.expert_gate_up(mixture, saved);
        self.pass.timed(Part::Activation, 0, || {
            mixture.unit.backward(gpu, gate_up, d)
        })?;
        let reads = self.gates_and_ups(mixture);
        let operations = self.operations_of(mixture, reads, 1);
        self.pass.timed(Part::LinearBackward, operations, || {
            let read = self.experts_read(saved)?;
            let routing = &chosen.routing;
            let scratch = &self.scratch.experts;
            let count = self.rows_of(mixture);
            let d_rows = match reads.factors.zip(read) {
                None => {
                    let d_rows = reads.all(&scratch.rows, count);
                    reads.multiply(routing, Way::Backward, gate_up, d_rows)?; // (T·k, 2·I) -> (T·k, H)
                    d_rows
                }
                Some((_, n)) => {
                    let rows = self.gathered(mixture, routing, n)?;
                    let d_rows = reads.all(&scratch.d_rows, count);
                    reads.multiply(routing, Way::Backward, gate_up, d_rows)?;
                    reads.through_factors(routing, gate_up, (rows, d_rows), gradients)?;
                    d_rows
                }
            };
            let d_rows = reads.plain(d_rows);
            gpu.combine(d_rows, self.slots(mixture, false), 1.0, dn, write)?;
            self.router_backward(mixture, &chosen, (read, dn), gradients)
        })
    }

    /// From dy (T, H) the gradient of what downs read, in the scratch, (T·k, I), and of the weights of the choice; adds to the
    /// gradients of factors. These meet the weights of their rows: dA += (w∘du)ᵀ·x, dB += s·dyᵀ·(w∘u).
    fn downs_backward(
        self,
        mixture: &'p Mixture,
        routing: &Routing,
        dy: Mat<'_>,
        (saved, gradients): (&Saved, &Tensor),
    ) -> Result<Mat<'p>, Error> {
        let gpu = self.pass.gpu;
        let scratch = &self.scratch.experts;
        let downs = self.downs(mixture);
        let count = self.rows_of(mixture);
        let activated = self.activate_experts(mixture, routing, saved)?;
        let rows = scratch.rows.mat(count, dy.columns());
        let d = downs.all(&scratch.d_activated, count);
        let operations = self.operations_of(mixture, downs, 0);
        self.pass.timed(Part::LinearBackward, operations, || {
            gpu.gather(dy, &scratch.tokens, 0, rows)?;
            downs.multiply(routing, Way::Backward, rows, d)?; // (T·k, H) -> (T·k, I)
            // What meets x and what meets u are together the gradient of a row's weight.
            gpu.weigh(d, activated, &scratch.weights, &scratch.d_weights)?;
            if let Some(biases) = &mixture.biases {
                let dots = &scratch.d_weights;
                gpu.add_bias_dots(&biases.down, &scratch.experts, rows, dots)?;
            }
            if downs.columns() > 0 {
                gpu.weigh_rows(downs.u(activated), &scratch.weights)?;
            }
            downs.through_factors(routing, rows, (activated, d), gradients)
        })?;
        Ok(downs.plain(d))
    }

    /// Floating-point operations of one product of all rows with these matrices, and of so many with the router.
    fn operations_of(self, mixture: &Mixture, sided: Sided<'_>, routers: usize) -> usize {
        let size = sided.stack.size();
        let experts = self.rows_of(mixture) * size.rows * (size.columns + sided.columns());
        let router = self.pass.rows * mixture.choice.experts * self.pass.config.hidden_size;
        2 * (experts + routers * router)
    }
}
