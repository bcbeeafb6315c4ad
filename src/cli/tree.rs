//! An environment as a folder that fits into version control: `huidu.json`, `flags/<key>.json`, `audiences/<key>.txt`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use super::output::pretty;
use crate::engine::json::parse;
use crate::engine::key::is_key;

/// The form of export that this release writes and reads.
const FORM: i64 = 1;
const HEAD: &str = "huidu.json";
const FLAGS: &str = "flags";
const AUDIENCES: &str = "audiences";

/// The files of an environment: path below the folder, and text.
pub(super) type Files = BTreeMap<PathBuf, String>;

/// The files that an export makes.
pub(super) fn files(export: &Value) -> anyhow::Result<Files> {
    let form = export.get("huidu_export").and_then(Value::as_i64);
    if form != Some(FORM) {
        bail!(
            "the service exports in a form that this huidu does not know ({form:?}): use one of its release"
        );
    }
    let list = |name: &str| export.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut files = Files::new();
    for document in list("flags") {
        files.insert(path_of(FLAGS, document, "json")?, format!("{}\n", pretty(document)));
    }
    let mut kinds = Map::new();
    for audience in list("audiences") {
        let path = path_of(AUDIENCES, audience, "txt")?;
        let about = match audience.get("ids").and_then(Value::as_array) {
            Some(ids) => {
                let lines = ids.iter().filter_map(Value::as_str).map(|id| format!("{id}\n"));
                files.insert(path, lines.collect());
                json!({"kind": audience.get("kind")})
            }
            // Too large for version control: it must be there already where this is imported.
            None => json!({"kind": audience.get("kind"), "ids": "not exported"}),
        };
        if let Some(key) = audience.get("key").and_then(Value::as_str) {
            kinds.insert(key.to_owned(), about);
        }
    }
    let head = json!({"huidu_export": FORM, "environment": export.get("environment"), "audiences": kinds});
    files.insert(PathBuf::from(HEAD), format!("{}\n", pretty(&head)));
    Ok(files)
}

/// Where an item with a key stands. A key that could leave the folder is refused.
fn path_of(folder: &str, item: &Value, ending: &str) -> anyhow::Result<PathBuf> {
    let key = item.get("key").and_then(Value::as_str).filter(|key| is_key(key));
    let key = key.with_context(|| format!("the service exports {folder} without a good key"))?;
    Ok(Path::new(folder).join(format!("{key}.{ending}")))
}

/// What writing an export would do, or did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Files that were not there.
    pub(super) new: Vec<PathBuf>,
    /// Files whose text is another.
    pub(super) changed: Vec<PathBuf>,
    /// How many files stay as they are.
    pub(super) unchanged: usize,
    /// Files of flags and audiences that the service no longer has.
    pub(super) gone: Vec<PathBuf>,
}

impl Written {
    /// Whether folder and service say the same.
    pub(super) fn is_same(&self) -> bool {
        self.new.is_empty() && self.changed.is_empty() && self.gone.is_empty()
    }
}

/// What differs between the folder at `root` and `files`.
pub(super) fn compare(root: &Path, files: &Files) -> anyhow::Result<Written> {
    let mut written = Written::default();
    for (path, text) in files {
        match fs::read(root.join(path)) {
            Ok(old) if old == text.as_bytes() => written.unchanged += 1,
            Ok(_) => written.changed.push(path.clone()),
            Err(error) if error.kind() == ErrorKind::NotFound => written.new.push(path.clone()),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", root.join(path).display()));
            }
        }
    }
    for (folder, ending) in [(FLAGS, "json"), (AUDIENCES, "txt")] {
        for name in names(root, folder, ending)? {
            let path = Path::new(folder).join(name);
            if !files.contains_key(&path) {
                written.gone.push(path);
            }
        }
    }
    Ok(written)
}

/// Writes those of `files` that `written` names; each is whole or as it was.
pub(super) fn write(root: &Path, files: &Files, written: &Written) -> anyhow::Result<()> {
    for path in written.new.iter().chain(&written.changed) {
        let Some(text) = files.get(path) else { continue };
        let whole = root.join(path);
        let part = whole
            .with_file_name(format!(".{}.part", whole.file_name().unwrap_or_default().to_string_lossy()));
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(whole.parent().unwrap_or(root))?;
            fs::write(&part, text)?;
            fs::rename(&part, &whole)
        };
        write().with_context(|| format!("{} cannot be written", whole.display()))?;
    }
    Ok(())
}

