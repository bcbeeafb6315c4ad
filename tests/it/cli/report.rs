//! `huidu report`.

use std::net::TcpListener;

use serde_json::json;

use super::*;
use crate::report::http::{document, shoppers};

const FLAG: &str = "/v1/environments/production/flags/shown";

/// A service with a flag that 40 users saw five hours ago.
fn start() -> Huidu {
    let huidu = Huidu::start();
    huidu.create_flag(&document());
    shoppers(&huidu, 5);
    huidu
}

#[test]
fn a_report_is_told_in_the_language_that_is_asked_for() {
    let huidu = start();
    let answer = huidu.get(&format!("{FLAG}/report"), ADMIN).expect(200).json();
    let sentence =
        |language: &str| answer["comparisons"][0]["sentence"][language].as_str().unwrap().to_owned();
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let english = call(&huidu, &["report", "shown"]).good();
    assert!(one_line(&english.out).contains(&sentence("en")), "{}", english.out);
    let users = answer["variants"][0]["exposed_users"].to_string();
    english.says(&[
        "shown in production",
        "goal order_paid",
        &users,
        "Funnel of on",
        "entry_clicked",
        "9.1 s",
        "undecided",
    ]);
    let url = format!("http://{}", huidu.address);
    let called = [("HUIDU_URL", url.as_str()), ("HUIDU_KEY", ADMIN)];
    let run_in = |locale: &[(&str, &str)], more: &[&str]| {
        run_with(huidu.folder(), &[&called, locale].concat(), &[&["report", "shown"], more].concat(), b"")
            .good()
            .out
    };
    for (locale, more) in [
        (&[("LANG", "zh_CN.UTF-8")][..], &[][..]),
        (&[("LANG", "en_GB.UTF-8"), ("LC_ALL", "zh_TW.UTF-8")], &[]),
        (&[("LANG", "C.UTF-8")], &["--language", "zh"]),
    ] {
        let chinese = run_in(locale, more);
        assert!(chinese.replace(['\n', ' '], "").contains(&sentence("zh").replace(' ', "")), "{chinese}");
        assert!(chinese.contains("漏斗：on") && chinese.contains("尚无定论"), "{chinese}");
    }
    assert!(run_in(&[("LC_MESSAGES", "en_US.UTF-8"), ("LANG", "zh_CN.UTF-8")], &[]).contains("undecided"));
    assert!(!run_in(&[], &[]).contains('\u{1b}'), "no colours in a pipe");
    let narrow = run_in(&[], &["--width", "60"]);
    assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
}

#[test]
fn a_report_is_split_and_told_over_time() {
    let huidu = start();
    call(&huidu, &["report", "shown", "--by", "user.region"]).good().says(&["By user.region", "CN-31"]);
    let hours = call(&huidu, &["report", "shown", "--by-hour"]).good().says(&["by hour", "on"]);
    assert!(hours.out.contains('█') || hours.out.contains('▅'), "{}", hours.out);
    call(&huidu, &["report", "shown", "--by-day", "--tz", "Asia/Shanghai"])
        .good()
        .says(&["by day (Asia/Shanghai)"]);
    call(&huidu, &["report", "shown", "--tz", "Asia/Shanghai"]).good().says(&["Asia/Shanghai"]);
    call(&huidu, &["report", "shown", "--from", "2100-01-01T00:00:00Z"])
        .good()
        .says(&["To know", "the range ends"]);
    call(&huidu, &["report", "shown", "--by", "user.age"]).bad(1, &["query_invalid", "user.region"]);
    call(&huidu, &["report", "nobody"]).bad(1, &["not_found: there is no such flag"]);
    call_as(&huidu, &huidu.server, &["report", "shown"], b"").bad(1, &["forbidden"]);
}

#[test]
fn programs_get_what_the_service_answers() {
    let huidu = start();
    for (arguments, path) in [
        (&["--json"][..], "report"),
        (&["--json", "--by", "user.region"], "report?by=user.region"),
        (&["--json", "--by-hour"], "timeseries?by=hour"),
    ] {
        let told = huidu.get(&format!("{FLAG}/{path}"), ADMIN).expect(200).text;
        assert_eq!(call(&huidu, &[&["report", "shown"], arguments].concat()).good().out, told + "\n");
    }
    for (arguments, path) in [
        (&["--csv"][..], "report?format=csv"),
        (&["--csv", "--table", "stages"], "report?format=csv&table=stages"),
        (&["--csv", "--by-day", "--tz", "Asia/Shanghai"], "timeseries?format=csv&by=day&tz=Asia/Shanghai"),
    ] {
        let told = huidu.get(&format!("{FLAG}/{path}"), ADMIN).expect(200).text;
        assert_eq!(call(&huidu, &[&["report", "shown"], arguments].concat()).good().out, told);
    }
}

#[test]
fn a_report_that_is_being_counted_is_waited_for() {
    let huidu = start();
    let told = huidu.get(&format!("{FLAG}/report"), ADMIN).expect(200).text;
    let problem = json!({"status": 503, "code": "report_preparing", "detail": "120 of 336 hours are counted; ask again"});
    let answers = [("503 Service Unavailable", problem.to_string()), ("200 OK", told.clone())];
    // Stands in front of the service, which would need a very large flag to be that slow.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        for (status, text) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            std::io::Read::read(&mut stream, &mut head).unwrap();
            let length = text.len();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all((head + &text).as_bytes()).unwrap();
        }
    });
    let done = run(huidu.folder(), &["report", "shown", "--json", "--url", &url, "--key", "k"]).good();
    assert_eq!(done.out, told + "\n");
    assert_eq!(done.err, "huidu: 120 of 336 hours are counted; ask again: waiting\n");
    server.join().unwrap();
}
