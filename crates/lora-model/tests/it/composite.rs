//! The composite route against PEFT's golden cases.
use crate::golden::{self, CASES, Golden};
use lora_model::{Composite, Route};

fn each(check: fn(&Golden, &mut dyn Route)) {
    for case in CASES {
        let golden = Golden::open(case);
        check(&golden, &mut Composite::new(&golden.base).unwrap());
    }
}

#[test]
fn logits() {
    each(golden::check_logits);
}

#[test]
fn gradients() {
    each(golden::check_gradients);
}

#[test]
fn trajectory() {
    each(golden::check_trajectory);
}

#[test]
fn packing() {
    each(golden::check_packing);
}

#[test]
fn edges() {
    each(golden::check_edges);
}

#[test]
fn dropout() {
    each(golden::check_dropout);
}
