//! A mixture of experts in a layer on the device, forward and backward. The weights of router and experts are frozen: gradients
//! pass through what is chosen and through its weights.
//!
//! The router's logits come to the host, which chooses as on the CPU and sends back which row is whose: the queue of the device
//! is waited for once in each layer, twice in its backward pass. Logits are kept, and the backward pass chooses by them again.
//! Each expert then multiplies the rows that are its own, one after the other.
use super::mixture::{Mixture, Stack};
use super::pass::LayerPass;
use super::scratch::Saved;
use lora_gpu::{Error, Gpu, Mat, Product, Slots, Tensor, Write};
use lora_kernels::experts::{Routing, score};
use lora_kernels::profile::Part;

/// Which way rows pass a matrix (out, in).
#[derive(Clone, Copy)]
enum Way {
    Forward,
    Backward,
}

/// Where the tokens of a layer went.
struct Chosen {
    routing: Routing,
    /// What the router made of its logits, (T, E).
    probabilities: Vec<f32>,
}

impl Chosen {
    /// The rows of each expert in `from` times its matrix or, forward, the transpose of it, go to `to`.
    fn multiply(
        &self,
        gpu: &Gpu,
        (stack, wide): (&Stack, &Tensor),
        way: Way,
        from: Mat<'_>,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        for (expert, rows) in self.routing.ranges() {
            let matrix = stack.matrix(gpu, expert, wide)?;
            let from = from.of_rows(rows.clone());
            let matrix = match way {
                Way::Forward => matrix.t(),
                Way::Backward => matrix.n(),
            };
            gpu.gemm(Product::new(from.n(), matrix, to.of_rows(rows)))?;
        }
        Ok(())
    }
}

impl<'p> LayerPass<'p> {
    /// Rows of all tokens, T·k.
    fn rows_of(self, mixture: &Mixture) -> usize {
        self.pass.rows * mixture.choice.chosen
    }

    /// Floating-point operations of products with so many matrices of the chosen experts, and with the router.
    fn expert_operations(self, mixture: &Mixture, matrices: usize, routers: usize) -> usize {
        let experts = matrices * self.rows_of(mixture) * mixture.width();
        let router = routers * self.pass.rows * mixture.choice.experts;
        2 * self.pass.config.hidden_size * (experts + router)
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

    /// activation(gate)∘up of the chosen experts, in the scratch, (T·k, I).
    fn activate_experts(self, mixture: &Mixture, saved: &Saved) -> Result<Mat<'p>, Error> {
        let (rows, width) = (self.rows_of(mixture), mixture.width());
        let activated = self.scratch.experts.activated.mat(rows, width);
        let gate_up = self.expert_gate_up(mixture, saved);
        self.pass.timed(Part::Activation, 0, || {
            mixture.unit.forward(self.pass.gpu, gate_up, activated)
        })?;
        Ok(activated)
    }

    /// x (T, H) += what the chosen experts give for n (T, H).
    pub(super) fn add_experts(
        self,
        mixture: &Mixture,
        n: Mat<'_>,
        x: Mat<'_>,
        saved: &Saved,
    ) -> Result<(), Error> {
        let (gpu, wide) = (self.pass.gpu, &self.scratch.wide);
        let scratch = &self.scratch.experts;
        let rows = scratch.rows.mat(self.rows_of(mixture), n.columns());
        let operations = self.expert_operations(mixture, 2, 1);
        let chosen = self.pass.timed(Part::LinearForward, operations, || {
            let logits = saved.router.mat(n.rows(), mixture.choice.experts);
            gpu.gemm(Product::new(n.n(), mixture.router().t(), logits))?; // (T, H) -> (T, E)
            if let Some(biases) = &mixture.biases {
                gpu.add_bias(&biases.router, 0, 1.0, logits)?;
            }
            let chosen = self.choose(mixture, saved)?;
            if let Some(balancing) = &self.pass.balancing {
                let Chosen {
                    routing,
                    probabilities,
                } = &chosen;
                balancing.count(probabilities, routing, mixture.choice);
            }
            gpu.gather(n, &scratch.tokens, 0, rows)?; // -> (T·k, H)
            let to = self.expert_gate_up(mixture, saved);
            chosen.multiply(gpu, (&mixture.gate_up, wide), Way::Forward, rows, to)?; // -> (T·k, 2·I)
            if let Some(biases) = &mixture.biases {
                gpu.add_bias_of(&biases.gate_up, &scratch.experts, to)?;
            }
            Ok(chosen)
        })?;
        let activated = self.activate_experts(mixture, saved)?;
        let operations = self.expert_operations(mixture, 1, 0);
        self.pass.timed(Part::LinearForward, operations, || {
            chosen.multiply(gpu, (&mixture.down, wide), Way::Forward, activated, rows)?; // (T·k, I) -> (T·k, H)
            if let Some(biases) = &mixture.biases {
                gpu.add_bias_of(&biases.down, &scratch.experts, rows)?;
            }
            let slots = self.slots(mixture, true);
            gpu.combine(rows, slots, self.residual_multiplier(), x, Write::Add)
        })
    }

