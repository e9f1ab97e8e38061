//! The tiny model's folder before its training: configuration, tokenizer and chat template.
use serde_json::json;
use std::error::Error;
use std::fs;
use std::path::Path;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::{digits::Digits, sequence::Sequence};
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer, models::TrainerWrapper};

/// Special tokens, with the ids 0, 1 and 2.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Upper bound; the trainer stops earlier when every word is one token.
const VOCABULARY: usize = 4096;
/// ChatML without a default system message.
const TEMPLATE: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
                        '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Writes `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja`, `config.json` and `generation_config.json`.
pub(crate) fn write(folder: &Path, texts: &[String]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let tokenizer = train_tokenizer(texts).map_err(|error| error.to_string())?;
    tokenizer
        .save(folder.join("tokenizer.json"), true)
        .map_err(|error| error.to_string())?;
    fs::write(folder.join("chat_template.jinja"), TEMPLATE)?;
    let [endoftext, im_start, im_end] = SPECIAL;
    write_json(
        &folder.join("tokenizer_config.json"),
        &json!({
            "add_prefix_space": false,
            "bos_token": im_start,
            "clean_up_tokenization_spaces": false,
            "eos_token": im_end,
            "model_max_length": 1024,
            "pad_token": im_end,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": endoftext,
        }),
    )?;
    write_json(
        &folder.join("generation_config.json"),
        &json!({ "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "do_sample": false }),
    )?;
    write_json(
        &folder.join("config.json"),
        &json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "head_dim": 32,
            "hidden_act": "silu",
            "hidden_size": 128,
            "initializer_range": 0.02,
            "intermediate_size": 384,
            "max_position_embeddings": 1024,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "num_key_value_heads": 2,
            "pad_token_id": 2,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-5,
            "rope_scaling": null,
            "rope_theta": 10000.0,
            "tie_word_embeddings": true,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.57.0",
            "use_cache": true,
            "vocab_size": tokenizer.get_vocab_size(true),
        }),
    )
}

/// Byte-level BPE with single digits, as SmolLM2's tokenizer has it (llama.cpp's pre-tokenizer `smollm`).
fn train_tokenizer(texts: &[String]) -> tokenizers::Result<Tokenizer> {
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer = Tokenizer::new(BPE::default());
    let pre_tokenizers = vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(byte_level),
    ];
    tokenizer.with_pre_tokenizer(Some(Sequence::new(pre_tokenizers)));
    tokenizer.with_decoder(Some(byte_level));
    let special = SPECIAL
        .map(|content| AddedToken::from(content, true))
        .to_vec();
    let trainer = BpeTrainer::builder()
        .vocab_size(VOCABULARY)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(special.clone())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(
        &mut TrainerWrapper::from(trainer),
        texts.iter().map(String::as_str),
    )?;
    tokenizer.add_special_tokens(special)?;
    Ok(tokenizer)
}

fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), Box<dyn Error>> {
    Ok(fs::write(
        path,
        serde_json::to_string_pretty(value)? + "\n",
    )?)
}
