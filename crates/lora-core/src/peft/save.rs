//! PEFT's folder written, byte for byte as PEFT writes it.
use crate::layout::AdapterTensor;
use crate::{Adapter, CONFIG_FILE, Error, Layout, WEIGHTS_FILE};
use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

impl Adapter {
    /// Writes adapter_config.json and adapter_model.safetensors into an existing folder, as PEFT does; an adapter that took
    /// something out of the base as the plain LoRA that it amounts to.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        self.save_as(&self.params, dir)
    }

    /// The same with other values than its own, without a copy of them.
    ///
    /// # Errors
    /// As for [`Adapter::save`].
    pub fn save_as(&self, params: &[f32], dir: &Path) -> Result<(), Error> {
        if let Some(plain) = self.plain(params)? {
            return plain.save(dir);
        }
        let config_path = dir.join(CONFIG_FILE);
        std::fs::write(&config_path, self.config.to_json())
            .map_err(Error::io("write", &config_path))?;
        let path = dir.join(WEIGHTS_FILE);
        self.write_safetensors(params, &path).map_err(|e| match e {
            safetensors::SafeTensorError::IoError(e) => Error::io("write", &path)(e),
            e => Error::invalid(&path, e.to_string()),
        })
    }

    fn write_safetensors(
        &self,
        params: &[f32],
        path: &Path,
    ) -> Result<(), safetensors::SafeTensorError> {
        let views = self.tensors().into_iter().map(|tensor| {
            let values = &params[tensor.range.clone()];
            (tensor.name.clone(), InFile { tensor, values })
        });
        let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
        safetensors::serialize_to_file(views, Some(metadata), path)
    }
}

/// A tensor as the file holds it, made when it is written: factors of experts lie otherwise in memory.
struct InFile<'p> {
    tensor: AdapterTensor,
    values: &'p [f32],
}

impl View for InFile<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.tensor.to_file(self.values) {
            Cow::Borrowed(values) => Cow::Borrowed(bytemuck::cast_slice(values)),
            Cow::Owned(values) => Cow::Owned(bytemuck::cast_slice(&values).to_vec()),
        }
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

impl Layout {
    /// Bytes of the adapter_model.safetensors that [`Adapter::save`] writes.
    pub fn file_bytes(&self) -> u64 {
        let mut tensors = self.tensors();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let mut header = r#"{"__metadata__":{"format":"pt"}}"#.len() as u64;
        let mut end = 0u64;
        for AdapterTensor { name, shape, .. } in &tensors {
            let start = end;
            end += 4 * shape.iter().map(|&d| d as u64).product::<u64>();
            let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
            let shape = shape.join(",");
            let entry = format!(
                r#","{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[{start},{end}]}}"#
            );
            header += entry.len() as u64;
        }
        8 + header.next_multiple_of(8) + end
    }
}
