//! Which module may name which: the second rule of ARCHITECTURE.md, held by reading the sources.
//!
//! Walks each crate's modules from `lib.rs`, leaves out what is under `#[cfg(test)]`, and resolves
//! every path that starts with `crate`, `super` or a crate's name. Names that a module re-exports
//! count as the module they come from. It reads tokens, not types: a name that arrives through a
//! macro of another crate is not seen.

mod architecture {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    const CORE: Rules = Rules {
        crate_name: "core",
        layers: &[
            Layer { name: "ground", modules: &["time", "sync"], may_name_each_other: false },
            Layer {
                name: "structures",
                modules: &[
                    "ring", "queue", "limiter", "quantile", "stats", "breaker", "policy", "machine",
                ],
                may_name_each_other: true,
            },
            Layer { name: "planners", modules: &["batch", "route"], may_name_each_other: true },
            Layer { name: "engine", modules: &["engine"], may_name_each_other: false },
        ],
        seam: None,
        // The compiler refuses them too, but for an `extern crate` that anyone could add.
        forbidden_crates: &["std", "alloc", "tensorforge"],
        // The feature `alloc`: the memory of a queue or an engine, once.
        allowed: &[
            ("lib.rs", "alloc"),
            ("queue/storage.rs", "alloc"),
            ("engine/boxed.rs", "alloc"),
        ],
    };

    const SHELL: Rules = Rules {
        crate_name: "shell",
        layers: &[
            Layer {
                name: "base",
                modules: &["models", "contracts", "clock", "config", "security", "device seam"],
                may_name_each_other: true,
            },
            Layer {
                name: "services",
                modules: &[
                    "concurrency",
                    "telemetry",
                    "trace",
                    "events",
                    "allocator",
                    "registry",
                    "batch_scheduler",
                    "service",
                    "queue",
                    "limiter",
                    "statistics",
                    "workflow",
                    "routing",
                    "gateway",
                    "policy",
                    "resilience",
                    "simulation",
                ],
                may_name_each_other: true,
            },
            Layer {
                name: "adapters",
                modules: &["device", "store", "server", "client"],
                may_name_each_other: false,
            },
            Layer { name: "cli", modules: &["cli"], may_name_each_other: false },
        ],
        // The Executor trait and its errors, in device/mod.rs itself.
        seam: Some("device"),
        forbidden_crates: &[],
        allowed: &[],
    };

