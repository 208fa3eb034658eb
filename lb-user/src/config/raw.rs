//! The shape of the file: which keys exist, and what is a list.
//!
//! Every key may be missing and every value is still text here, so that `check` finds all mistakes
//! in one go; only an unknown key or a wrong shape ends reading at once.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

macro_rules! mapping {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, expecting = "a mapping")]
        pub struct $name { $(pub $field: Option<$type>,)* }
    };
}

mapping! {
    /// The whole file.
    Config {
        interfaces: Vec<Interface>,
        nat: Nat,
        tunnel: Tunnel,
        sources: Sources,
        seed: Text,
        limits: Limits,
        timeouts: Timeouts,
        api: Api,
        state_dir: Text,
        pin_dir: Text,
        hold_vips: Text,
        log: Log,
        services: Vec<Service>,
    }
}

mapping! { Interface { name: Text, xdp: Text, } }
mapping! { Nat { addresses: Vec<Text>, ports: Text, } }
mapping! { Tunnel { sources: Vec<Text>, } }
mapping! { Sources { deny: Vec<Text>, allow: Vec<Text>, } }
mapping! { Limits { connections: Text, pending: Text, backends: Text, } }
mapping! { Timeouts { pending: Text, closed: Text, port_rest: Text, } }
mapping! { Api { socket: Text, mode: Text, metrics: Text, } }
mapping! { Log { level: Text, format: Text, } }

mapping! {
    Service {
        name: Text,
        vip: Text,
        port: Text,
        mode: Text,
        affinity: Text,
        idle_timeout: Text,
        no_backend: Text,
        unknown_flow: Text,
        guard: Text,
        sources: Sources,
        syn_rates: SynRates,
        max_new_per_second: Text,
        slow_start: Text,
        max_connections: Text,
        all_down: Text,
        dead_after: Text,
        rebase_after: Text,
        health: Health,
        ejection: Ejection,
        mqtt: Mqtt,
        backends: Vec<Backend>,
    }
}

mapping! {
    Ejection {
        refused: Text,
        min_connects: Text,
        interval: Text,
        eject_for: Text,
        max_eject_for: Text,
        max_ejected: Text,
    }
}

mapping! {
    Mqtt {
        policy: Text,
        hash_key: Text,
        hash_capture: Text,
        bounded_load: Text,
        fill_connections: Text,
        load: Load,
        max_connect: Text,
        connect_memory: Text,
        connect_within: Text,
        max_waiting: Text,
        broker_connect_within: Text,
        connack_within: Text,
        attempts: Text,
        tcp_keepalive: Text,
        tcp_user_timeout: Text,
        takeover: Text,
        addresses: Vec<Text>,
        proxy_protocol_from: Vec<Text>,
        send_proxy_protocol: Text,
        pacing: Pacing,
        sticky: Sticky,
        connection_log: Text,
        tls: ServerTls,
        broker_tls: BrokerTls,
        tls_passthrough: Vec<TlsRoute>,
    }
}

mapping! {
    ServerTls {
        certificates: Vec<CertificateFiles>,
        alpn: Vec<Text>,
        min_version: Text,
        client_certificates: Text,
        ca_file: Text,
        crl_files: Vec<Text>,
        username_from: Text,
        client_id_from: Text,
    }
}

mapping! { TlsRoute { server_names: Vec<Text>, backends: Vec<Text>, } }
mapping! { CertificateFiles { certificate_file: Text, key_file: Text, } }
mapping! { BrokerTls { ca_file: Text, server_name: Text, certificate_file: Text, key_file: Text, } }

mapping! { Pacing { source: Text, service: Text, backend: Text, max_wait: Text, } }
mapping! { Sticky { entries: Text, when_away: Text, } }
mapping! { SynRates { source: SynRate, prefix: PrefixRate, } }
mapping! { SynRate { rate: Text, burst: Text, } }
mapping! { PrefixRate { bits: Text, rate: Text, burst: Text, } }

mapping! {
    Backend {
        name: Text,
        address: Text,
        port: Text,
        weight: Text,
        max_new_per_second: Text,
        max_connections: Text,
    }
}

// `type` is a keyword, so this one is written out.
/// The keys of every type of check; which of them belong together is for `check` to say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub struct Health {
    #[serde(rename = "type")]
    pub kind: Option<Text>,
    pub interval: Option<Text>,
    pub timeout: Option<Text>,
    pub rise: Option<Text>,
    pub fall: Option<Text>,
    pub jitter: Option<Text>,
    pub port: Option<Text>,
    pub version: Option<Text>,
    pub client_id: Option<Text>,
    pub username: Option<Text>,
    pub password: Option<Text>,
    pub password_file: Option<Text>,
    pub ping: Option<Text>,
    pub path: Option<Text>,
    pub host: Option<Text>,
    pub status: Option<OneOrMore>,
    pub tls: Option<Tls>,
}

/// The keys of every type of source of a broker's load.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub struct Load {
    #[serde(rename = "type")]
    pub kind: Option<Text>,
    pub interval: Option<Text>,
    pub timeout: Option<Text>,
    pub max_age: Option<Text>,
    pub port: Option<Text>,
    pub path: Option<Text>,
    pub host: Option<Text>,
    pub json_pointer: Option<Text>,
    pub metric: Option<Text>,
    pub topic: Option<Text>,
    pub version: Option<Text>,
    pub client_id: Option<Text>,
    pub username: Option<Text>,
    pub password: Option<Text>,
    pub password_file: Option<Text>,
    pub tls: Option<Tls>,
}

mapping! { Tls { ca_file: Text, server_name: Text, insecure: Text, } }

/// A single value, as it stands in the file, without quotes.
pub struct Text(pub String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a password.
        f.write_str("Text(***)")
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;
        impl Visitor<'_> for AnyScalar {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
        }
        // Asked for a string, serde_yaml gives the text of any scalar: `0600` stays `0600`.
        deserializer.deserialize_str(AnyScalar)
    }
}

/// A single value, or a list of them.
#[derive(Debug)]
pub struct OneOrMore(pub Vec<Text>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarOrList;
        impl<'de> Visitor<'de> for ScalarOrList {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![Text(text.to_owned())]))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<OneOrMore, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<OneOrMore, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<OneOrMore, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMore, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(OneOrMore(items))
            }
        }
        deserializer.deserialize_any(ScalarOrList)
    }
}
