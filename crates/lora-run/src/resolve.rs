//! From a pipeline file to the steps that run: params and matrix filled in, references bound to earlier steps.
use crate::file::{Source, StepFile};
use crate::secret::is_secret;
use crate::values::{Piece, nearest, pieces, scalar, shown};
use lora_cli::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

/// A step with nothing left to look up.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Name in the file, and below `steps.` in errors.
    pub(crate) name: String,
    /// Unique name in this run: the name, and the matrix values that it depends on.
    pub(crate) id: String,
    pub(crate) action: Action,
    pub(crate) inputs: Vec<(String, Vec<InputPath>)>,
    pub(crate) with: Vec<(String, Value)>,
    pub(crate) needs: Vec<String>,
    /// Where it writes: `WORK/PIPELINE/ID`.
    pub(crate) out: PathBuf,
    /// Values that are told to it and to nobody else.
    pub(crate) secrets: Vec<String>,
    /// Matrix params that it depends on, through params and inputs.
    varies: BTreeSet<String>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Calls a tool.
    Use(String),
    /// Runs a shell line.
    Run(String),
}

/// One path under `in:`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InputPath {
    pub(crate) path: PathBuf,
    /// The step that writes it.
    pub(crate) from: Option<String>,
}

/// A param's value and the matrix params that it depends on.
#[derive(Debug, Clone)]
struct Param {
    name: String,
    value: Value,
    varies: BTreeSet<String>,
}

/// All steps of all combinations, in order; equal ones once. `set` are the `--set key=value` of the command line.
pub(crate) fn resolve(
    source: &Source,
    set: &[(String, Value)],
    work: &std::path::Path,
) -> Result<Vec<Step>> {
    let axes = axes(source, set)?;
    let mut steps: Vec<Step> = Vec::new();
    let mut of_name: HashMap<String, Vec<usize>> = HashMap::new();
    let mut taken = Taken::default();
    for combination in combinations(&axes) {
        let params = params(source, set, &combination)?;
        let mut here = Earlier::default();
        for (name, written) in source.file.steps.iter() {
            let mut step = Scope {
                source,
                params: &params,
                earlier: &here,
                name,
            }
            .step(written)?;
            let known = of_name.entry(step.name.clone()).or_default();
            let same = known.iter().find(|&&index| steps[index].same_as(&step));
            if let Some(&index) = same {
                here.push(steps[index].clone());
                continue;
            }
            step.id = taken.unique_id(&step, &combination);
            step.out = work.join(source.name()).join(&step.id);
            known.push(steps.len());
            steps.push(step.clone());
            here.push(step);
        }
    }
    Ok(steps)
}

/// The steps above the one that is being resolved.
#[derive(Debug, Default)]
struct Earlier {
    steps: Vec<Step>,
    by_name: HashMap<String, usize>,
}

impl Earlier {
    fn push(&mut self, step: Step) {
        self.by_name.insert(step.name.clone(), self.steps.len());
        self.steps.push(step);
    }

    fn get(&self, name: &str) -> Option<&Step> {
        self.steps.get(*self.by_name.get(name)?)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.name.as_str())
    }
}

impl Step {
    fn same_as(&self, other: &Self) -> bool {
        self.name == other.name
            && self.action == other.action
            && self.inputs == other.inputs
            && self.with == other.with
            && self.needs == other.needs
    }
}

/// The matrix, less the params that `--set` has fixed.
fn axes(source: &Source, set: &[(String, Value)]) -> Result<Vec<(String, Vec<Value>)>> {
    let known = || {
        let params = source.file.params.iter().map(|(name, _)| name);
        params.chain(source.file.matrix.iter().map(|(name, _)| name))
    };
    for (key, _) in set {
        if !known().any(|name| name == key) {
            let error = Error::new(format!(
                "--set {key}: {} has no param `{key}`",
                source.path.display()
            ));
            let names = known().collect::<Vec<_>>().join(", ");
            let hint = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("its params are {names}")
            };
            return Err(error.hint(hint));
        }
    }
    let free = |name: &str| !set.iter().any(|(key, _)| key == name);
    Ok(source
        .file
        .matrix
        .iter()
        .filter(|(name, _)| free(name))
        .map(|(n, v)| (n.to_owned(), v.clone()))
        .collect())
}

/// Every choice of one value an axis, the last axis moving fastest. Without axes: one empty choice.
fn combinations(axes: &[(String, Vec<Value>)]) -> Vec<Vec<(String, Value)>> {
    axes.iter()
        .fold(vec![Vec::new()], |chosen, (name, values)| {
            let with = |so_far: &Vec<(String, Value)>, value: &Value| {
                let mut longer = so_far.clone();
                longer.push((name.clone(), value.clone()));
                longer
            };
            chosen
                .iter()
                .flat_map(|so_far| values.iter().map(move |value| with(so_far, value)))
                .collect()
        })
}

