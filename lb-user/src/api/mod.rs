//! How a running controller is spoken to: HTTP and JSON over a Unix socket.
//!
//! | method and path | what |
//! |---|---|
//! | `GET /v1/status` | the whole picture |
//! | `GET /v1/services` | the services with their backends |
//! | `GET /v1/backends?service=` | the backends |
//! | `GET /v1/services/S/backends/B` | one backend |
//! | `POST /v1/services/S/backends` | adds a backend: [`types::NewBackend`] |
//! | `DELETE /v1/services/S/backends/B` | removes it |
//! | `POST /v1/services/S/backends/B/drain`, `.../undrain` | takes it out for new connections, and back |
//! | `PUT /v1/services/S/backends/B/weight` | [`types::NewWeight`] |
//! | `GET /v1/flows?service=&backend=&client=&limit=` | connections |
//! | `GET /v1/explain?client=&vip=` | where a client's packets go, and why |
//! | `POST /v1/ring/diff` | what a change would move, without making it: [`types::RingChange`] |
//! | `POST /v1/trace` | follows packets: [`types::TraceOrder`]; one line of JSON per packet, see [`types::TraceLine`] |
//! | `DELETE /v1/trace` | ends the trace that runs |
//! | `POST /v1/reload?dry_run=true` | makes the configuration file the truth again |
//! | `GET /healthz`, `GET /metrics` | for supervisors and Prometheus; also over TCP, if configured |
//!
//! Errors are [`types::ErrorBody`] with a fitting status.

pub mod client;
mod reply;
pub mod server;
pub mod socket;
#[cfg(test)]
mod tests;
mod trace;
pub mod types;
