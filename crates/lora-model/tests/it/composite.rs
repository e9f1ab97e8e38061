//! The composite route against PEFT's golden cases.
use crate::checks;
use crate::golden::{CASES, Golden};
use lora_model::{Composite, Route};

fn each(check: fn(&Golden, &mut dyn Route)) {
    for case in CASES {
        let golden = Golden::open(case);
        check(&golden, &mut Composite::new(&golden.base).unwrap());
    }
}

#[test]
fn logits() {
    each(checks::check_logits);
}

#[test]
fn gradients() {
    each(checks::check_gradients);
}

#[test]
fn trajectory() {
    each(checks::check_trajectory);
}

#[test]
fn packing() {
    each(checks::check_packing);
}

#[test]
fn edges() {
    each(checks::check_edges);
}

#[test]
fn dropout() {
    each(checks::check_dropout);
}
