//! Adapters: the GGUF LoRA holds the golden adapter's A and B, q and k permuted, at the same scaling.
use crate::harness::{export, golden, receipt};
use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use lora_core::Adapter;
use lora_model::Base;

#[test]
fn a_golden_adapter_is_written_as_llama_cpp_reads_it() {
    for case in ["llama_gqa_tied", "llama_rope3_rslora"] {
        let dir = tempfile::tempdir().unwrap();
        let (base, adapter) = (
            golden(&format!("{case}/base")),
            golden(&format!("{case}/adapter")),
        );
        receipt(&export(
            dir.path(),
            &["--adapter", &adapter, "--base", &base, "--out", "a.gguf"],
        ));
        let mut file = std::fs::File::open(dir.path().join("a.gguf")).unwrap();
        let content = gguf_file::Content::read(&mut file).unwrap();
        let text = |key: &str| content.metadata[key].to_string().unwrap().clone();
        assert_eq!(text("general.type"), "adapter");
        assert_eq!(text("adapter.type"), "lora");
        assert_eq!(text("general.architecture"), "llama");
        let alpha = content.metadata["adapter.lora.alpha"].to_f32().unwrap();

        let base = Base::open(base.as_ref()).unwrap();
        let head_dim = base.checkpoint().config().head_dim;
        let (adapter, _) = Adapter::load(adapter.as_ref(), &base).unwrap();
        assert_eq!(content.tensor_infos.len(), 2 * adapter.modules.len());
        let mut permuted = 0;
        for (index, module) in adapter.modules.iter().enumerate() {
            assert!((alpha / module.rank as f32 - module.scaling).abs() < 1e-6 * module.scaling);
            let name = lora_checkpoint::gguf::tensor_name(
                base.config(),
                &format!("{}.weight", module.path),
            )
            .unwrap();
            let mut read = |suffix: &str| {
                let tensor = content
                    .tensor(&mut file, &format!("{name}.{suffix}"), &Device::Cpu)
                    .unwrap();
                tensor.dequantize(&Device::Cpu).unwrap()
            };
            let (a, mut b) = (read("lora_a"), read("lora_b"));
            assert_eq!(a.dims(), [module.rank, module.in_features]);
            assert_eq!(b.dims(), [module.out_features, module.rank]);
            if module.path.ends_with("q_proj") || module.path.ends_with("k_proj") {
                let heads = module.out_features / head_dim;
                b = b
                    .reshape((heads, head_dim / 2, 2, module.rank))
                    .unwrap()
                    .transpose(1, 2)
                    .unwrap()
                    .contiguous()
                    .unwrap();
                permuted += 1;
            }
            let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(
                (values(&a).as_slice(), values(&b).as_slice()),
                adapter.factors(index),
                "{}",
                module.path
            );
        }
        assert!(permuted >= 2);
    }
}