    struct Rules {
        crate_name: &'static str,
        /// From the bottom up: a module may name those of lower layers.
        layers: &'static [Layer],
        /// A module whose own file is a layer below what it contains.
        seam: Option<&'static str>,
        forbidden_crates: &'static [&'static str],
        /// Files that may name such a crate all the same.
        allowed: &'static [(&'static str, &'static str)],
    }

    struct Layer {
        name: &'static str,
        modules: &'static [&'static str],
        /// Without going round in circles.
        may_name_each_other: bool,
    }

    #[test]
    fn core_names_nothing_above_itself() {
        let sources = read(&root().join("core/src"));
        assert!(sources.len() > 5, "the sources were found");
        assert_eq!(violations(&CORE, &sources), [""; 0]);
    }

    #[test]
    fn shell_arrows_point_one_way() {
        let sources = read(&root().join("shell/src"));
        assert!(sources.len() > 5, "the sources were found");
        assert_eq!(violations(&SHELL, &sources), [""; 0]);
    }

    /// The check itself, on planted sources: `(file, text)` and what it must say.
    fn says(rules: &Rules, files: &[(&str, &str)], expected: &[&str]) {
        let sources = files.iter().map(|(file, text)| ((*file).into(), (*text).into())).collect();
        assert_eq!(violations(rules, &sources), expected);
    }

    #[test]
    fn an_upward_arrow_is_found_however_it_is_written() {
        for text in [
            "use crate::engine::Engine;",
            "use crate::{batch, engine::{self}};",
            "use super::engine;",
            "fn f(_: crate::Engine) {}",
            "fn f() { let _ = super::Engine::new(); }",
            "mod inner { fn f() { super::super::engine::f() } }",
            "macro_rules! m { () => { $crate::engine::f() } }",
        ] {
            let lib = "pub mod batch; pub mod engine; pub use engine::{Engine, Event};";
            says(
                &CORE,
                &[("lib.rs", lib), ("batch.rs", text), ("engine.rs", "")],
                &["core/src/batch.rs: batch (planners) names engine (engine)"],
            );
        }
    }

    #[test]
    fn a_name_in_a_comment_a_string_or_a_test_is_no_arrow() {
        let text = r##"
            //! See [`crate::engine`]. /* crate::engine */
            /* crate::engine /* crate::engine */ crate::engine */
            const A: &str = "crate::engine \" crate::engine";
            const B: &str = r#"" crate::engine"#;
            const C: (char, char) = ('"', '\'');
            pub(crate) fn f<'a>(x: &'a str) -> &'a str { x }
            #[cfg(test)]
            mod tests { use crate::engine; fn f() { if true {} } }
            #[cfg(all(test, not(loom)))]
            mod more;
            #[cfg(test)]
            use crate::engine;
        "##;
        let lib = "pub mod batch; pub mod engine;";
        let more = ("batch/more.rs", "use crate::engine;");
        says(&CORE, &[("lib.rs", lib), ("batch.rs", text), ("engine.rs", ""), more], &[]);
    }

    #[test]
    fn core_with_std_or_the_shell_is_found() {
        for (text, name) in [
            ("use std::time::Instant;", "std"),
            ("fn f() { ::std::thread::yield_now() }", "std"),
            ("extern crate alloc;", "alloc"),
            ("use tensorforge::clock::Clock;", "tensorforge"),
        ] {
            let said = format!("core/src/time.rs: time names the crate {name}");
            says(&CORE, &[("lib.rs", "mod time;"), ("time.rs", text)], &[&said]);
        }
        says(
            &CORE,
            &[("lib.rs", "extern crate std; mod time;"), ("time.rs", "")],
            &["core/src/lib.rs: the crate root names the crate std"],
        );
    }

    #[test]
    fn adapters_that_name_each_other_are_found_and_the_executor_seam_is_open() {
        let shell = |http: &'static str| {
            [
                ("lib.rs", "pub mod device; pub mod server; pub mod registry;"),
                ("device/mod.rs", "mod cpu; pub use cpu::Tract; pub trait Executor {}"),
                ("device/cpu.rs", "use super::Executor; pub struct Tract;"),
                ("server/mod.rs", "mod http;"),
                ("server/http.rs", http),
                ("registry.rs", "use crate::device::Executor;"),
            ]
        };
        says(&SHELL, &shell("use crate::device::{ExecuteError, Executor};"), &[]);
        for text in [
            "use crate::device::cpu::Tract;",
            "use crate::device::Tract;",
            "use crate::device;",
            "use crate::device::*;",
            "use super::super::device::cpu;",
        ] {
            let found = "shell/src/server/http.rs: server (adapters) names device (adapters)";
            says(&SHELL, &shell(text), &[found]);
        }
    }

    #[test]
    fn a_circle_inside_a_layer_is_found() {
        says(
            &SHELL,
            &[
                ("lib.rs", "mod registry; mod service; mod telemetry;"),
                ("registry.rs", "use crate::service;"),
                ("service.rs", "use crate::telemetry;"),
                ("telemetry.rs", "use crate::registry;"),
            ],
            &["shell: registry -> service -> telemetry -> registry go round in a circle"],
        );
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        says(
            &CORE,
            &[("lib.rs", "mod magic;"), ("magic.rs", "")],
            &["core/src/magic.rs: magic has no layer; give it one in tests/tests/architecture.rs"],
        );
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is below the root")
    }

    /// Text by file, named from the crate's `src`.
    type Sources = BTreeMap<String, String>;

    fn read(src: &Path) -> Sources {
        let mut sources = Sources::new();
        let mut folders = vec![src.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
                let path = entry.expect("the entry can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(src).expect("it is below src");
                    let name = name.to_str().expect("file names are UTF-8").replace('\\', "/");
                    sources.insert(name, std::fs::read_to_string(&path).expect("it is text"));
                }
            }
        }
        sources
    }

    /// One module's file, without what is only for tests.
    struct Module {
        file: String,
        path: Vec<String>,
        tokens: Vec<String>,
    }

    /// Every module that is compiled outside tests and has a file, the root first.
    fn modules(sources: &Sources) -> Vec<Module> {
        let mut found = Vec::new();
        let mut open = vec![("lib.rs".to_owned(), Vec::new())];
        while let Some((file, path)) = open.pop() {
            let tokens = without_tests(&tokens(&sources[&file]));
            let folder = match file.strip_suffix("mod.rs").or(file.strip_suffix("lib.rs")) {
                Some(folder) => folder.to_owned(),
                None => format!("{}/", file.trim_end_matches(".rs")),
            };
            for name in tokens.windows(3).filter(|w| w[0] == "mod" && w[2] == ";").map(|w| &w[1]) {
                let files = [format!("{folder}{name}.rs"), format!("{folder}{name}/mod.rs")];
                let file = files.into_iter().find(|file| sources.contains_key(file));
                let mut path: Vec<String> = path.clone();
                path.push(name.clone());
                // One that has no file in an ordinary place is the compiler's business.
                open.extend(file.map(|file| (file, path)));
            }
            found.push(Module { file, path, tokens });
        }
        found.sort_by(|a, b| a.file.cmp(&b.file));
        found.sort_by_key(|module| !module.path.is_empty());
        found
    }

    fn violations(rules: &Rules, sources: &Sources) -> Vec<String> {
        let modules = modules(sources);
        let at_root = origins(&modules[0].tokens);
        let in_seam = modules
            .iter()
            .find(|module| rules.seam.is_some_and(|seam| module.path == [seam]))
            .map(|module| origins(&module.tokens))
            .unwrap_or_default();

        let mut violations = BTreeSet::new();
        let mut arrows = BTreeSet::new();
        for module in &modules {
            let file = format!("{}/src/{}", rules.crate_name, module.file);
            let node = match &module.path[..] {
                [] => "the crate root",
                [top] if rules.seam == Some(top) => "device seam",
                [top, ..] => top,
            };
            let own_layer = rules.layer(node);
            if own_layer.is_none() && !module.path.is_empty() {
                violations.insert(format!(
                    "{file}: {node} has no layer; give it one in tests/tests/architecture.rs"
                ));
            }
            for path in paths(module) {
                let forbidden = rules.forbidden_crates.iter().find(|name| path[0] == **name);
                if let Some(name) = forbidden
                    && !rules.allowed.contains(&(module.file.as_str(), *name))
                {
                    violations.insert(format!("{file}: {node} names the crate {name}"));
                }
                let (Some(own_layer), Some(to)) =
                    (own_layer, rules.node(&path, &at_root, &in_seam))
                else {
                    continue; // the root may name everything, and other crates have no layer here
                };
                if module.path.first().map(String::as_str) == Some(to.trim_end_matches(" seam")) {
                    continue; // within one module
                }
                let Some(layer) = rules.layer(&to) else { continue };
                let (own, other) = (&rules.layers[own_layer], &rules.layers[layer]);
                if layer > own_layer || layer == own_layer && !own.may_name_each_other {
                    let (own, other) = (own.name, other.name);
                    violations.insert(format!("{file}: {node} ({own}) names {to} ({other})"));
                } else {
                    arrows.insert((node.to_owned(), to));
                }
            }
        }
        violations.extend(circle(&arrows).map(|circle| {
            format!("{}: {} go round in a circle", rules.crate_name, circle.join(" -> "))
        }));
        violations.into_iter().collect()
    }

    impl Rules {
        fn layer(&self, module: &str) -> Option<usize> {
            self.layers.iter().position(|layer| layer.modules.contains(&module))
        }

        /// The module that a path from the crate's root names.
        fn node(
            &self,
            path: &[String],
            at_root: &BTreeMap<String, String>,
            in_seam: &BTreeMap<String, String>,
        ) -> Option<String> {
            let ["crate", first, rest @ ..] =
                &path.iter().map(String::as_str).collect::<Vec<_>>()[..]
            else {
                return None;
            };
            let top = at_root.get(*first).map_or(*first, String::as_str);
            let through_seam = rest
                .first()
                .is_some_and(|name| !["*", "self"].contains(name) && !in_seam.contains_key(*name));
            let seam = self.seam == Some(top) && through_seam;
            Some(if seam { format!("{top} seam") } else { top.to_owned() })
        }
    }

    /// Which submodule each name of a module comes from: the submodules themselves, and what it
    /// re-exports of them.
    fn origins(tokens: &[String]) -> BTreeMap<String, String> {
        let mut origins = BTreeMap::new();
        for window in tokens.windows(3).filter(|w| w[0] == "mod" && w[2] != "::") {
            origins.insert(window[1].clone(), window[1].clone());
        }
        let uses = tokens.iter().enumerate().filter(|(_, token)| *token == "use");
        let imported: Vec<Vec<String>> =
            uses.flat_map(|(at, _)| path_tree(tokens, at + 1).0).collect();
        for path in imported {
            let path: Vec<&String> =
                path.iter().filter(|name| !["self", "crate"].contains(&name.as_str())).collect();
            if let [first, .., last] = path[..]
                && origins.contains_key(first)
            {
                origins.insert(last.clone(), first.clone());
            }
        }
        origins
    }

    /// Every path in a module that starts at a crate, with `super` resolved.
    fn paths(module: &Module) -> Vec<Vec<String>> {
        let tokens = &module.tokens;
        let mut found = Vec::new();
        // Names of the inline modules around the place, with the depth of braces they began at.
        let mut inline: Vec<(String, usize)> = Vec::new();
        let mut depth = 0;
        for (at, token) in tokens.iter().enumerate() {
            let before = |back: usize| at.checked_sub(back).map(|at| tokens[at].as_str());
            let next = tokens.get(at + 1).map(String::as_str);
            match token.as_str() {
                "{" => {
                    depth += 1;
                    if before(2) == Some("mod") {
                        inline.push((tokens[at - 1].clone(), depth));
                    }
                }
                "}" => {
                    inline.retain(|(_, began)| *began < depth);
                    depth -= 1;
                }
                "crate" if before(1) == Some("extern") => {
                    found.extend(next.map(|n| vec![n.into()]))
                }
                name if next == Some("::") && is_name(name) => {
                    let inside = before(1) == Some("::") && before(2).is_some_and(is_name);
                    if inside || ["self", "Self"].contains(&name) {
                        continue;
                    }
                    let around = module.path.iter().chain(inline.iter().map(|(name, _)| name));
                    let around: Vec<&String> = around.collect();
                    for path in path_tree(tokens, at).0 {
                        let supers = path.iter().take_while(|name| *name == "super").count();
                        if supers == 0 {
                            found.push(path);
                        } else if let Some(left) = around.len().checked_sub(supers) {
                            let parent = around[..left].iter().map(|name| name.to_string());
                            let rest = path.into_iter().skip(supers);
                            let from_root = std::iter::once("crate".to_owned());
                            found.push(from_root.chain(parent).chain(rest).collect());
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn is_name(token: &str) -> bool {
        token.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }

    /// The paths that `a::{b, c::d}` stands for, and where it ends.
    fn path_tree(tokens: &[String], mut at: usize) -> (Vec<Vec<String>>, usize) {
        let token = |at: usize| tokens.get(at).map_or("", String::as_str);
        let mut path = Vec::new();
        if token(at) == "::" {
            at += 1;
        }
        while is_name(token(at)) || token(at) == "*" {
            path.push(token(at).to_owned());
            at += 1;
            if token(at) != "::" {
                return (vec![path], at);
            }
            at += 1;
        }
        if token(at) != "{" {
            return (vec![path], at); // `a::<T>`
        }
        let mut all = Vec::new();
        at += 1;
        while !["}", ""].contains(&token(at)) {
            let (tails, end) = path_tree(tokens, at);
            all.extend(tails.into_iter().map(|tail| [path.clone(), tail].concat()));
            at = end.max(at + 1);
            while ![",", "}", ""].contains(&token(at)) {
                at += 1; // `as name`
            }
            at += usize::from(token(at) == ",");
        }
        (all, at + 1)
    }

    /// Leaves out each item under `#[cfg(test)]`.
    fn without_tests(tokens: &[String]) -> Vec<String> {
        // Alone, or among what must all be.
        const TEST: [&[&str]; 2] =
            [&["#", "[", "cfg", "(", "test"], &["#", "[", "cfg", "(", "all", "(", "test"]];
        let mut kept = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let here = || tokens[at..].iter().map(String::as_str);
            let starts = |test: &&&[&str]| here().take(test.len()).eq(test.iter().copied());
            if !TEST.iter().any(|test| starts(&test)) {
                kept.push(tokens[at].clone());
                at += 1;
                continue;
            }
            // The item ends with its first `;` or closing `}` outside all brackets.
            let mut depth = 0;
            while at < tokens.len() {
                let token = tokens[at].as_str();
                at += 1;
                match token {
                    "(" | "[" | "{" => depth += 1,
                    ")" | "]" | "}" => depth -= 1,
                    _ => {}
                }
                if depth == 0 && [";", "}"].contains(&token) {
                    break;
                }
            }
        }
        kept
    }

    /// Names, `::` and single signs; no comments, strings or characters.
    fn tokens(text: &str) -> Vec<String> {
        let text: Vec<char> = text.chars().collect();
        let starts = |at: usize, with: &str| {
            with.chars().enumerate().all(|(n, c)| text.get(at + n) == Some(&c))
        };
        let skip_to = |from: usize, end: &str| {
            (from..text.len()).find(|&at| starts(at, end)).map_or(text.len(), |at| at + end.len())
        };
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < text.len() {
            if starts(at, "//") {
                at = skip_to(at, "\n");
            } else if starts(at, "/*") {
                let mut depth = 0;
                while at < text.len() {
                    let (open, close) = (starts(at, "/*"), starts(at, "*/"));
                    depth = depth + i32::from(open) - i32::from(close);
                    at += if open || close { 2 } else { 1 };
                    if depth == 0 {
                        break;
                    }
                }
            } else if text[at] == '"' {
                at += 1;
                while at < text.len() && text[at] != '"' {
                    at += if text[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            } else if starts(at, "'\\") {
                at = skip_to(at + 3, "'");
            } else if text[at] == '\'' {
                at += if text.get(at + 2) == Some(&'\'') { 3 } else { 1 }; // else a lifetime
            } else if text[at].is_alphanumeric() || text[at] == '_' {
                let start = at;
                while at < text.len() && (text[at].is_alphanumeric() || text[at] == '_') {
                    at += 1;
                }
                let word: String = text[start..at].iter().collect();
                let hashes = text[at..].iter().take_while(|c| **c == '#').count();
                if ["r", "br", "cr"].contains(&word.as_str()) && starts(at + hashes, "\"") {
                    at = skip_to(at + hashes + 1, &format!("\"{}", "#".repeat(hashes)));
                } else {
                    tokens.push(word);
                }
            } else if starts(at, "::") {
                tokens.push("::".into());
                at += 2;
            } else {
                if !text[at].is_whitespace() {
                    tokens.push(text[at].into());
                }
                at += 1;
            }
        }
        tokens
    }

    /// Modules that name each other in a circle, if there are any.
    fn circle(arrows: &BTreeSet<(String, String)>) -> Option<Vec<String>> {
        fn walk(arrows: &BTreeSet<(String, String)>, way: &mut Vec<String>) -> Option<Vec<String>> {
            let here = way.last()?.clone();
            for (_, to) in arrows.iter().filter(|(from, _)| *from == here) {
                let seen = way.iter().position(|module| module == to);
                way.push(to.clone());
                if let Some(start) = seen {
                    return Some(way.split_off(start));
                }
                if let Some(circle) = walk(arrows, way) {
                    return Some(circle);
                }
                way.pop();
            }
            None
        }
        arrows.iter().find_map(|(from, _)| walk(arrows, &mut vec![from.clone()]))
    }
}
