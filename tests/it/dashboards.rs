//! The dashboards, the rules, and the compose file that shows them: each query against a real Prometheus, each name
//! against what there is.

mod compose;
mod lint;
mod prometheus;
mod promql;
mod traffic;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A path of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of the repository.
fn text(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A dashboard, with its file's name.
struct Board {
    file: String,
    json: Value,
}

/// Something that a dashboard asks Prometheus, as it is written.
struct Written {
    place: String,
    query: String,
    instant: bool,
}

/// A variable of a dashboard that people choose.
struct Variable {
    name: String,
    /// What Grafana takes for "All"; `None` where only one can be chosen.
    all: Option<String>,
    /// What fills it: `label_values(SERIES, LABEL)`; empty for what is typed in.
    definition: String,
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Board {
    fn all() -> Vec<Self> {
        let folder = repository("dashboards/grafana/dashboards");
        let mut boards: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let file = path.file_name().unwrap().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
                Self { file, json }
            })
            .collect();
        boards.sort_by(|one, other| one.file.cmp(&other.file));
        assert_eq!(boards.len(), 3);
        boards
    }

    fn panels(&self) -> &[Value] {
        list(&self.json["panels"])
    }

    fn variables(&self) -> Vec<Variable> {
        let all = list(&self.json["templating"]["list"]).iter();
        all.filter(|variable| variable["type"] != "datasource")
            .map(|variable| Variable {
                name: word(&variable["name"]),
                all: variable["includeAll"].as_bool().unwrap_or(false).then(|| word(&variable["allValue"])),
                definition: word(&variable["definition"]),
            })
            .collect()
    }

    /// Every query of panels and annotations.
    fn queries(&self) -> Vec<Written> {
        let panels = self.panels().iter().flat_map(|panel| {
            list(&panel["targets"]).iter().map(|target| Written {
                place: format!("{}: {} {}", self.file, word(&panel["title"]), word(&target["refId"])),
                query: word(&target["expr"]),
                instant: target["instant"] == true,
            })
        });
        let notes = list(&self.json["annotations"]["list"]).iter().filter(|note| note["expr"].is_string());
        let notes = notes.map(|note| Written {
            place: format!("{}: annotation {}", self.file, word(&note["name"])),
            query: word(&note["expr"]),
            instant: false,
        });
        panels.chain(notes).collect()
    }
}
