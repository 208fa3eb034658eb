//! Names and version of the pinned maps: the contract between builds.

/// Raised with every change of layout or meaning of a pinned map. A controller refuses pins of
/// another version.
pub const VERSION: u32 = 5;

/// Names of the maps, as the XDP program declares them and as they are pinned.
pub mod maps {
    /// Array of one [`crate::settings::Settings`].
    pub const SETTINGS: &str = "SETTINGS";
    /// Hash of [`crate::service::ServiceKey`] to [`crate::service::Service`].
    pub const SERVICES: &str = "SERVICES";
    /// Array of one `u32`, another whenever [`SERVICES`] or [`PEERS`] were added to or removed from.
    pub const GENERATION: &str = "GENERATION";
    /// Array of [`crate::service::Service`] by id.
    pub const SERVICE_BY_ID: &str = "SERVICE_BY_ID";
    /// Array by service id of maps that hold one [`crate::ring::Ring`].
    pub const RINGS: &str = "RINGS";
    /// Array of [`crate::backend::Backend`] by id.
    pub const BACKENDS: &str = "BACKENDS";
    /// Array of [`crate::backend::Source`] by number.
    pub const SOURCES: &str = "SOURCES";
    /// Hash of [`crate::backend::PeerKey`] to the peer's number (`u32`).
    pub const PEERS: &str = "PEERS";
    /// Array by peer of arrays of [`crate::port::Port`].
    pub const PORTS: &str = "PORTS";
    /// Hash of [`crate::flow::FlowKey`] to [`crate::flow::Flow`]: handshakes under way.
    pub const PENDING: &str = "PENDING";
    /// Hash of [`crate::flow::FlowKey`] to [`crate::flow::Flow`]: connections.
    pub const FLOWS: &str = "FLOWS";
    /// Hash of [`crate::flow::FlowKey`] to [`crate::flow::Flow`]: connections of the backend that
    /// their slot is leaving.
    pub const LEARNED: &str = "LEARNED";
    /// Array of words by [`crate::ring::missed_place`]: slots with flows that did not get into
    /// [`LEARNED`].
    pub const MISSED: &str = "MISSED";
    /// Array of [`crate::admission::Admission`] by service id.
    pub const ADMISSIONS: &str = "ADMISSIONS";
    /// Trie of [`crate::admission::ListKey`] to [`crate::admission::Listed`].
    pub const LISTS: &str = "LISTS";
    /// Array of [`crate::load::LoadLimits`] by backend id.
    pub const LOAD_LIMITS: &str = "LOAD_LIMITS";
    /// Array of [`crate::load::Load`] by backend id.
    pub const LOADS: &str = "LOADS";
    /// Per-CPU array of `u64` by verdict.
    pub const VERDICTS: &str = "VERDICTS";
    /// Per-CPU array of [`crate::counters::BackendCounters`] by backend id.
    pub const BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";
}

/// Default sizes of the tables; the controller may load the program with others.
pub mod sizes {
    /// Services.
    pub const SERVICES: usize = 512;
    /// Backends, all services together.
    pub const BACKENDS: usize = 4096;
    /// Peers: brokers times [`crate::backend::MAX_SOURCES`].
    pub const PEERS: usize = 4096 * crate::backend::MAX_SOURCES as usize;
    /// Source ports of a peer.
    pub const PORTS: usize = 1024;
    /// Handshakes under way.
    pub const PENDING: usize = 65_536;
    /// Connections.
    pub const FLOWS: usize = 1_048_576;
    /// Connections of backends that their slots are leaving.
    pub const LEARNED: usize = 1_048_576;
    /// Prefixes in lists of sources, all services together.
    pub const LISTED: usize = 65_536;
    /// Sources, or prefixes, whose SYNs are counted at a time.
    pub const RATES: usize = 65_536;
    /// Words of flags, one per slot and service.
    pub const MISSED: usize = SERVICES * crate::ring::MISSED_WORDS as usize;
}