/// Removes the files that the service no longer has.
pub(super) fn prune(root: &Path, written: &Written) -> anyhow::Result<()> {
    for path in &written.gone {
        let path = root.join(path);
        fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    Ok(())
}

/// The names in a folder of the tree, in order; a folder that is missing is empty.
fn names(root: &Path, folder: &str, ending: &str) -> anyhow::Result<Vec<String>> {
    let path = root.join(folder);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("{} cannot be read", path.display()))?.file_name();
        let name = name.to_string_lossy();
        let hidden = name.starts_with('.');
        if !hidden && name.strip_suffix(ending).is_some_and(|stem| stem.ends_with('.')) {
            names.push(name.into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// A folder as it is imported.
pub(super) struct Tree {
    /// What is sent.
    pub(super) body: Value,
    /// The files of the flags, in the order of the body.
    flags: Vec<PathBuf>,
    /// The files of the audiences, in the order of the body.
    audiences: Vec<PathBuf>,
}

impl Tree {
    /// The file and the place in it that a pointer into the body means.
    pub(super) fn place(&self, pointer: &str) -> Option<(&Path, String)> {
        let mut parts = pointer.splitn(4, '/').skip(1);
        let files = match parts.next()? {
            FLAGS => &self.flags,
            AUDIENCES => &self.audiences,
            _ => return None,
        };
        let file = files.get(parts.next()?.parse::<usize>().ok()?)?;
        Some((file, parts.next().map(|rest| format!("/{rest}")).unwrap_or_default()))
    }
}

/// Reads the folder at `root`; all files that cannot be read are named at once.
pub(super) fn read(root: &Path) -> anyhow::Result<Tree> {
    let head = root.join(HEAD);
    let text = fs::read(&head).with_context(|| {
        format!(
            "{} cannot be read: `huidu export --dir {}` makes such a folder",
            head.display(),
            root.display()
        )
    })?;
    let head = parse(&text).with_context(|| head.display().to_string())?;
    let form = head.get("huidu_export").and_then(Value::as_i64);
    if form != Some(FORM) {
        bail!("{HEAD} has a form that this huidu does not know ({form:?})");
    }
    let mut faults = Vec::new();
    let (mut documents, mut flags) = (Vec::new(), Vec::new());
    for name in names(root, FLAGS, "json")? {
        let path = Path::new(FLAGS).join(&name);
        match flag(root, &path) {
            Ok(document) => documents.push(document),
            Err(error) => faults.push(format!("{error:#}")),
        }
        flags.push(path);
    }
    let (mut lists, mut audiences) = (Vec::new(), Vec::new());
    let mut listed = head.get("audiences").and_then(Value::as_object).cloned().unwrap_or_default();
    for name in names(root, AUDIENCES, "txt")? {
        let path = Path::new(AUDIENCES).join(&name);
        let key = name.trim_end_matches(".txt");
        let kind =
            listed.remove(key).and_then(|about| about.get("kind").cloned()).unwrap_or_else(|| "user".into());
        match ids(root, &path) {
            Ok(ids) => lists.push(json!({"key": key, "kind": kind, "size": ids.len(), "ids": ids})),
            Err(error) => faults.push(format!("{error:#}")),
        }
        audiences.push(path);
    }
    // Those that were too large to export must be there.
    for (key, about) in listed.into_iter().filter(|(_, about)| about.get("ids").is_some()) {
        lists.push(json!({"key": key, "kind": about.get("kind")}));
        audiences.push(PathBuf::from(HEAD));
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    let environment = head.get("environment");
    let body =
        json!({"huidu_export": FORM, "environment": environment, "flags": documents, "audiences": lists});
    Ok(Tree { body, flags, audiences })
}

fn flag(root: &Path, path: &Path) -> anyhow::Result<Value> {
    let text = fs::read(root.join(path)).with_context(|| path.display().to_string())?;
    let document = parse(&text).with_context(|| path.display().to_string())?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    if document.get("key").and_then(Value::as_str) != stem.as_deref() {
        bail!("{}: `key` is not the name of the file", path.display());
    }
    Ok(document)
}

fn ids(root: &Path, path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(root.join(path)).with_context(|| path.display().to_string())?;
    Ok(text.lines().map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export() -> Value {
        json!({
            "huidu_export": 1, "environment": "production",
            "flags": [{"key": "b", "x": 1.0}, {"key": "c"}],
            "audiences": [
                {"key": "few", "kind": "goods", "size": 2, "ids": ["g-1", "灰"]},
                {"key": "many", "kind": "user", "size": 5_000},
                {"key": "none", "kind": "user", "size": 0, "ids": []},
            ],
        })
    }

    #[test]
    fn a_folder_that_was_written_is_read_as_it_was_exported() {
        let root = tempfile::tempdir().unwrap();
        let exported = files(&export()).unwrap();
        let first = compare(root.path(), &exported).unwrap();
        assert_eq!((first.new.len(), first.is_same()), (5, false));
        write(root.path(), &exported, &first).unwrap();
        let again = compare(root.path(), &exported).unwrap();
        assert_eq!((again.unchanged, again.is_same()), (5, true));
        assert_eq!(fs::read_to_string(root.path().join("audiences/few.txt")).unwrap(), "g-1\n灰\n");
        assert_eq!(
            fs::read_to_string(root.path().join("flags/b.json")).unwrap(),
            "{\n  \"key\": \"b\",\n  \"x\": 1.0\n}\n"
        );
        let tree = read(root.path()).unwrap();
        let mut expected = export();
        // How many a list has that is not here is not known; order of lists does not matter.
        expected["audiences"] = json!([
            {"key": "few", "kind": "goods", "size": 2, "ids": ["g-1", "灰"]},
            {"key": "none", "kind": "user", "size": 0, "ids": []},
            {"key": "many", "kind": "user"},
        ]);
        assert_eq!(tree.body, expected);
        for (pointer, place) in [
            ("/flags/1/rules/0/when", Some(("flags/c.json", "/rules/0/when"))),
            ("/flags/0", Some(("flags/b.json", ""))),
            ("/audiences/2/ids", Some(("huidu.json", "/ids"))),
            ("/flags/7/key", None),
            ("/flags", None),
            ("", None),
        ] {
            let found = tree.place(pointer);
            let found = found.as_ref().map(|(file, rest)| (file.to_str().unwrap(), rest.as_str()));
            assert_eq!(found, place, "{pointer}");
        }
    }

    #[test]
    fn only_what_changed_is_written_and_what_is_gone_is_told() {
        let root = tempfile::tempdir().unwrap();
        let exported = files(&export()).unwrap();
        write(root.path(), &exported, &compare(root.path(), &exported).unwrap()).unwrap();
        fs::write(root.path().join("flags/notes.md"), "not ours").unwrap();
        fs::write(root.path().join("flags/.b.json.part"), "half").unwrap();
        let mut next = export();
        next["flags"] = json!([{"key": "b", "x": 2.0}, {"key": "d"}]);
        let exported = files(&next).unwrap();
        let found = compare(root.path(), &exported).unwrap();
        let path = PathBuf::from;
        assert_eq!(
            found,
            Written {
                new: vec![path("flags/d.json")],
                changed: vec![path("flags/b.json")],
                unchanged: 3,
                gone: vec![path("flags/c.json")],
            }
        );
        write(root.path(), &exported, &found).unwrap();
        assert!(root.path().join("flags/c.json").exists(), "what is gone is told, and stays");
        prune(root.path(), &found).unwrap();
        assert!(compare(root.path(), &exported).unwrap().is_same());
        assert!(root.path().join("flags/notes.md").exists());
    }

    #[test]
    fn a_key_cannot_leave_the_folder_and_bad_files_are_all_named() {
        let mut bad = export();
        bad["flags"][0]["key"] = json!("../../etc/passwd");
        assert!(files(&bad).is_err());
        bad["huidu_export"] = json!(2);
        assert!(files(&bad).unwrap_err().to_string().contains("form"));
        let root = tempfile::tempdir().unwrap();
        assert!(read(root.path()).err().unwrap().to_string().contains("huidu export --dir"));
        let exported = files(&export()).unwrap();
        write(root.path(), &exported, &compare(root.path(), &exported).unwrap()).unwrap();
        fs::write(root.path().join("flags/b.json"), "{\n,}").unwrap();
        fs::write(root.path().join("flags/c.json"), "{\"key\": \"other\"}").unwrap();
        fs::write(root.path().join("audiences/few.txt"), b"\xff").unwrap();
        let told = read(root.path()).err().unwrap().to_string();
        for words in ["flags/b.json", "line 2", "flags/c.json: `key` is not the name", "audiences/few.txt"] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }
}
