//! Numbers for people.

/// PEFT's summary line (`print_trainable_parameters`) of `trainable` parameters, of which `added` are not the base's own, on a
/// base of `base` parameters, e.g.
/// `trainable params: 3,407,872 || all params: 8,033,669,120 || trainable%: 0.0424`.
pub fn trainable_line(trainable: u64, added: u64, base: u64) -> String {
    let all = added.saturating_add(base);
    let percent = if all == 0 {
        0.0
    } else {
        100.0 * trainable as f64 / all as f64
    };
    format!(
        "trainable params: {} || all params: {} || trainable%: {percent:.4}",
        thousands(trainable),
        thousands(all)
    )
}

/// A count with thousands separators, e.g. `3,407,872`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
