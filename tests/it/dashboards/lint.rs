//! What every dashboard must have, seen from its file: names that exist, words for people, one look.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Board, list, promql, text, word};

/// Of Okabe and Ito's colours for all kinds of sight (jfly.uni-koeln.de/color), with a grey.
const COLOURS: [&str; 8] =
    ["#0072B2", "#56B4E9", "#E69F00", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#999999"];

/// Every name that a query may use: huidu's own, those of rules, and what is known of any process.
fn known_names() -> BTreeSet<String> {
    let mut known: BTreeSet<String> =
        ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "threads"]
            .iter()
            .map(|name| format!("process_{name}"))
            .collect();
    known.insert("process_start_time_seconds".into());
    for line in text("src/telemetry/metrics.rs").lines() {
        let Some((kind, rest)) = line.split_once(": ").and_then(|(_, rest)| rest.split_once(" = \"huidu_"))
        else {
            continue;
        };
        let name = format!("huidu_{}", rest.split('"').next().unwrap());
        if kind == "Histogram" {
            known.extend(["bucket", "count", "sum"].map(|part| format!("{name}_{part}")));
        } else {
            known.insert(name);
        }
    }
    for line in text("dashboards/rules/huidu_recording.yml").lines() {
        known.extend(line.trim().strip_prefix("- record: ").map(str::to_owned));
    }
    known
}

/// Every text in `value`, whatever its place.
fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, found)),
        _ => {}
    }
}

/// What is wrong with a panel.
fn panel_faults(panel: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let kind = word(&panel["type"]);
    if kind == "row" {
        return found;
    }
    if word(&panel["description"]).split(' ').count() < 2 {
        found.push("no description".to_owned());
    }
    if kind == "text" {
        return found;
    }
    if word(&panel["fieldConfig"]["defaults"]["unit"]).is_empty() {
        found.push("no unit".to_owned());
    }
    if list(&panel["targets"]).is_empty() {
        found.push("asks nothing".to_owned());
    }
    let targets = list(&panel["targets"]).iter().map(|target| &target["datasource"]["uid"]);
    if targets.chain([&panel["datasource"]["uid"]]).any(|uid| uid != "${datasource}") {
        found.push("another data source than the chosen one".to_owned());
    }
    found
}

/// Whether two panels lie over each other.
fn overlap(one: &Value, other: &Value) -> bool {
    let side = |panel: &Value, at: &str, size: &str| {
        let begin = panel["gridPos"][at].as_i64().unwrap();
        (begin, begin + panel["gridPos"][size].as_i64().unwrap())
    };
    ["x", "y"].iter().zip(["w", "h"]).all(|(at, size)| {
        let (one, other) = (side(one, at, size), side(other, at, size));
        one.0 < other.1 && other.0 < one.1
    })
}

/// What is wrong with a dashboard.
fn faults(board: &Board) -> Vec<String> {
    let mut found = Vec::new();
    if board.json.get("id").is_some() {
        found.push("an `id`, which only one Grafana has".to_owned());
    }
    if board.file != format!("{}.json", word(&board.json["uid"])) {
        found.push("is not named by its uid".to_owned());
    }
    // The last form of this kind of dashboard; Grafana's DashboardMigrator.ts calls it final.
    if board.json["schemaVersion"] != 42 {
        found.push("another form than 42".to_owned());
    }
    let (known, alerts) = (known_names(), text("dashboards/rules/huidu_alerts.yml"));
    for written in board.queries() {
        let unknown = promql::names(&written.query).into_iter().filter(|name| !known.contains(*name));
        found.extend(unknown.map(|name| format!("{}: no metric `{name}`", written.place)));
        let form = &promql::filled(board, &written.query, &[("environment", &["e"]), ("flag", &["f"])])[0];
        // `$1` is a part that `label_replace` found.
        if form.split('$').skip(1).any(|after| !after.starts_with(|c: char| c.is_ascii_digit())) {
            found.push(format!("{}: a variable that is not there: {form}", written.place));
        }
    }
    for variable in list(&board.json["templating"]["list"]) {
        if word(&variable["description"]).split(' ').count() < 2 {
            found.push(format!("variable {}: no description", variable["name"]));
        }
    }
    let mut ids = BTreeSet::new();
    for (number, panel) in board.panels().iter().enumerate() {
        let title = word(&panel["title"]);
        found.extend(panel_faults(panel).into_iter().map(|fault| format!("{title}: {fault}")));
        if !ids.insert(panel["id"].as_i64().unwrap_or_default()) {
            found.push(format!("{title}: its number is taken"));
        }
        let covered = board.panels().iter().skip(number + 1).filter(|other| overlap(panel, other));
        found.extend(covered.map(|other| format!("{title}: lies over {}", other["title"])));
    }
    let mut texts = Vec::new();
    strings(&board.json, &mut texts);
    for text in texts {
        let is_colour = text.len() == 7 && text.starts_with('#');
        if is_colour && !COLOURS.contains(&text) {
            found.push(format!("the colour {text} is not one of the eight"));
        }
        let named = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.starts_with("Huidu"));
        let unknown =
            named.filter(|name| *name != "Huidu" && !alerts.contains(&format!("- alert: {name}\n")));
        found.extend(unknown.map(|name| format!("no alert `{name}`")));
    }
    found
}