    /// From the gradient dy (T, H) of what the experts give that of what they and the router read, `dn` (T, H). What `saved`
    /// keeps of gates and ups becomes its gradient.
    pub(super) fn experts_backward(
        self,
        mixture: &Mixture,
        dy: Mat<'_>,
        (dn, write): (Mat<'_>, Write),
        saved: &Saved,
    ) -> Result<(), Error> {
        let (gpu, wide) = (self.pass.gpu, &self.scratch.wide);
        let scratch = &self.scratch.experts;
        let chosen = self.choose(mixture, saved)?;
        let activated = self.activate_experts(mixture, saved)?;
        let rows = scratch.rows.mat(self.rows_of(mixture), dy.columns());
        let d = scratch
            .d_activated
            .mat(activated.rows(), activated.columns());
        let operations = self.expert_operations(mixture, 1, 0);
        self.pass.timed(Part::LinearBackward, operations, || {
            gpu.gather(dy, &scratch.tokens, 0, rows)?;
            chosen.multiply(gpu, (&mixture.down, wide), Way::Backward, rows, d)?; // (T·k, H) -> (T·k, I)
            gpu.weigh(d, activated, &scratch.weights, &scratch.d_weights)?;
            match &mixture.biases {
                Some(biases) => {
                    let dots = &scratch.d_weights;
                    gpu.add_bias_dots(&biases.down, &scratch.experts, rows, dots)
                }
                None => Ok(()),
            }
        })?;
        let gate_up = self.expert_gate_up(mixture, saved);
        self.pass.timed(Part::Activation, 0, || {
            mixture.unit.backward(gpu, gate_up, d)
        })?;
        let operations = self.expert_operations(mixture, 2, 1);
        self.pass.timed(Part::LinearBackward, operations, || {
            chosen.multiply(gpu, (&mixture.gate_up, wide), Way::Backward, gate_up, rows)?; // (T·k, 2·I) -> (T·k, H)
            gpu.combine(rows, self.slots(mixture, false), 1.0, dn, write)?;
            self.router_backward(mixture, &chosen, dn)
        })
    }

    /// dn (T, H) += the gradient through the weights of the choice.
    fn router_backward(self, mixture: &Mixture, chosen: &Chosen, dn: Mat<'_>) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let scratch = &self.scratch.experts;
        let Chosen {
            routing,
            probabilities,
        } = chosen;
        let mut d_weights = vec![0.0f32; routing.len()];
        gpu.download(&scratch.d_weights, &mut d_weights)?;
        let mut d_logits = vec![0.0f32; probabilities.len()];
        routing.logit_gradients(probabilities, &d_weights, mixture.choice, &mut d_logits);
        if let Some(balancing) = &self.pass.balancing {
            balancing.add_logit_gradients(probabilities, &mut d_logits);
        }
        gpu.upload(&d_logits, &scratch.d_logits, 0)?;
        let shape = (self.pass.rows, mixture.choice.experts);
        let d = scratch.d_router.mat(shape.0, shape.1);
        gpu.convert(scratch.d_logits.mat(shape.0, shape.1), 1.0, d)?;
        gpu.gemm(Product::new(d.n(), mixture.router().n(), dn).adding()) // (T, E) -> += (T, H)
    }
}
