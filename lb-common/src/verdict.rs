//! What happened to a packet: every packet has exactly one verdict, and every verdict a counter.

/// What the kernel is told to do with a packet of some verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give it to the kernel's network stack.
    Pass,
    /// Send it on, out of the interface that the route names.
    Forward,
    /// Discard it.
    Drop,
    /// Send it back where it came from: it was turned into a RST or an ICMP error.
    Reply,
}

/// An enum of verdicts, each with its name and its action.
macro_rules! verdicts {
    (
        $(#[$about:meta])* $enum:ident;
        $($(#[$doc:meta])* $variant:ident = $name:literal, $action:ident;)*
    ) => {
        $(#[$about])*
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum { $($(#[$doc])* $variant,)* }

        impl $enum {
            /// Every verdict, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name under which it is counted.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happens to a packet with this verdict.
            #[inline(always)]
            #[must_use]
            pub const fn action(self) -> Action {
                match self { $(Self::$variant => Action::$action,)* }
            }
        }
    };
}
pub(crate) use verdicts;

verdicts! {
    /// The fate of a packet. The discriminant is the index of its counter.
    Verdict;
    /// Forwarded to a broker.
    ToBackend = "to_backend", Forward;
    /// A new connection that went to the backend that its slot is leaving, because the pending
    /// table is full: it stays there without being tracked.
    ToBackendUntracked = "to_backend_untracked", Forward;
    /// Forwarded to a client.
    ToClient = "to_client", Forward;
    /// Rewritten for a broker, given to the kernel to resolve the next hop.
    ToBackendByKernel = "to_backend_by_kernel", Pass;
    /// Rewritten for a client, given to the kernel to resolve the next hop.
    ToClientByKernel = "to_client_by_kernel", Pass;
    /// An ICMP error about a broker's segment, forwarded to that broker.
    IcmpToBackend = "icmp_to_backend", Forward;
    /// An ICMP error about a client's segment, forwarded to that client.
    IcmpToClient = "icmp_to_client", Forward;
    /// An ICMP error about no connection that is known, or that does not fit it.
    IcmpUnrelated = "icmp_unrelated", Pass;
    /// A later fragment, forwarded to where its first one went.
    FragmentFollowed = "fragment_followed", Forward;
    /// Neither IPv4 nor IPv6.
    NotIp = "not_ip", Pass;
    /// Neither TCP nor an ICMP error.
    NotTcp = "not_tcp", Pass;
    /// TCP, but neither to a service nor from a broker.
    NotOurs = "not_ours", Pass;
    /// Headers that end early, or lengths that contradict each other.
    BadLength = "bad_length", Pass;
    /// An IPv4 header whose checksum is wrong.
    BadIpChecksum = "bad_ip_checksum", Pass;
    /// IPv4 options.
    IpOptions = "ip_options", Pass;
    /// An IPv6 extension header before the TCP header.
    ExtensionHeader = "extension_header", Pass;
    /// A fragment that follows no first one that is known.
    Fragment = "fragment", Pass;
    /// Impossible TCP flags (SYN with FIN or RST, or none at all), to a service.
    BadTcpFlags = "bad_tcp_flags", Drop;
    /// The TTL or hop limit ended here.
    TtlExpired = "ttl_expired", Drop;
    /// The service has no usable backend; answered with RST.
    NoBackendReset = "no_backend_reset", Reply;
    /// The service has no usable backend; dropped.
    NoBackendDrop = "no_backend_drop", Drop;
    /// A new connection of a source that a list denies.
    SourceDenied = "source_denied", Drop;
    /// A SYN of a source that sends more of them than the service takes from one.
    SourceLimited = "source_limited", Drop;
    /// A SYN of a prefix whose sources send more of them than the service takes from one.
    PrefixLimited = "prefix_limited", Drop;
    /// A new connection for a backend that has just been given as many as it takes in that time; the
    /// client sends its SYN again.
    BackendPaced = "backend_paced", Drop;
    /// A new connection for a backend that has as many as it takes; answered with RST.
    BackendFullReset = "backend_full_reset", Reply;
    /// A new connection for a backend that has as many as it takes; dropped.
    BackendFullDrop = "backend_full_drop", Drop;
    /// A segment of no known flow; answered with RST.
    UnknownFlowReset = "unknown_flow_reset", Reply;
    /// A segment of no known flow; dropped.
    UnknownFlowDrop = "unknown_flow_drop", Drop;
    /// A segment of a flow whose backend is gone; answered with RST.
    BackendGone = "backend_gone", Reply;
    /// The first data of a connection, which are not what its service lets through; answered with
    /// RST.
    Guarded = "guarded", Reply;
    /// A segment of a handshake that its acknowledgement does not prove.
    Unproven = "unproven", Drop;
    /// A SYN or the end of a handshake whose flow is just being removed, by another CPU or by the
    /// controller; its sender sends it again.
    Contended = "contended", Drop;
    /// A new connection, but no source port is free.
    PortsExhausted = "ports_exhausted", Drop;
    /// A new connection, but the pending table is full.
    PendingFull = "pending_full", Drop;
    /// A completed handshake, but the connection table is full.
    FlowsFull = "flows_full", Drop;
    /// A packet of a broker to a source port that no flow owns; answered with RST, so that the
    /// broker lets go of the connection.
    UnknownReply = "unknown_reply", Reply;
    /// A RST of no known flow, from either side.
    StrayReset = "stray_reset", Drop;
    /// The kernel has no route to the destination, or forwarding is off.
    NoRoute = "no_route", Drop;
    /// To a backend in mode `dsr` that is behind a router.
    NotOnLink = "not_on_link", Drop;
    /// To a backend in mode `dsr` whose Ethernet address is not known: the kernel, which holds the
    /// VIP, cannot pass the packet on.
    NoNeighbour = "no_neighbour", Drop;
    /// To a backend in mode `ipip`, but the driver leaves no room in front of the packet.
    NoHeadroom = "no_headroom", Drop;
    /// A frame with VLAN tags, for a way that leads out of another interface: there they would mean
    /// something else.
    TaggedElsewhere = "tagged_elsewhere", Drop;
    /// Larger than the MTU of the way on; answered with an ICMP error that says what fits.
    TooBigAnswered = "too_big_answered", Reply;
    /// Larger than the MTU of the way on, but an IPv4 packet that may be fragmented, or enough
    /// others were answered just now.
    TooBig = "too_big", Drop;
    /// A table that the controller should have filled has no entry.
    Inconsistent = "inconsistent", Drop;
}

/// Number of verdicts.
pub const COUNT: usize = Verdict::ALL.len();
