//! A client by rumqttc, which has two interfaces: one for each version.

mod v311;
mod v5;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rumqttc::{Outgoing, TlsConfiguration, Transport};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::events::{Command, Event, Settings, Version};

/// Commands that wait for the network.
const QUEUE: usize = 100;
const MAX_PACKET_BYTES: u32 = 1024 * 1024;
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Runs the client until it has left, or its connection has ended for good.
pub fn run(settings: &Settings, commands: UnboundedReceiver<Command>, events: Sender<Event>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reconnect = settings.reconnect;
    let progress = Progress { events, connected: false, leaving: false, reconnect };
    match settings.version {
        Version::V311 => runtime.block_on(v311::run(settings, commands, progress)),
        Version::V5 => runtime.block_on(v5::run(settings, commands, progress)),
    }
}

/// Tells events, and knows which is the last one.
struct Progress {
    events: Sender<Event>,
    connected: bool,
    /// DISCONNECT has been sent, and the broker closes.
    leaving: bool,
    reconnect: bool,
}

impl Progress {
    /// What an error of the event loop says: the end of a connection, or that there was none.
    fn error(&self, error: &impl Display) -> Event {
        if self.leaving {
            Event::Left
        } else if self.connected {
            Event::Disconnected { code: None }
        } else {
            Event::Failed { text: error.to_string() }
        }
    }

    /// What it means that the library has sent a packet.
    fn sent(&mut self, outgoing: &Outgoing) -> Option<Event> {
        self.leaving |= *outgoing == Outgoing::Disconnect;
        // Only those with QoS 0 have no identifier.
        (*outgoing == Outgoing::Publish(0)).then_some(Event::Published)
    }

    /// Tells it; whether there is more to come.
    async fn tell(&mut self, event: Option<Event>) -> bool {
        let Some(event) = event else { return true };
        let left = event == Event::Left;
        let over = matches!(
            event,
            Event::Refused { .. } | Event::Failed { .. } | Event::Disconnected { .. }
        );
        self.connected = !over;
        // A test that listens no more has let go of the client.
        let listened = self.events.send(event).is_ok();
        if over && self.reconnect {
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
        listened && !left && (!over || self.reconnect)
    }
}

fn transport(settings: &Settings) -> Transport {
    let Some(ca) = &settings.ca else { return Transport::Tcp };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