#[test]
fn dashboards_are_in_order() {
    let boards = Board::all();
    let found: Vec<_> = boards
        .iter()
        .flat_map(|board| faults(board).into_iter().map(|fault| format!("{}: {fault}", board.file)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    let uids: BTreeSet<_> = boards.iter().map(|board| word(&board.json["uid"])).collect();
    assert_eq!(uids.len(), boards.len());
    // Each leads to the others, which carry this tag.
    for board in &boards {
        assert!(list(&board.json["tags"]).contains(&"huidu".into()), "{}", board.file);
        let links = list(&board.json["links"]);
        assert!(links.iter().any(|link| link["tags"] == serde_json::json!(["huidu"])), "{}", board.file);
    }
}

#[test]
fn treatment_is_blue_and_control_orange_wherever_they_stand_side_by_side() {
    for board in Board::all() {
        for panel in board.panels() {
            let legends = list(&panel["targets"]).iter().map(|target| word(&target["legendFormat"]));
            let arms = legends
                .filter(|legend| ["treatment", "control", "{{arm}}"].iter().any(|arm| legend.contains(arm)));
            if arms.count() == 0 {
                continue;
            }
            let config = &panel["fieldConfig"];
            let control = list(&config["overrides"]).iter().any(|rule| {
                word(&rule["matcher"]["options"]).contains("control") && rule.to_string().contains("#E69F00")
            });
            let treatment = config["defaults"]["color"]["fixedColor"] == "#0072B2";
            assert!(control && treatment, "{}: {}", board.file, panel["title"]);
        }
    }
}

#[test]
fn every_alert_is_explained_where_it_points_to() {
    let guide = text("docs/monitoring.md");
    let rules = text("dashboards/rules/huidu_alerts.yml");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 15);
    for alert in alerts {
        assert!(guide.contains(&format!("\n### {alert}\n")), "{alert}");
        let runbook = format!("runbook: docs/monitoring.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&runbook), "{alert}");
    }
}

#[test]
fn each_kind_of_fault_is_found() {
    let broken = |change: fn(&mut Value), fault: &str| {
        let mut board = Board::all().into_iter().next().unwrap();
        change(&mut board.json);
        let found = faults(&board);
        assert!(found.iter().any(|found| found.contains(fault)), "{fault}: {found:?}");
    };
    broken(|json| json["id"] = 7.into(), "an `id`");
    broken(|json| json["uid"] = "other".into(), "not named by its uid");
    broken(
        |json| json["templating"]["list"][1]["description"] = Value::Null,
        "variable \"environment\": no description",
    );
    broken(|json| json["panels"][2]["description"] = "".into(), "no description");
    broken(|json| json["panels"][3]["fieldConfig"]["defaults"] = Value::Null, "no unit");
    broken(
        |json| json["panels"][3]["targets"][0]["expr"] = "huidu_decision_total".into(),
        "no metric `huidu_decision_total`",
    );
    broken(
        |json| json["panels"][3]["targets"][0]["expr"] = "up{x=\"$nothing\"}".into(),
        "a variable that is not there",
    );
    broken(|json| json["panels"][3]["id"] = 1.into(), "its number is taken");
    broken(|json| json["panels"][3]["gridPos"] = json["panels"][2]["gridPos"].clone(), "lies over");
    broken(|json| json["panels"][3]["description"] = "See HuiduAsleep.".into(), "no alert `HuiduAsleep`");
    broken(|json| json["panels"][3]["color"] = "#ff0000".into(), "not one of the eight");
}
