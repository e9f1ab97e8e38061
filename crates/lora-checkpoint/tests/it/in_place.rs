//! Values that are lent where they lie are those that are read.
use crate::support::keep;
use lora_checkpoint::{Checkpoint, Error, GgufDtype, SaveDtype, save_folder, save_gguf};
use lora_testkit::golden;

/// Each weight of each family, in a folder and in GGUF, where q and k, stacks and columns lie in other orders.
#[test]
fn bfloat16_in_place_is_what_is_read() {
    let cases = std::fs::read_dir(golden("")).unwrap();
    let (mut lent, mut moved) = (0, 0);
    for case in cases {
        let base = case.unwrap().path().join("base");
        if !base.join("config.json").is_file() {
            continue;
        }
        let source = Checkpoint::open(&base).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        save_folder::<Error>(&folder, &source, SaveDtype::BF16, |_, _, _| Ok(())).unwrap();
        let file = dir.path().join("model.gguf");
        let mut paths = vec![folder];
        // What a format can't say is refused, which others test.
        if save_gguf(&file, &source, GgufDtype::BF16, "m", keep).is_ok() {
            paths.push(file);
        }
        for path in paths {
            let model = Checkpoint::open(&path).unwrap();
            for name in model.tensor_names() {
                let view = model.tensor(&name).unwrap();
                let Some(values) = view.as_bf16() else {
                    moved += usize::from(!view.lies_in_order());
                    continue;
                };
                let widened = values
                    .iter()
                    .map(|&value| u32::from(u16::from_le_bytes(value)) << 16);
                let read = view.to_f32();
                assert!(
                    widened.eq(read.iter().map(|value| value.to_bits())),
                    "{name} in {}",
                    path.display()
                );
                lent += 1;
            }
        }
    }
    assert!(lent > 1000 && moved > 50, "{lent} lent, {moved} moved");
}
