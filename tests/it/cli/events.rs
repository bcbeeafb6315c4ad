//! `huidu exposures` and `huidu conversions`.

use serde_json::json;

use super::*;

#[test]
fn events_are_written_as_the_service_streams_them() {
    let huidu = Huidu::start();
    let token = huidu.tester_token();
    let events = json!([
        {"type": "exposure", "token": token}, {"id": "e-2", "type": "step", "step": "qr_shown", "token": token},
        {"id": "e-3", "type": "step", "step": "order_paid", "user_id": "tester-1"},
    ]);
    huidu.events(&huidu.server, &events).expect(200);
    let path = "/v1/environments/production/flags/wechat-scan-pay";
    for (command, rows) in [("exposures", 1), ("conversions", 2)] {
        for format in ["csv", "ndjson"] {
            let told = huidu.get(&format!("{path}/{command}?format={format}"), ADMIN).expect(200).text;
            let done = call(&huidu, &[command, "wechat-scan-pay", "--format", format]).good();
            assert_eq!(done.out, told);
            assert_eq!(done.out.lines().count(), rows + usize::from(format == "csv"));
        }
        let file = huidu.folder().join(format!("{command}.csv"));
        let file = file.to_str().unwrap();
        let done = call(&huidu, &[command, "wechat-scan-pay", "--output", file]).good();
        assert_eq!(done.out, "");
        let told = huidu.get(&format!("{path}/{command}?format=csv"), ADMIN).expect(200).text;
        assert_eq!(std::fs::read_to_string(file).unwrap(), told);
        call(&huidu, &[command, "wechat-scan-pay", "--output", file]).bad(1, &[file, "cannot be made"]);
        let later = ["--from", "2099-01-01T00:00:00+08:00"];
        let none = call(&huidu, &[&[command, "wechat-scan-pay"], &later[..]].concat()).good();
        assert_eq!(none.out.lines().count(), 1, "the head alone: {none:?}");
    }
    let lines = call(&huidu, &["conversions", "wechat-scan-pay", "--format", "ndjson"]).good().out;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let cursor = first["cursor"].as_str().unwrap();
    let rest = ["conversions", "wechat-scan-pay", "--format", "ndjson", "--cursor", cursor];
    assert_eq!(call(&huidu, &rest).good().out, lines.lines().nth(1).unwrap().to_owned() + "\n");
    call(&huidu, &["exposures", "wechat-scan-pay", "--cursor", cursor]).bad(1, &["query_invalid", "cursor"]);
    call(&huidu, &["exposures", "nobody"]).bad(1, &["there is no such flag"]);
    call(&huidu, &["exposures", "nobody", "--to", "noon"]).bad(2, &["RFC 3339"]);
    call_as(&huidu, &huidu.server, &["exposures", "wechat-scan-pay"], b"").bad(1, &["forbidden"]);
}
