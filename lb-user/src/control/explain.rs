//! Where the packets of one client go, and why.

use std::net::SocketAddr;

use lb_common::{
    backend::backend_flags::{ACCEPT, FORWARD},
    flow::FlowKey,
    ring::{NO_BACKEND, slot_of},
    service::service_flags::RESET_WITHOUT_BACKEND,
};

use super::{
    controller::Controller,
    desired::{Endpoint, service_key},
    error::ChangeError,
    report::Explanation,
    tables::RingSpec,
};
use crate::{config::model::Service, ring};

impl Controller {
    /// Which backend gets the packets of `client` to `vip`, and why.
    pub fn explain(&self, client: SocketAddr, vip: SocketAddr) -> Result<Explanation, ChangeError> {
        let mut answer = Explanation::new(client, vip);
        let tables = self.applied.tables();
        let configured = self.config.services.iter().find(|service| service.address() == vip);
        let entry = tables.services.get(&service_key(vip));
        let (Some(configured), Some(entry)) = (configured, entry) else {
            answer.because(format!("no service has the address {vip}: the kernel gets the packet"));
            return Ok(answer);
        };
        answer.service = Some(configured.name.clone());
        answer.because(format!("{vip} is service {}", configured.name));
        if client.is_ipv4() != vip.is_ipv4() {
            answer
                .because("an IPv4 client cannot reach an IPv6 VIP, nor the other way round".into());
            return Ok(answer);
        }
        let (address, port) = (client.ip().into(), client.port().to_be_bytes());
        let key = FlowKey::new(address, port, entry.id);
        let datapath = self.applied.datapath();
        if let Some(flow) = datapath.flow(&key)? {
            answer.flow = Some(self.flow_report(&self.names(), &key, &flow));
            let name = self.name_of(flow.backend());
            answer.because(format!("the connection is tracked: it belongs to {name}"));
            self.settle(&mut answer, flow.backend());
        } else if let Some(flow) = datapath.pending_flow(&key)? {
            let name = self.name_of(flow.backend());
            answer.because(format!("a handshake with {name} is under way"));
            answer.pending_backend = Some(name);
            self.settle(&mut answer, flow.backend());
        }
        if let Some(spec) = tables.rings.get(&entry.id) {
            self.explain_slot(&mut answer, configured, spec, entry);
        }
        Ok(answer)
    }

    fn explain_slot(
        &self,
        answer: &mut Explanation,
        service: &Service,
        spec: &RingSpec,
        entry: &lb_common::service::Service,
    ) {
        let client = answer.client;
        let tracked = answer.flow.is_some() || answer.pending_backend.is_some();
        let (address, port) = (client.ip().into(), client.port().to_be_bytes());
        let slot = slot_of(entry.flow_hash(spec.seed, address, port));
        let owner = ring::build(&spec.members, spec.seed)[slot as usize].current();
        answer.slot = Some(slot);
        if owner == NO_BACKEND {
            let refusal = if entry.flags & RESET_WITHOUT_BACKEND != 0 {
                "answered with RST"
            } else {
                "dropped"
            };
            answer.because(format!(
                "no backend of {} takes new connections: they are {refusal}",
                service.name
            ));
            return;
        }
        let name = self.name_of(owner);
        if tracked {
            answer.because(format!("a new connection would get {name} (slot {slot})"));
        } else {
            answer.because("no connection is tracked, so a SYN opens a new one".into());
            answer.because(format!("slot {slot} of the ring belongs to {name}"));
            self.settle(answer, owner);
        }
        answer.slot_backend = Some(name);
    }

    /// The answer is this backend, unless its entry says that it refuses.
    fn settle(&self, answer: &mut Explanation, id: u32) {
        let Some(entry) = self.applied.tables().backends.get(&id) else {
            answer.because("that backend is gone: the packet is answered with RST".into());
            return;
        };
        if entry.flags & FORWARD == 0 {
            answer.because("that backend was removed: the packet is answered with RST".into());
            return;
        }
        if entry.flags & ACCEPT == 0 {
            let drained = self
                .backend_of(id)
                .is_some_and(|(service, b)| self.overlay.is_drained(&service.name, &b.name));
            let why = if drained { "it drains" } else { "its health check fails" };
            answer.because(format!("it takes no new connections ({why}), but keeps this one"));
        }
        answer.backend = Some(self.name_of(id));
        answer.broker = Some(Endpoint::of(entry).into());
    }
}

impl Explanation {
    const fn new(client: SocketAddr, vip: SocketAddr) -> Self {
        Self {
            client,
            vip,
            service: None,
            slot: None,
            slot_backend: None,
            flow: None,
            pending_backend: None,
            backend: None,
            broker: None,
            why: Vec::new(),
        }
    }

    fn because(&mut self, sentence: String) {
        self.why.push(sentence);
    }
}
