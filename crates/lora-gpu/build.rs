//! With the feature `on-cpu`, compiles the kernels for the CPU, once for each precision. Without it there is nothing to do.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "on-cpu")]
    on_cpu::compile()?;
    Ok(())
}

#[cfg(feature = "on-cpu")]
#[path = "src/kernels.rs"]
mod kernels;

#[cfg(feature = "on-cpu")]
mod on_cpu {
    use crate::kernels::{BF16_NAMES, NAMES, SOURCES};
    use std::error::Error;
    use std::path::Path;
    use std::{env, fs};

    /// Kernels that are wrong on purpose, for tests of the stand-in itself.
    const FAULTY: [&str; 5] = [
        "faulty_barrier",
        "faulty_exchange",
        "faulty_end",
        "faulty_shared",
        "faulty_race",
    ];

    pub(super) fn compile() -> Result<(), Box<dyn Error>> {
        println!("cargo::rerun-if-changed=kernels");
        println!("cargo::rerun-if-changed=src/kernels.rs");
        let out = env::var("OUT_DIR")?;
        for (precision, defines_f32) in [("bf16", false), ("f32", true)] {
            let file = Path::new(&out).join(format!("kernels_{precision}.cpp"));
            let more = if defines_f32 { &[] } else { BF16_NAMES };
            fs::write(&file, source(precision, more))?;
            let mut build = cc::Build::new();
            build
                .cpp(true)
                .std("c++17")
                .opt_level(2)
                .flag_if_supported("-fno-strict-aliasing") // the same memory is read as one value and as four
                .flag_if_supported("-Wno-unknown-pragmas") // `#pragma unroll`
                .flag_if_supported("-Wno-unused-function")
                .include("kernels")
                .file(file);
            if defines_f32 {
                build.define("ACT_F32", None);
            }
            build.compile(&format!("kernels_{precision}"));
        }
        Ok(())
    }

    /// The kernels in a namespace without a name, so that both precisions can be linked, and the table of their entries.
    fn source(precision: &str, more: &[&str]) -> String {
        let faulty = include_str!("kernels/faulty.cu");
        let mut text = format!(
            "#include \"cuda_on_cpu.h\"\nnamespace {{\n{SOURCES}\n#line 1 \"faulty.cu\"\n{faulty}\n}}\n\
             extern \"C\" const OnCpuKernel lora_gpu_kernels_{precision}[] = {{\n"
        );
        for name in NAMES.iter().chain(more).chain(&FAULTY) {
            text += &format!("  {{\"{name}\", fibers::run<{name}>}},\n");
        }
        text + "  {nullptr, nullptr},\n};\n"
    }
}
