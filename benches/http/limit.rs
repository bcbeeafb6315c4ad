//! The limit: what actix-web does at best on this machine. It receives a body, does not parse it, and answers as many
//! bytes as the path says. `benches/http/run.py` drives it and huidu in turn.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use actix_web::web::{self, Bytes, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};

/// What it answers is cut from here.
static ANSWER: [u8; 1 << 16] = [b'x'; 1 << 16];

/// `POST /{bytes}`, without a route to match: the path is a number.
async fn answer(request: HttpRequest, body: Bytes) -> HttpResponse {
    std::hint::black_box(&body);
    let size = request.path().trim_start_matches('/').parse().unwrap_or(300);
    HttpResponse::Ok().content_type("application/json").body(ANSWER.get(..size).unwrap_or(&ANSWER))
}

fn main() -> std::io::Result<()> {
    let workers = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    actix_web::rt::System::new().block_on(async move {
        let app = || App::new().app_data(PayloadConfig::new(1 << 20)).default_service(web::to(answer));
        let server = HttpServer::new(app).workers(workers).bind(("127.0.0.1", 0))?;
        for address in server.addrs() {
            println!("http://{address}");
        }
        server.run().await
    })
}
