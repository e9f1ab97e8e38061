//! Which file of a crate imports which, read from its tokens.
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Each file and those that it imports.
pub(crate) type Imports = BTreeMap<String, BTreeSet<String>>;

/// A module's place in the tree: the names of its ancestors and its own; empty for the root.
type Place = Vec<String>;

/// The sources of one crate.
pub(crate) struct Crate {
    modules: BTreeMap<Place, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    /// Names made by `use`, and the absolute paths that they stand for.
    names: BTreeMap<String, Place>,
    /// Modules of which all names are taken (`use path::*`).
    globs: Vec<Place>,
    /// All paths in the code as written, and those of `use` lines that pass nothing on.
    paths: Vec<Place>,
    /// Names that are passed on.
    passed_on: Vec<String>,
    /// How often each word stands in the code.
    words: BTreeMap<String, usize>,
}

impl Crate {
    /// The crate in a `src` folder.
    pub(crate) fn read(src: &Path) -> Self {
        let mut sources = Vec::new();
        walk(src, "", &mut sources);
        Self::of(sources)
    }

    /// The crate of these files, by their path below `src`.
    pub(crate) fn of(sources: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut modules = BTreeMap::new();
        let is_main = |path: &str| path == "main.rs";
        let sources: Vec<_> = sources
            .into_iter()
            .filter(|(path, _)| !is_main(path))
            .collect();
        for (path, _) in &sources {
            let module = Module {
                file: path.clone(),
                ..Module::default()
            };
            modules.insert(place(path), module);
        }
        let mut found = Self { modules };
        for (path, text) in sources {
            let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{path}: {e}"));
            found.scan(&place(&path), tokens);
        }
        found
    }

    pub(crate) fn files(&self) -> usize {
        let files: BTreeSet<&String> = self.modules.values().map(|module| &module.file).collect();
        files.len()
    }

    /// Which file imports which.
    pub(crate) fn imports(&self) -> Imports {
        let mut imports = Imports::new();
        for (at, module) in &self.modules {
            let targets = imports.entry(module.file.clone()).or_default();
            let used_here = |name: &&String| module.words.get(*name).copied().unwrap_or(0) > 1;
            let passed_on = module.passed_on.iter().filter(used_here).cloned();
            let passed_on = passed_on.map(|name| vec![name]);
            for written in module.paths.iter().cloned().chain(passed_on) {
                let path = self.absolute(at, &written);
                let file = path.and_then(|path| self.defined_in(&path, 0));
                targets.extend(file.filter(|file| *file != module.file));
            }
        }
        imports
    }

    /// The file that defines what an absolute path names; None if it leads out of the crate.
    fn defined_in(&self, path: &[String], depth: usize) -> Option<String> {
        let inside = (0..=path.len())
            .rev()
            .find(|&n| self.modules.contains_key(&path[..n]))?;
        let module = &self.modules[&path[..inside]];
        let Some(name) = path.get(inside).filter(|_| depth < 16) else {
            return Some(module.file.clone());
        };
        if let Some(target) = module.names.get(name) {
            let through: Place = target.iter().chain(&path[inside + 1..]).cloned().collect();
            return self.defined_in(&through, depth + 1);
        }
        let defines = |glob: &&Place| {
            let module = self.modules.get(*glob);
            module.is_some_and(|m| m.names.contains_key(name) || m.words.contains_key(name))
        };
        match module.globs.iter().find(defines) {
            Some(glob) if !module.words.contains_key(name) => {
                let through: Place = glob.iter().chain(&path[inside..]).cloned().collect();
                self.defined_in(&through, depth + 1)
            }
            _ => Some(module.file.clone()),
        }
    }

    /// Reads the tokens of the module at a place.
    fn scan(&mut self, at: &Place, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut i = 0;
        while i < tokens.len() {
            if is_for_tests(&tokens[i..]) {
                i = end_of_item(&tokens, i + 2);
                continue;
            }
            i = match word(&tokens, i).as_deref() {
                Some("mod") => self.module(at, &tokens, i),
                Some("use") => self.import(at, &tokens, i),
                Some(_) => self.path(at, &tokens, i),
                None => {
                    if let TokenTree::Group(group) = &tokens[i] {
                        self.scan(at, group.stream());
                    }
                    i + 1
                }
            };
        }
    }

    /// `mod name;` or `mod name { … }`, whose names are a module of the same file.
    fn module(&mut self, at: &Place, tokens: &[TokenTree], i: usize) -> usize {
        let (Some(name), Some(TokenTree::Group(body))) = (word(tokens, i + 1), tokens.get(i + 2))
        else {
            return i + 1;
        };
        let mut inner = at.clone();
        inner.push(name);
        let file = self.modules[at].file.clone();
        self.modules.insert(
            inner.clone(),
            Module {
                file,
                ..Module::default()
            },
        );
        self.scan(&inner, body.stream());
        i + 3
    }

    /// `use …;`: each name that it makes, and the path behind it.
    fn import(&mut self, at: &Place, tokens: &[TokenTree], i: usize) -> usize {
        let end = end_of_item(tokens, i);
        let before = &tokens[i.saturating_sub(2)..i];
        let passes_on = before
            .iter()
            .any(|token| matches!(token, TokenTree::Ident(word) if word == "pub"));
        let mut leaves = Vec::new();
        use_tree(&tokens[i + 1..end - 1], &Vec::new(), &mut leaves);
        for (written, name) in leaves {
            let Some(path) = self.absolute(at, &written) else {
                continue;
            };
            let is_module = name.is_some() && self.modules.contains_key(&path); // what is used of it counts
            let module = self
                .modules
                .get_mut(at)
                .expect("the module that is scanned");
            match name {
                None => module.globs.push(path.clone()),
                Some(name) => {
                    *module.words.entry(name.clone()).or_default() += 1;
                    if passes_on {
                        module.passed_on.push(name.clone());
                    }
                    module.names.insert(name, path.clone());
                }
            }
            if !(passes_on || is_module) {
                module.paths.push(written);
            }
        }
        end
    }

