//! The house in order: imports run downward only, the pure core stays pure, files stay small, and the picture in
//! `docs/architecture.md` names every module.

use std::path::{Path, PathBuf};

/// The modules of `src/` from the bottom up: each may name those before it.
const RANKS: [&str; 19] = [
    "clock",
    "random",
    "engine",
    "token",
    "stats",
    "demo",
    "settings",
    "telemetry",
    "store",
    "access",
    "audiences",
    "live",
    "decide",
    "events",
    "manage",
    "report",
    "jobs",
    "http",
    "cli",
];
/// Modules without clock, randomness, I/O, threads or logs.
const PURE: [&str; 4] = ["engine", "token", "stats", "demo"];
/// What a pure module may not name.
const IMPURE: [&str; 11] = [
    "sqlx",
    "actix",
    "tokio",
    "async ",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "getrandom",
    "tracing::",
    "crate::random",
];
/// Most lines of a file; tests beside the code may take more room in files of their own.
const LINES_MAX: usize = 600;

/// What is wrong with a file of `module`.
fn faults(module: &str, text: &str) -> Vec<String> {
    let rank = |name: &str| RANKS.iter().position(|known| *known == name);
    let Some(own) = rank(module) else { return vec![format!("the module `{module}` has no rank")] };
    let mut found = Vec::new();
    let mut is_block = false;
    for (number, line) in text.lines().enumerate() {
        let documentation = line.trim_start().strip_prefix("//").unwrap_or_default();
        if let Some(fence) = documentation.trim_start_matches(['/', '!', ' ']).strip_prefix("```") {
            is_block = !is_block;
            if is_block && fence != "text" {
                found.push(format!("line {}: examples here are not run: ```text, or a test", number + 1));
            }
        }
        let code = line.split("//").next().unwrap_or_default();
        if code.contains("crate::{") {
            found.push(format!("line {}: one `use crate::<module>::` a line", number + 1));
        }
        for part in code.split("crate::").skip(1) {
            let named: String = part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if rank(&named).is_some_and(|rank| rank > own) {
                found.push(format!("line {}: `{module}` names `{named}`, which stands above it", number + 1));
            }
        }
        if PURE.contains(&module) {
            let impure = IMPURE.iter().filter(|word| code.contains(**word));
            found.extend(impure.map(|word| format!("line {}: `{word}` in the pure `{module}`", number + 1)));
        }
        if module == "http" && code.contains("sqlx") {
            found.push(format!("line {}: SQL in `http`", number + 1));
        }
        if module != "store" && ["SELECT ", "INSERT INTO", "UPDATE "].iter().any(|sql| code.contains(sql)) {
            found.push(format!("line {}: SQL outside `store`", number + 1));
        }
    }
    if text.lines().count() > LINES_MAX {
        found.push(format!("over {LINES_MAX} lines: two jobs? split it"));
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top-level module that a file belongs to; `None` for the roots of library and program.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(root().join("src")).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// Tests may look upward and be longer.
fn is_test(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs")
}

#[test]
fn the_house_is_in_order() {
    let mut found = Vec::new();
    for file in sources(&root().join("src")).iter().filter(|file| !is_test(file)) {
        let Some(module) = module_of(file) else { continue };
        let text = std::fs::read_to_string(file).unwrap();
        // Tests at a file's end may use what the code may not.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        found.extend(faults(&module, code).into_iter().map(|fault| format!("{}: {fault}", file.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_picture_names_every_module() {
    let picture = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let library = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules: Vec<_> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(modules.len(), RANKS.len());
    for module in modules {
        assert!(RANKS.contains(&module), "`{module}` has no rank");
        assert!(picture.contains(&format!("`{module}`")), "docs/architecture.md does not name `{module}`");
    }
}

#[test]
fn each_kind_of_fault_is_found() {
    let long = "x\n".repeat(LINES_MAX + 1);
    for (module, text, fault) in [
        ("engine", "use crate::store::Store;", "names `store`"),
        ("engine", "fn f(x: crate::http::Problem) {}", "names `http`"),
        ("engine", "async fn f() {}", "`async ` in the pure"),
        ("token", "use std::fs::File;", "`std::fs` in the pure"),
        ("store", "use crate::{engine, http};", "one `use crate::<module>::` a line"),
        ("live", "let x = \"SELECT 1\";", "SQL outside"),
        ("http", "use sqlx::Row;", "SQL in `http`"),
        ("attic", "", "has no rank"),
        ("cli", &long, "split it"),
        ("cli", "/// ```\n/// f();\n/// ```", "examples here are not run"),
        ("cli", "//! ```no_run", "examples here are not run"),
    ] {
        let found = faults(module, text);
        assert!(found.iter().any(|found| found.contains(fault)), "{module}: {text:.40}: {found:?}");
    }
    for (module, text) in [
        ("http", "use crate::engine::key::FlagKey;"),
        ("engine", "// the store and crate::http are above"),
        ("cli", "use crate::http::server::listen;"),
        ("cli", "//! ```text\n//! huidu serve\n//! ```"),
    ] {
        assert!(faults(module, text).is_empty(), "{module}: {text}");
    }
}
