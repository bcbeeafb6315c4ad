//! How the server listens, and what stands before and around the router.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use tokio::sync::oneshot;

use super::around::{HttpMeters, around};
use super::service::Service;
use super::{cors, front};

/// Longest time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for which sent bytes may wait to be taken by the other end.
const UNTAKEN_MAX: Duration = Duration::from_secs(10);
/// Longest idle time of a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The thread that runs the server. Threads have the priority of whoever begins them: it and its workers keep the one that
/// this had when it began, whatever stands back later.
pub struct ServerThread {
    given: oneshot::Sender<Server>,
    ended: oneshot::Receiver<std::io::Result<()>>,
}

impl ServerThread {
    /// A thread that waits for a server.
    ///
    /// # Errors
    /// If the machine gives no thread.
    pub fn begin() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (given, taken) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        std::thread::Builder::new().name("http-server".into()).spawn(move || {
            let Ok(server) = taken.blocking_recv() else { return };
            // Nobody asks when the service could not start.
            drop(tell.send(runtime.block_on(server)));
        })?;
        Ok(Self { given, ended })
    }

    /// Runs the server; what it ended with comes when it has ended.
    pub fn run(self, server: Server) -> oneshot::Receiver<std::io::Result<()>> {
        drop(self.given.send(server));
        self.ended
    }
}

/// Starts to listen; the addresses that were bound, and the server, which runs when awaited.
///
/// # Errors
/// If the address is taken.
pub fn listen(
    listener: TcpListener,
    service: Data<Service>,
    meters: Arc<HttpMeters>,
) -> std::io::Result<(Vec<SocketAddr>, Server)> {
    let settings = &service.settings;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = if settings.workers == 0 { cores } else { settings.workers };
    // Streams are counted apart, so that they can never take the connections that decisions need.
    let connections = (settings.connections_max + settings.streams_max).div_ceil(workers);
    let shutdown = settings.shutdown_seconds;
    let origins = settings.cors_origins.clone();
    let server = HttpServer::new(move || {
        let app = App::new()
            .app_data(service.clone())
            .app_data(Data::from(meters.clone()))
            .wrap(from_fn(around))
            .wrap(cors::around(&origins))
            .configure(super::routes);
        front::before(app, &service, &meters)
    })
    .workers(workers)
    .max_connections(connections)
    .client_request_timeout(HEAD_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .on_connect(|connection, _| bound_silence(connection))
    // A page that is closed says so by ending its side only: its stream must not stay until the next heartbeat.
    .h1_allow_half_closed(false)
    .shutdown_timeout(shutdown)
    .disable_signals()
    .listen(listener)?;
    Ok((server.addrs(), server.run()))
}

/// Has the machine close a connection whose other end takes nothing for [`UNTAKEN_MAX`]: a reader that has stopped, or
/// is gone without a word, must not keep its stream.
#[cfg(target_os = "linux")]
fn bound_silence(connection: &dyn std::any::Any) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNTAKEN_MAX)) {
        tracing::debug!(%error, "a connection has no bound on untaken bytes");
    }
}

/// Other systems have no such bound: there the heartbeats that nobody takes fill a buffer of fixed size, and then wait.
#[cfg(not(target_os = "linux"))]
fn bound_silence(_connection: &dyn std::any::Any) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_bounded_by_what_its_other_end_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = actix_web::rt::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let bound = || socket2::SockRef::from(&stream).tcp_user_timeout().unwrap();
        assert_ne!(bound(), Some(UNTAKEN_MAX));
        bound_silence(&stream);
        assert_eq!(bound(), Some(UNTAKEN_MAX));
    }
}
