//! Every default value of the configuration.

use std::time::Duration;

use super::model::{
    Affinity, AllDown, Ejection, Guard, HashKey, Limits, LogFormat, LogLevel, LogSettings, Mode,
    MqttSettings, MqttVersion, Pacing, Policy, PortRange, Refusal, SendProxyProtocol, StatusRange,
    StickySettings, Timeouts, TlsVersion, Weight, WhenAway, XdpMode,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `interfaces[].xdp`
pub const XDP: XdpMode = XdpMode::Auto;

/// `nat.ports`: below the kernel's ephemeral ports (32768 to 60999), above those that are
/// registered for MQTT and most other services.
pub const NAT_PORTS: PortRange = match PortRange::new(15_000, 30_000) {
    Some(range) => range,
    None => unreachable!(),
};

/// `limits`
pub const LIMITS: Limits = Limits { connections: 1_000_000, pending: 65_536, backends: 4096 };

/// `timeouts`
pub const TIMEOUTS: Timeouts =
    Timeouts { pending: seconds(10), closed: seconds(60), port_rest: seconds(60) };

/// `api.socket`
pub const SOCKET: &str = "/run/mqlb/mqlb.sock";

/// `api.mode`
pub const SOCKET_MODE: u32 = 0o600;

/// `state_dir`
pub const STATE_DIR: &str = "/var/lib/mqlb";

/// `pin_dir`
pub const PIN_DIR: &str = "/sys/fs/bpf/mqlb";

/// `--pin-dir` of `mqlb decap`
pub const DECAP_PIN_DIR: &str = "/sys/fs/bpf/mqlb-decap";

/// `hold_vips`
pub const HOLD_VIPS: bool = false;

/// `log`
pub const LOG: LogSettings = LogSettings { level: LogLevel::Info, format: LogFormat::Text };

/// `services[].mode`
pub const MODE: Mode = Mode::Nat;

/// `services[].affinity`
pub const AFFINITY: Affinity = Affinity::Connection;

/// `services[].idle_timeout`: more than 1.5 times the largest Keep Alive of MQTT, 65,535 s.
pub const IDLE_TIMEOUT: Duration = seconds(28 * 3600);

/// `services[].no_backend` and `services[].unknown_flow`
pub const REFUSAL: Refusal = Refusal::Reset;

/// `services[].guard`
pub const GUARD: Guard = Guard::Off;

/// `services[].all_down`
pub const ALL_DOWN: AllDown = AllDown::LastKnownGood;

/// `services[].dead_after`
pub const DEAD_AFTER: Option<Duration> = Some(seconds(300));

/// `services[].rebase_after`: long enough for a change and its reversal on another day.
pub const REBASE_AFTER: Duration = seconds(24 * 3600);

/// `services[].ejection`, where it is there
pub const EJECTION: Ejection = Ejection {
    refused_percent: 50,
    min_connects: 20,
    interval: seconds(10),
    eject_for: seconds(30),
    max_eject_for: seconds(300),
    max_ejected_percent: 50,
};

/// `services[].mqtt.tls.alpn`
pub const TLS_ALPN: &str = "mqtt";
/// `services[].mqtt.tls.min_version`
pub const TLS_MIN_VERSION: TlsVersion = TlsVersion::V12;

/// `services[].mqtt`, in the mode `mqtt`
pub const MQTT: MqttSettings = MqttSettings {
    policy: Policy::RoundRobin,
    hash_key: HashKey::ClientId,
    hash_capture: None,
    bounded_load: None,
    fill_connections: None,
    load: None,
    max_connect_bytes: 256 << 10,
    connect_memory_bytes: 64 << 20,
    connect_within: seconds(10),
    max_waiting: 10_000,
    broker_connect_within: seconds(3),
    connack_within: seconds(10),
    attempts: 3,
    tcp_keepalive: seconds(60),
    tcp_user_timeout: seconds(60),
    takeover: false,
    addresses: Vec::new(),
    proxy_protocol_from: Vec::new(),
    send_proxy_protocol: SendProxyProtocol::Off,
    pacing: Pacing { source: None, service: None, backend: None, max_wait: seconds(30) },
    sticky: None,
    connection_log: None,
    tls: None,
    broker_tls: None,
    tls_passthrough: Vec::new(),
};

/// `services[].mqtt.sticky`, where it is there
pub const STICKY: StickySettings =
    StickySettings { entries: 1_000_000, when_away: WhenAway::ComeBack };

/// `services[].mqtt.load.interval`: new connections count at once, so that the load may be a little old.
pub const LOAD_INTERVAL: Duration = seconds(10);

/// `services[].mqtt.load.timeout`, unless the interval is shorter.
pub const LOAD_TIMEOUT: Duration = seconds(2);

/// `services[].mqtt.load.max_age`, in intervals.
pub const LOAD_MAX_AGE_INTERVALS: u32 = 3;

/// `services[].mqtt.load.client_id`: another one than that of the health checks, which would be taken over.
pub const LOAD_CLIENT_ID: &str = "mqlb-load-{host}-{backend}";

/// `services[].backends[].weight`
pub const WEIGHT: Weight = Weight::DEFAULT;

/// `services[].health.interval`
pub const INTERVAL: Duration = seconds(2);

/// `services[].health.timeout`, unless the interval is shorter.
pub const TIMEOUT: Duration = seconds(1);

/// `services[].health.rise`
pub const RISE: u32 = 2;

/// `services[].health.fall`
pub const FALL: u32 = 3;

/// `services[].health.jitter`
pub const JITTER_PERCENT: u8 = 10;

/// `services[].health.version`
pub const MQTT_VERSION: MqttVersion = MqttVersion::V311;

/// `services[].health.client_id`
pub const CLIENT_ID: &str = "mqlb-health-{host}-{backend}";

/// `services[].health.ping`
pub const PING: bool = false;

/// `services[].health.path`
pub const HTTP_PATH: &str = "/";

/// `services[].health.status`
pub const HTTP_STATUS: StatusRange = StatusRange { first: 200, last: 200 };

/// `services[].health.tls.insecure`
pub const TLS_INSECURE: bool = false;
