//! One step's names: params, and the outputs of steps above it.
use super::step::{Action, Earlier, InputPath, Param, Step};
use crate::file::{Source, StepFile};
use crate::secret::is_secret;
use crate::values::{Piece, nearest, pieces, scalar, shown};
use lora_cli::{Error, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What the names in one step may refer to.
pub(super) struct Scope<'a> {
    pub(super) source: &'a Source,
    pub(super) params: &'a [Param],
    pub(super) earlier: &'a Earlier,
    /// The step (or param) that is being resolved.
    pub(super) name: &'a str,
}

impl Scope<'_> {
    /// A step with its names filled in; its own name in this run and its place are still to be found.
    pub(super) fn step(&self, written: &StepFile) -> Result<Step> {
        let action = match (&written.tool, &written.run) {
            (Some(tool), _) => Action::Use(tool.clone()),
            (None, run) => Action::Run(run.clone().unwrap_or_default()),
        };
        let mut varies = BTreeSet::new();
        let mut inputs = Vec::new();
        for (key, value) in written.inputs.iter() {
            let paths = self.input(&["steps", self.name, "in", key], value, &mut varies)?;
            inputs.push((key.to_owned(), paths));
        }
        let mut with = Vec::new();
        for (key, value) in written.with.iter() {
            let listed = bounds(key, value);
            let value = listed.as_ref().unwrap_or(value);
            let (value, by) = self.value(&["steps", self.name, "with", key], value)?;
            varies.extend(by);
            with.push((key.to_owned(), value));
        }
        let mut needs = Vec::new();
        for name in &written.needs {
            let step = self.earlier_step(name).ok_or_else(|| {
                let name = name.trim_start_matches('$');
                self.unknown(&["steps", self.name, "needs"], name, self.earlier.names())
            })?;
            varies.extend(step.varies.iter().cloned());
            needs.push(step.id.clone());
        }
        let secrets = self.secrets(&with);
        let (name, id, out) = (self.name.to_owned(), String::new(), PathBuf::new());
        Ok(Step {
            name,
            id,
            action,
            inputs,
            with,
            needs,
            out,
            secrets,
            varies,
        })
    }

    /// Values that have a secret's name, among the params or under `with`.
    fn secrets(&self, with: &[(String, Value)]) -> Vec<String> {
        let params = self.params.iter().map(|param| (&param.name, &param.value));
        let named = params.chain(with.iter().map(|(name, value)| (name, value)));
        let secret = named.filter(|(name, _)| is_secret(name));
        secret.map(|(_, value)| shown(value)).collect()
    }

    /// A value with its params filled in: a lone `$name` keeps the param's type, within text it becomes text.
    pub(super) fn value(&self, at: &[&str], written: &Value) -> Result<(Value, BTreeSet<String>)> {
        const SCALARS: &str =
            "a value is a text, a number, true, false, or a list of these; `$$` is a plain `$`";
        let fail = |message: String| self.source.error_at(at, message).hint(SCALARS);
        match written {
            Value::Null => Err(fail("has no value".to_owned())),
            Value::Object(_) => Err(fail("can't be a mapping".to_owned())),
            Value::Array(items) => {
                let (mut values, mut varies) = (Vec::new(), BTreeSet::new());
                for item in items {
                    let (value, by) = self.value(at, item)?;
                    if value.is_array() {
                        return Err(fail("can't be a list of lists".to_owned()));
                    }
                    values.push(value);
                    varies.extend(by);
                }
                Ok((Value::Array(values), varies))
            }
            Value::String(text) => {
                let pieces = pieces(text).map_err(fail)?;
                if let [Piece::Name(name)] = pieces[..] {
                    let param = self.param(at, name)?;
                    return Ok((param.value.clone(), param.varies.clone()));
                }
                let (mut filled, mut varies) = (String::new(), BTreeSet::new());
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => filled += text,
                        Piece::Name(name) => {
                            let param = self.param(at, name)?;
                            filled += &shown(&param.value);
                            varies.extend(param.varies.iter().cloned());
                        }
                    }
                }
                Ok((Value::String(filled), varies))
            }
            other => Ok((other.clone(), BTreeSet::new())),
        }
    }

    /// The paths of one `in:` key.
    fn input(
        &self,
        at: &[&str],
        written: &Value,
        varies: &mut BTreeSet<String>,
    ) -> Result<Vec<InputPath>> {
        if let Value::Array(items) = written {
            let lists = items
                .iter()
                .map(|item| self.input(at, item, varies))
                .collect::<Result<Vec<_>>>()?;
            return Ok(lists.concat());
        }
        if let Value::String(text) = written
            && let Ok(found) = pieces(text)
            && let Some((Piece::Name(name), rest)) = found.split_first()
            && let Some(step) = self.earlier_step(name)
        {
            let mut path = step.out.to_string_lossy().into_owned();
            for piece in rest {
                match piece {
                    Piece::Text(text) => path += text,
                    Piece::Name(name) => {
                        let param = self.param(at, name)?;
                        path += &shown(&param.value);
                        varies.extend(param.varies.iter().cloned());
                    }
                }
            }
            varies.extend(step.varies.iter().cloned());
            return Ok(vec![InputPath {
                path: path.into(),
                from: Some(step.id.clone()),
            }]);
        }
        let (value, by) = self.value(at, written)?;
        varies.extend(by);
        let plain = |value: &Value| match scalar(value) {
            Some(text) if !text.is_empty() => Ok(InputPath {
                path: text.into(),
                from: None,
            }),
            _ => Err(self
                .source
                .error_at(at, "is not a path")
                .hint("name a file, a folder or a step above (`$prep`)")),
        };
        match &value {
            Value::Array(items) => items.iter().map(plain).collect(),
            one => Ok(vec![plain(one)?]),
        }
    }

    fn param(&self, at: &[&str], name: &str) -> Result<&Param> {
        let found = self.params.iter().find(|param| param.name == name);
        found.ok_or_else(|| match self.earlier_step(name) {
            Some(_) if at.contains(&"with") => {
                let error = self
                    .source
                    .error_at(at, format!("`${name}` is a step, not a param"));
                error.hint("a step's output is given under `in`")
            }
            Some(_) => {
                let error = self
                    .source
                    .error_at(at, format!("`${name}` must stand at the start of the path"));
                error.hint("`$prep/train.parquet` is a file in what step `prep` wrote")
            }
            None => self.unknown(
                at,
                name,
                self.params.iter().map(|param| param.name.as_str()),
            ),
        })
    }

    /// The error for a name that stands for nothing here.
    fn unknown<'c>(
        &'c self,
        at: &[&str],
        name: &str,
        candidates: impl Iterator<Item = &'c str>,
    ) -> Error {
        if name == self.name {
            let error = self
                .source
                .error_at(at, format!("`{name}` can't refer to itself"));
            return error.hint("a step may refer only to steps above it");
        }
        if self.source.file.steps.iter().any(|(step, _)| step == name) {
            let error = self
                .source
                .error_at(at, format!("`{name}` is a step further down"));
            return error.hint("a step may refer only to steps above it");
        }
        let error = self
            .source
            .error_at(at, format!("nothing is called `{name}`"));
        let candidates: Vec<&str> = candidates.chain(self.earlier.names()).collect();
        match nearest(name, candidates.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if candidates.is_empty() => {
                error.hint("no param and no step stands above; `$$` is a plain `$`")
            }
            None => error.hint(format!(
                "what stands above: {}; `$$` is a plain `$`",
                candidates.join(", ")
            )),
        }
    }

    fn earlier_step(&self, name: &str) -> Option<&Step> {
        self.earlier.get(name.trim_start_matches('$'))
    }
}

/// `gates: { rouge_l: ">= 0.4" }` as the list that the flag takes: `rouge_l >= 0.4`.
fn bounds(key: &str, written: &Value) -> Option<Value> {
    let bounds = written.as_object().filter(|_| key == "gates")?;
    let mut listed = Vec::new();
    for (metric, bound) in bounds {
        listed.push(Value::String(format!("{metric} {}", scalar(bound)?)));
    }
    Some(Value::Array(listed))
}

#[cfg(test)]
mod tests {
    use super::bounds;
    use serde_json::json;

    #[test]
    fn a_mapping_of_gates_is_a_list_of_bounds() {
        let gates = json!({"rouge_l": ">= 0.4", "loss": "<= base + $slack"});
        let listed = json!(["rouge_l >= 0.4", "loss <= base + $slack"]);
        assert_eq!(bounds("gates", &gates), Some(listed));
        assert_eq!(bounds("gates", &json!({"a": {"b": 1}})), None);
        assert_eq!(bounds("gates", &json!(["a > 1"])), None);
        assert_eq!(bounds("lr", &gates), None);
    }
}