/// Fills in the params, which may use matrix params and params above them.
fn params(
    source: &Source,
    set: &[(String, Value)],
    combination: &[(String, Value)],
) -> Result<Vec<Param>> {
    let axis = |(name, value): &(String, Value)| Param {
        name: name.clone(),
        value: value.clone(),
        varies: BTreeSet::from([name.clone()]),
    };
    let mut params: Vec<Param> = combination.iter().map(axis).collect();
    for (name, value) in set {
        params.push(Param {
            name: name.clone(),
            value: value.clone(),
            varies: BTreeSet::new(),
        });
    }
    for (name, written) in source.file.params.iter() {
        if !params.iter().any(|param| param.name == name) {
            let scope = Scope {
                source,
                params: &params,
                earlier: &Earlier::default(),
                name,
            };
            let (value, varies) = scope.value(&["params", name], written)?;
            params.push(Param {
                name: name.to_owned(),
                value,
                varies,
            });
        }
    }
    Ok(params)
}

/// What the names in one step may refer to.
struct Scope<'a> {
    source: &'a Source,
    params: &'a [Param],
    earlier: &'a Earlier,
    /// The step (or param) that is being resolved.
    name: &'a str,
}

impl Scope<'_> {
    fn step(&self, written: &StepFile) -> Result<Step> {
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
    fn value(&self, at: &[&str], written: &Value) -> Result<(Value, BTreeSet<String>)> {
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

/// What lora-run and the tools put behind a step's name for files of their own.
const SUFFIXES: [&str; 8] = [
    ".log",
    ".partial",
    ".partial.mark",
    ".kept",
    ".replaced.partial",
    ".step.json",
    ".attempt",
    ".receipt.json",
];

/// Longest name of a step, so that every file system takes it with each suffix.
const LONGEST_ID: usize = 160;

/// The name before what is numbered, or named after a key: `.kept-2`, `.log.1`, `.waiting-` and twelve hexadecimal digits.
fn before_family(id: &str) -> Option<&str> {
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let is_key = |text: &str| text.len() == 12 && text.chars().all(|c| c.is_ascii_hexdigit());
    [".kept-", ".log.", ".waiting-"].iter().find_map(|family| {
        let (before, rest) = id.rsplit_once(family)?;
        let fits = match *family {
            ".waiting-" => is_key(rest),
            _ => is_number(rest),
        };
        fits.then_some(before)
    })
}

/// Names that steps have, in small letters: some file systems take small and capital ones for the same.
#[derive(Debug, Default)]
struct Taken {
    ids: HashSet<String>,
    /// Names before a family: whoever is called so has files there.
    before: HashSet<String>,
}

impl Taken {
    /// True if an output of that name would stand where another, or a file of another's, stands, or the other way round.
    fn collides(&self, id: &str) -> bool {
        let id = id.to_lowercase();
        let stands_on = |suffix: &&str| {
            id.strip_suffix(*suffix)
                .is_some_and(|name| self.ids.contains(name))
                || self.ids.contains(&format!("{id}{suffix}"))
        };
        self.ids.contains(&id)
            || SUFFIXES.iter().any(stands_on)
            || self.before.contains(&id)
            || before_family(&id).is_some_and(|name| self.ids.contains(name))
    }

    /// `train`, or `train@lr=1e-4,rank=8` where it depends on the matrix; a number makes it unique.
    fn unique_id(&mut self, step: &Step, combination: &[(String, Value)]) -> String {
        let id = shortened(id(step, combination));
        let mut unique = id.clone();
        let mut number = 2;
        while self.collides(&unique) {
            unique = format!("{id}~{number}");
            number += 1;
        }
        let known = unique.to_lowercase();
        self.before.extend(before_family(&known).map(str::to_owned));
        self.ids.insert(known);
        unique
    }
}

/// A name that is too long keeps its beginning, and a hash of all of it.
fn shortened(id: String) -> String {
    if id.len() <= LONGEST_ID {
        return id;
    }
    let hash = lora_receipt::hash_bytes(id.as_bytes());
    let beginning: String = id.chars().take(LONGEST_ID - 20).collect();
    format!("{beginning}~{}", &hash[..16])
}

fn id(step: &Step, combination: &[(String, Value)]) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "._+-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let chosen = combination
        .iter()
        .filter(|(name, _)| step.varies.contains(name));
    let suffix: Vec<String> = chosen
        .map(|(name, value)| {
            format!(
                "{name}={}",
                shown(value).chars().map(safe).collect::<String>()
            )
        })
        .collect();
    if suffix.is_empty() {
        step.name.clone()
    } else {
        format!("{}@{}", step.name, suffix.join(","))
    }
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
