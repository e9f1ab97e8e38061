//! predictions.jsonl of lora-eval: one line a row, with each model's answer and loss.
use crate::Error;
use crate::lines::{self, End};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;
use std::path::Path;

/// One row of the split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The row's id in the dataset.
    pub id: String,
    /// Rendered prompt.
    pub prompt: String,
    /// The completion without its end-of-turn token; none where no answer was generated.
    pub expected: Option<String>,
    /// Further right answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// Name and answer of each model, the base first; an object in the file.
    #[serde(serialize_with = "as_object", deserialize_with = "from_object")]
    pub models: Vec<(String, Answer)>,
}

/// One model on one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The greedy answer, if one was generated.
    pub text: Option<String>,
    /// True if it is what was expected.
    pub exact: Option<bool>,
    /// Its tokens.
    pub ids: Option<Vec<u32>>,
    /// What `--regex` took of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// Further answers to the same prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
    /// Its score by each metric of answers that has something to say of the row.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub scores: Map<String, Value>,
    /// −log p of the row's supervised tokens, summed, nats.
    pub nll: f64,
    /// Supervised tokens.
    pub tokens: usize,
    /// Supervised tokens that were the most probable.
    pub correct: usize,
}

impl Prediction {
    /// File name inside a report folder.
    pub const FILE_NAME: &str = "predictions.jsonl";

    /// What the model of that name answered.
    pub fn of(&self, model: &str) -> Option<&Answer> {
        let (_, answer) = self.models.iter().find(|(name, _)| name == model)?;
        Some(answer)
    }
}

/// The lines of `FOLDER/predictions.jsonl`.
///
/// # Errors
/// When there is no such file, and at a damaged line.
pub fn read_predictions(folder: &Path) -> Result<Vec<Prediction>, Error> {
    lines::read(&folder.join(Prediction::FILE_NAME), "lora-eval", End::Whole)
}

fn as_object<S: Serializer>(models: &[(String, Answer)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(models.len()))?;
    for (name, answer) in models {
        object.serialize_entry(name, answer)?;
    }
    object.end()
}

fn from_object<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, Answer)>, D::Error> {
    struct Models;
    impl<'de> Visitor<'de> for Models {
        type Value = Vec<(String, Answer)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of models")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut models = Vec::new();
            while let Some(entry) = map.next_entry()? {
                models.push(entry);
            }
            Ok(models)
        }
    }
    deserializer.deserialize_map(Models)
}