    /// A word in the code, or a path that begins with it.
    fn path(&mut self, at: &Place, tokens: &[TokenTree], mut i: usize) -> usize {
        let mut written = Place::new();
        while let Some(name) = word(tokens, i) {
            written.push(name);
            i += 1;
            if !is_double_colon(tokens, i) || word(tokens, i + 2).is_none() {
                break;
            }
            i += 2;
        }
        let module = self
            .modules
            .get_mut(at)
            .expect("the module that is scanned");
        *module.words.entry(written[0].clone()).or_default() += 1;
        if written.len() > 1 {
            module.paths.push(written);
        }
        i
    }

    /// The absolute form of a path written in a module, if it leads into this crate.
    fn absolute(&self, at: &Place, written: &[String]) -> Option<Place> {
        let child = |name: &String| [at.as_slice(), std::slice::from_ref(name)].concat();
        let (mut base, rest) = match written.first()?.as_str() {
            "crate" => (Place::new(), &written[1..]),
            "self" => (at.clone(), &written[1..]),
            "super" => (at.clone(), written),
            name => match self.modules[at].names.get(name) {
                Some(target) => (target.clone(), &written[1..]),
                None if self.modules.contains_key(&child(&written[0])) => (at.clone(), written),
                None => return None,
            },
        };
        let ups = rest.iter().take_while(|name| *name == "super").count();
        base.truncate(base.len().saturating_sub(ups));
        base.extend_from_slice(&rest[ups..]);
        Some(base)
    }
}

/// The groups of files that import each other, each sorted; every file of a group reaches every other.
pub(crate) fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = imports
        .keys()
        .map(|file| (file, reach(imports, file)))
        .collect();
    let circle = |file: &String| -> Vec<String> {
        let back = reached[file]
            .iter()
            .filter(|other| reached[**other].contains(file));
        back.map(|other| (*other).clone()).collect()
    };
    let all: BTreeSet<Vec<String>> = imports.keys().map(circle).filter(|c| c.len() > 1).collect();
    all.into_iter().collect()
}

fn reach<'i>(imports: &'i Imports, from: &String) -> BTreeSet<&'i String> {
    let mut reached: BTreeSet<&String> = BTreeSet::new();
    let mut next: Vec<&String> = imports[from].iter().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(imports.get(file).into_iter().flatten());
        }
    }
    reached
}

/// What `use` makes of a tree: absolute or relative paths as written, each with the name it gets, None for `*`.
fn use_tree(tokens: &[TokenTree], before: &Place, leaves: &mut Vec<(Place, Option<String>)>) {
    for branch in tokens.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ',')) {
        let mut path = before.clone();
        let mut i = 0;
        while let Some(name) = word(branch, i).filter(|name| name != "as") {
            path.push(name);
            i += if is_double_colon(branch, i + 1) { 3 } else { 1 };
        }
        match branch.get(i) {
            Some(TokenTree::Group(group)) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                use_tree(&inner, &path, leaves);
            }
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => leaves.push((path, None)),
            _ if path.is_empty() => {}
            renamed => {
                if path.len() > 1 && path.last().is_some_and(|name| name == "self") {
                    path.pop();
                }
                let renamed = renamed.and_then(|_| word(branch, i + 1));
                let name = renamed.or_else(|| path.last().cloned());
                leaves.push((path, name));
            }
        }
    }
}

fn word(tokens: &[TokenTree], i: usize) -> Option<String> {
    match tokens.get(i) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_punct(tokens: &[TokenTree], i: usize, sign: char) -> bool {
    matches!(tokens.get(i), Some(TokenTree::Punct(p)) if p.as_char() == sign)
}

fn is_double_colon(tokens: &[TokenTree], i: usize) -> bool {
    is_punct(tokens, i, ':') && is_punct(tokens, i + 1, ':')
}

/// `#[cfg(test)]`.
fn is_for_tests(tokens: &[TokenTree]) -> bool {
    match tokens.get(1) {
        Some(TokenTree::Group(group)) if is_punct(tokens, 0, '#') => {
            group.stream().to_string().replace(' ', "") == "cfg(test)"
        }
        _ => false,
    }
}

/// Behind the `;` or the braces that end the item at `i`.
fn end_of_item(tokens: &[TokenTree], i: usize) -> usize {
    let is_use = tokens[i..]
        .iter()
        .take(3)
        .any(|t| matches!(t, TokenTree::Ident(w) if *w == "use"));
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(p) => p.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !is_use,
        _ => false,
    };
    tokens[i..]
        .iter()
        .position(ends)
        .map_or(tokens.len(), |n| i + n + 1)
}

/// The module that a file is: `a/b.rs` and `a/b/mod.rs` are `a::b`, lib.rs is the root.
fn place(path: &str) -> Place {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/')
        .filter(|name| *name != "lib")
        .map(str::to_owned)
        .collect()
}

fn walk(folder: &Path, below: &str, sources: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), sources);
        } else if name.ends_with(".rs") {
            sources.push((name, std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
}
