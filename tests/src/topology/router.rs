//! Routers in front of balancers and of clients.

use anyhow::Result;

use super::{
    BALANCER_HOST, FIRST_CLIENT_HOST, FRONT, Family, SECOND_BALANCER_HOST, Topology, add_address,
    address, quiet_ipv6,
};
use crate::netns::Namespace;
use crate::offload;

const ROUTER_HOST: u8 = 4;
/// The link behind a router.
const FAR: u8 = 5;

impl Topology {
    /// Makes a router, on one arm, that all packets of clients to the VIPs take. It spreads them
    /// over both balancers, connection by connection (RFC 2992), until [`Self::lead_to_first`].
    pub fn add_router(&mut self) -> Result<Namespace> {
        let router = self.new_router()?;
        // By addresses and ports.
        router.sysctl(&[
            ("net.ipv4.fib_multipath_hash_policy", "1"),
            ("net.ipv6.fib_multipath_hash_policy", "1"),
        ])?;
        self.clients.sysctl(&[
            ("net.ipv6.conf.all.accept_redirects", "0"),
            ("net.ipv6.conf.eth0.accept_redirects", "0"),
        ])?;
        for family in Family::ALL {
            let vip = self.vip(family).ip();
            let [first, second, by] = [BALANCER_HOST, SECOND_BALANCER_HOST, ROUTER_HOST]
                .map(|host| address(FRONT, host, family));
            router.ip(&format!("route add {vip} nexthop via {first} nexthop via {second}\n"))?;
            self.clients.ip(&format!("route add {vip} via {by}\n"))?;
        }
        Ok(router)
    }

    /// Lets `router` forget the second balancer.
    pub fn lead_to_first(&self, router: &Namespace) -> Result<()> {
        Family::ALL.into_iter().try_for_each(|family| {
            let (vip, first) = (self.vip(family).ip(), address(FRONT, BALANCER_HOST, family));
            router.ip(&format!("route replace {vip} via {first}\n"))
        })
    }

    /// Makes a router and a client's namespace behind it, on one arm: its link takes whole Ethernet frames,
    /// but the router sends only packets of up to `mtu` bytes to it. Its packets go by the balancer to
    /// the VIPs; those of brokers come by the router alone.
    pub fn add_far_client(&mut self, mtu: u16) -> Result<(Namespace, Namespace)> {
        let (router, client) = (self.new_router()?, Namespace::new()?);
        quiet_ipv6(&client)?;
        router.ip(&format!(
            "link add far type veth peer name eth0 netns {}\nlink set far mtu {mtu}\nlink set far up\n{}",
            client.name(),
            add_address("far", FAR, ROUTER_HOST),
        ))?;
        router.run(|| offload::behave_like_a_wire("far"))??;
        client.ip("link set eth0 up\n")?;
        client.run(|| offload::behave_like_a_wire("eth0"))??;
        client.ip(&add_address("eth0", FAR, FIRST_CLIENT_HOST))?;
        for family in Family::ALL {
            let bits = if family == Family::V4 { 24 } else { 64 };
            let [by, near] = [FAR, FRONT].map(|link| address(link, ROUTER_HOST, family));
            let (vip, balancer) = (self.vip(family).ip(), address(FRONT, BALANCER_HOST, family));
            client.ip(&format!("route add {vip} via {by}\n"))?;
            router.ip(&format!("route add {vip} via {balancer}\n"))?;
            let back = format!("route add {}/{bits} via {near}\n", address(FAR, 0, family));
            for namespace in self.brokers.iter().chain([&self.balancer]) {
                namespace.ip(&back)?;
            }
        }
        Ok((router, client))
    }

    fn new_router(&mut self) -> Result<Namespace> {
        let router = Namespace::new()?;
        quiet_ipv6(&router)?;
        router.sysctl(&[
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            // Hosts are to stay with it.
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv4.conf.default.send_redirects", "0"),
        ])?;
        self.connect(&router, "eth0", FRONT, false)?;
        router.ip(&add_address("eth0", FRONT, ROUTER_HOST))?;
        Ok(router)
    }
}
