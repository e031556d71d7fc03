//! The dependencies between source files as a graph, read from their text.

use std::collections::{BTreeMap, BTreeSet};

/// The source files: path from `src/`, and code without comments and tests.
pub type Sources = BTreeMap<String, String>;

/// For each file, the files that it names.
pub type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// Reads the dependencies between files. A re-export (`pub use`) is not counted as one.
pub fn dependencies(sources: &Sources) -> Dependencies {
    let modules: BTreeMap<Vec<String>, String> = sources.keys().map(|file| (module_of(file), file.clone())).collect();
    let exports: BTreeMap<_, _> = sources.iter().map(|(file, code)| (module_of(file), exports_of(code))).collect();
    let mut dependencies = Dependencies::new();
    for (file, code) in sources {
        let own = module_of(file);
        let mut named = BTreeSet::new();
        for path in paths(code) {
            if let Some(path) = absolute(&own, &path, &modules) {
                named.extend(resolve(&path, &modules, &exports));
            }
        }
        named.remove(file);
        dependencies.insert(file.clone(), named);
    }
    dependencies
}

/// The cycles: sets of files that depend on each other.
pub fn cycles(dependencies: &Dependencies) -> Vec<BTreeSet<String>> {
    let reaches: BTreeMap<_, _> = dependencies.keys().map(|file| (file, reachable(file, dependencies))).collect();
    let mut cycles = Vec::new();
    for (file, reached) in &reaches {
        let circle: BTreeSet<_> =
            reached.iter().filter(|other| reaches.get(other).is_some_and(|back| back.contains(*file))).cloned().collect();
        if circle.len() > 1 && !cycles.contains(&circle) {
            cycles.push(circle);
        }
    }
    cycles
}

fn reachable(file: &str, dependencies: &Dependencies) -> BTreeSet<String> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![file.to_owned()]);
    while let Some(file) = open.pop() {
        for next in dependencies.get(&file).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}

/// `store/engine/mod.rs` is the module `store::engine`; `lib.rs` is the root.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// All paths that code names: those of `use`, expanded, and those in the code itself.
fn paths(code: &str) -> Vec<Vec<String>> {
    let (mut paths, mut rest) = (Vec::new(), String::with_capacity(code.len()));
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        let (is_use, is_export) = (trimmed.starts_with("use "), trimmed.starts_with("pub") && trimmed.contains(" use "));
        if !is_use && !is_export {
            rest.push_str(line);
            rest.push('\n');
            continue;
        }
        let mut tree = trimmed.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().unwrap_or(";"));
        }
        if is_use {
            expand(tree.trim_start_matches("use ").trim_end_matches(';'), &[], &mut paths);
        }
    }
    for word in rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        if word.contains("::") && !word.starts_with("::") {
            paths.push(word.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
    }
    paths
}

/// The names that a file re-exports, with the path of each.
fn exports_of(code: &str) -> BTreeMap<String, Vec<String>> {
    let mut exports = BTreeMap::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if !(line.starts_with("pub") && line.contains(" use ")) {
            continue;
        }
        let mut tree = line[line.find(" use ").expect("just seen") + 5..].to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().unwrap_or(";"));
        }
        let mut paths = Vec::new();
        expand(tree.trim_end_matches(';'), &[], &mut paths);
        for path in paths {
            if let Some(name) = path.last() {
                exports.insert(name.clone(), path);
            }
        }
    }
    exports
}

/// The paths of a `use` tree.
fn expand(tree: &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree);
        let parts = name.split("::").map(str::trim).filter(|part| !part.is_empty() && *part != "self").map(str::to_owned);
        paths.push(before.iter().cloned().chain(parts).collect());
        return;
    };
    let prefix: Vec<_> =
        before.iter().cloned().chain(tree[..open].split("::").map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned)).collect();
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut begun) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[begun..at].trim().is_empty() {
                    expand(&inner[begun..at], &prefix, paths);
                }
                begun = at + 1;
            }
            _ => {}
        }
    }
}

/// The path from the crate's root, if it leads into the crate: by `crate`, by `super`, or to a child module.
fn absolute(own: &[String], path: &[String], modules: &BTreeMap<Vec<String>, String>) -> Option<Vec<String>> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let climbs = path.iter().take_while(|part| *part == "super").count();
            let base = own.get(..own.len().checked_sub(climbs)?)?;
            Some([base, &path[climbs..]].concat())
        }
        child => {
            let mut module = own.to_vec();
            module.push(child.to_owned());
            modules.contains_key(&module).then(|| [own, path].concat())
        }
    }
}

/// The file that defines the item a path names, found through re-exports.
fn resolve(
    path: &[String],
    modules: &BTreeMap<Vec<String>, String>,
    exports: &BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>>,
) -> Option<String> {
    let mut module = Vec::new();
    for (at, part) in path.iter().enumerate() {
        let mut deeper = module.clone();
        deeper.push(part.clone());
        if modules.contains_key(&deeper) {
            module = deeper;
            continue;
        }
        if let Some(export) = exports.get(&module).and_then(|exports| exports.get(part)) {
            let target = absolute(&module, export, modules)?;
            return resolve(&[&target[..], &path[at + 1..]].concat(), modules, exports);
        }
        break;
    }
    modules.get(&module).cloned()
}

#[test]
fn i8_a_circle_is_found_also_inside_a_folder_and_through_a_re_export() {
    let circles_of = |files: &[(&str, &str)]| {
        let sources: Sources = files.iter().map(|(file, code)| ((*file).to_owned(), (*code).to_owned())).collect();
        cycles(&dependencies(&sources)).into_iter().map(|circle| circle.into_iter().collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let two = [
        ("store/a.rs", "use super::b::B;"),
        ("store/b.rs", "use super::{a::A, c};"),
        ("store/c.rs", ""),
        ("store/mod.rs", "mod a;\nmod b;"),
    ];
    assert_eq!(circles_of(&two), [["store/a.rs", "store/b.rs"]]);
    let exported = [
        ("store/mod.rs", "mod a;\nmod b;\npub use a::{A,\n    X};\npub use b::B;"),
        ("store/a.rs", "use super::B;"),
        ("store/b.rs", "fn f() -> crate::store::A {}"),
    ];
    assert_eq!(circles_of(&exported), [["store/a.rs", "store/b.rs"]]);
    let parent = [("store/mod.rs", "mod a;\nfn f() { a::g() }\npub struct S;"), ("store/a.rs", "use super::S;")];
    assert_eq!(circles_of(&parent), [["store/a.rs", "store/mod.rs"]]);
    let far = [
        ("http/mod.rs", "use crate::{app::App, domain};"),
        ("app.rs", "use crate::http::site;"),
        ("domain/mod.rs", ""),
        ("http/site.rs", "use super::App;"),
    ];
    assert_eq!(circles_of(&far).len(), 1);
    let none = [
        ("store/mod.rs", "mod a;\npub use a::A;\npub struct S;"),
        ("store/a.rs", "use super::S;\npub struct A;"),
        ("store/b.rs", "use super::A;"),
    ];
    assert_eq!(circles_of(&none), Vec::<Vec<String>>::new());
}
