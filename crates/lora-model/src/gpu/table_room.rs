//! Memory for what trains at the embedding and at the head: what is held, and what a pass uses for a time.
use super::gains::VECTORS;
use super::table_needs::TableNeeds;
use lora_checkpoint::ModelConfig;
use lora_gpu::Dtype;

/// Bytes held beside the flat parameters, with activations of `act` bytes. Of an embedding A is looked up among the parameters,
/// but for DoRA's norms.
pub(super) fn held(needs: [TableNeeds; 2], config: &ModelConfig, act: usize) -> usize {
    let (h, v) = (config.hidden_size, config.vocab_size);
    let [embedding, head] = needs;
    of_table(embedding, (v, h), embedding.has_magnitudes, (h, act))
        + of_table(head, (h, v), true, (h, act))
}

fn of_table(
    needs: TableNeeds,
    (inputs, outputs): (usize, usize),
    holds_a: bool,
    (hidden, act): (usize, usize),
) -> usize {
    let TableNeeds { rows, columns, .. } = needs;
    let or_none = |is: bool, values: usize| if is { values } else { 0 };
    let whole = or_none(needs.is_whole, inputs * outputs);
    let a = or_none(holds_a, columns * inputs);
    let gains = VECTORS * outputs + outputs * columns + columns * columns;
    let f32s = or_none(needs.has_magnitudes, gains) + or_none(needs.trains_bias, outputs);
    act * (whole + rows * hidden + a + columns * outputs) + 4 * (rows + f32s)
}

/// What the embedding of T rows uses for a time: u of its factors, its gradient, and that of what they add to.
pub(super) fn of_embedding(
    needs: TableNeeds,
    (t, hidden): (usize, usize),
    activations: Dtype,
) -> [(Dtype, usize); 3] {
    let u = t * needs.columns;
    let dz = if needs.columns > 0 { t * hidden } else { 0 };
    [(activations, u), (Dtype::F32, u), (activations, dz)]
}

/// Pieces of [`of_head`].
pub(super) const OF_HEAD: usize = 9;

/// What a chunk of the head's rows uses for a time, beside its logits and their gradient: u of its factors, with dropout what
/// they see, and of DoRA what is left of it, and the gradient of what they see; z of DoRA and its gradient; logits of rows that
/// train, and their gradient.
pub(super) fn of_head(
    needs: TableNeeds,
    (config, count): (&ModelConfig, usize),
    drops: bool,
    activations: Dtype,
) -> [(Dtype, usize); OF_HEAD] {
    let or_none = |is: bool, width: usize| if is { count * width } else { 0 };
    let drops = drops && needs.columns > 0;
    let (scales, h) = (needs.has_magnitudes, config.hidden_size);
    let v = config.vocab_size;
    [
        (activations, count * needs.columns),
        (activations, count * needs.columns),
        (activations, or_none(drops, h)),
        (activations, or_none(drops && scales, h)),
        (Dtype::F32, or_none(drops, h)),
        (Dtype::F32, or_none(scales, v)),
        (activations, or_none(scales, v)),
        (Dtype::F32, count * needs.rows),
        (activations, count * needs.rows),
    ]
}
