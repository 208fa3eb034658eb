//! From the settings of a service to the policy that chooses.

use super::choose::{
    LoadBound, Policy,
    key::{Field, KeyRule},
};
use crate::config::model::{self, HashKey, MqttSettings};

/// The policy that `settings` ask for.
#[must_use]
pub fn of(settings: &MqttSettings) -> Policy {
    let bound = settings.bounded_load.and_then(LoadBound::new);
    match settings.policy {
        model::Policy::RoundRobin => Policy::WeightedRoundRobin,
        model::Policy::RandomOfTwo => Policy::RandomOfTwo,
        model::Policy::LeastConnections => Policy::LeastConnections,
        model::Policy::LeastLoad => Policy::LeastLoad,
        model::Policy::Source => Policy::SourceHash { bound },
        model::Policy::Hash => Policy::KeyHash { rules: rules(settings), bound },
        model::Policy::FillFirst => {
            Policy::FillFirst { connections: settings.fill_connections.unwrap_or(u32::MAX) }
        }
    }
}

/// Whether both ask for the same policy: then the chooser may keep what it remembers.
#[must_use]
pub fn is_same(one: &MqttSettings, other: &MqttSettings) -> bool {
    let asked = |settings: &MqttSettings| {
        let MqttSettings { policy, hash_key, hash_capture, bounded_load, .. } = settings.clone();
        let MqttSettings { fill_connections, tls_passthrough, .. } = settings.clone();
        let how = (policy, hash_key, hash_capture, bounded_load.map(f64::to_bits));
        (how, fill_connections, tls_passthrough)
    };
    asked(one) == asked(other)
}

/// A user name may be missing, and then the Client Identifier says most about a client.
fn rules(settings: &MqttSettings) -> Vec<KeyRule> {
    let fields = match settings.hash_key {
        HashKey::ClientId => &[Field::ClientId][..],
        HashKey::Username => &[Field::Username, Field::ClientId],
        HashKey::CertificateCn => &[Field::CommonName, Field::ClientId],
        HashKey::CertificateSan => &[Field::SubjectAltName, Field::ClientId],
        HashKey::ServerName => &[Field::ServerName, Field::ClientId],
    };
    let rule = |field| match &settings.hash_capture {
        None => KeyRule::whole(field),
        // It was tried when the configuration was read.
        Some(text) => KeyRule::capture(field, text).unwrap_or_else(|_| KeyRule::whole(field)),
    };
    // What is captured of one field says nothing about another.
    let used = if settings.hash_capture.is_some() { &fields[..1] } else { fields };
    used.iter().copied().map(rule).collect()
}
