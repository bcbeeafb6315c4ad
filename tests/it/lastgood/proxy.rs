//! A way to a server that can be cut, or held so that nothing comes through and nothing ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const PASS: u8 = 0;
const CUT: u8 = 1;
const HELD: u8 = 2;

/// A proxy in front of a PostgreSQL.
pub(super) struct Proxy {
    /// The server's address through it.
    pub(super) url: String,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    /// Stands in front of the server in `url`.
    pub(super) fn start(url: &str) -> Self {
        let server = url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let mode = Arc::new(AtomicU8::new(PASS));
        let shared = mode.clone();
        let target = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.load(Ordering::Acquire) == CUT {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&target) else { continue };
                for (from, to) in [(&stream, &server), (&server, &stream)] {
                    let (from, to, mode) =
                        (from.try_clone().unwrap(), to.try_clone().unwrap(), shared.clone());
                    std::thread::spawn(move || carry(from, to, &mode));
                }
            }
        });
        Self { url: url.replace(&server, &own), mode }
    }

    pub(super) fn pass(&self) {
        self.mode.store(PASS, Ordering::Release);
    }

    /// Ends every connection, and takes no new one.
    pub(super) fn cut(&self) {
        self.mode.store(CUT, Ordering::Release);
    }

    /// Keeps connections open, takes new ones, and carries nothing.
    pub(super) fn hold(&self) {
        self.mode.store(HELD, Ordering::Release);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut bytes = [0; 16_384];
    loop {
        match mode.load(Ordering::Acquire) {
            CUT => break,
            HELD => {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            _ => {}
        }
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) if to.write_all(&bytes[..read]).is_err() => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}
