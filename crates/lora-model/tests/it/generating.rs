//! Generation by the fused route.
use crate::fused::{beginnings_in_common, rows};
use crate::golden::{CASES, Golden};
use lora_model::{Decoding, Fused, Generate as _, Packed, Route as _, Sampling};
use std::ops::ControlFlow;

#[test]
fn generation_is_the_argmax_of_the_logits_one_token_at_a_time() {
    for name in CASES {
        let case = Golden::open(name);
        let v = case.base.config().vocab_size;
        let mut route = Fused::new(&case.base, 2).unwrap();
        let prompts: Vec<Vec<u32>> = rows(&case.packed)
            .iter()
            .map(|r| r.input_ids[..4 + r.tokens() % 3].to_vec())
            .collect();
        let together: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let got = route
            .generate(Some(&case.adapter), &together, 6, &[])
            .unwrap();
        for (prompt, got) in prompts.iter().zip(&got) {
            let mut ids = prompt.clone();
            for &token in got {
                let logits = route
                    .logits(Some(&case.adapter), &Packed::of_ids(&ids))
                    .unwrap();
                assert_eq!(
                    lora_kernels::vector::argmax(&logits[logits.len() - v..]) as u32,
                    token
                );
                ids.push(token);
            }
            assert_eq!(got.len(), 6);
            let stopped = route
                .greedy(Some(&case.adapter), prompt, 6, &got[2..3])
                .unwrap();
            let first = got.iter().position(|t| *t == got[2]).unwrap();
            assert_eq!(stopped, got[..first], "a stop id ends it and is left out");
        }
    }
}

#[test]
fn an_empty_prompt_is_an_error() {
    let case = Golden::open(CASES[0]);
    assert!(
        Fused::new(&case.base, 1)
            .unwrap()
            .generate(None, &[&[]], 1, &[])
            .is_err()
    );
}

#[test]
fn prompts_with_a_common_beginning_are_continued_as_each_alone() {
    for name in CASES {
        let case = Golden::open(name);
        let packed = beginnings_in_common(case.base.config().vocab_size as u32);
        let prompts: Vec<&[u32]> = packed
            .starts
            .windows(2)
            .map(|w| &packed.input_ids[w[0]..w[1]])
            .collect();
        let mut route = Fused::new(&case.base, 2).unwrap();
        let together = route
            .generate(Some(&case.adapter), &prompts, 9, &[2])
            .unwrap();
        for (prompt, answer) in prompts.iter().zip(&together) {
            assert_eq!(
                answer,
                &route.greedy(Some(&case.adapter), prompt, 9, &[2]).unwrap()
            );
        }
    }
}

/// Draws hang on a prompt's own stream: neither company nor order of prompts changes them.
#[test]
fn drawn_texts_are_the_same_alone_and_in_company() {
    let case = Golden::open(CASES[0]);
    let packed = beginnings_in_common(case.base.config().vocab_size as u32);
    let ids = packed
        .starts
        .windows(2)
        .map(|w| &packed.input_ids[w[0]..w[1]]);
    let prompts: Vec<&[u32]> = ids.collect();
    let streams: Vec<_> = (0..prompts.len())
        .map(|n| Sampling::stream(5, &n.to_string()))
        .collect();
    let mut route = Fused::new(&case.base, 2).unwrap();
    let mut drawn = |prompts: &[&[u32]], streams: &[_]| {
        let how = Decoding {
            max_new_tokens: 9,
            stop: &[2],
            sampling: Sampling {
                temperature: 1.0,
                top_p: 0.95,
                ..Sampling::GREEDY
            },
            streams,
        };
        let mut watch = |_: usize, _: &[u32]| ControlFlow::Continue(());
        route
            .decode(Some(&case.adapter), prompts, &how, &mut watch)
            .unwrap()
    };
    let together = drawn(&prompts, &streams);
    for (at, prompt) in prompts.iter().enumerate() {
        assert_eq!(drawn(&[prompt], &streams[at..=at])[0], together[at]);
    }
    let turned: Vec<&[u32]> = prompts.iter().rev().copied().collect();
    let turned_streams: Vec<_> = streams.iter().rev().cloned().collect();
    let turned: Vec<_> = drawn(&turned, &turned_streams).into_iter().rev().collect();
    assert_eq!(turned, together);
    assert!(together.iter().any(|text| text != &together[0]));
}

#[test]
fn a_watch_ends_its_own_text_alone() {
    let case = Golden::open(CASES[0]);
    let prompts: [&[u32]; 2] = [&[5, 6, 7], &[8, 9]];
    let mut route = Fused::new(&case.base, 1).unwrap();
    let whole = route.generate(None, &prompts, 6, &[]).unwrap();
    let how = Decoding::greedy(6, &[]);
    let mut watch = |number: usize, text: &[u32]| match number == 0 && text.len() == 2 {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let cut = route.decode(None, &prompts, &how, &mut watch).unwrap();
    assert_eq!((&cut[0][..], &cut[1]), (&whole[0][..2], &whole[1]));
    let drawn = Decoding {
        sampling: Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        },
        ..how
    };
    let without_streams = route.decode(None, &prompts, &drawn, &mut watch);
    assert!(without_streams.is_err());
}
