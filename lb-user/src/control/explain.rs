//! Where the packets of one client go, and why.

use std::net::SocketAddr;

use lb_common::{
    backend::backend_flags::{ACCEPT, FORWARD},
    flow::{Flow, FlowKey},
    ring::{NO_BACKEND, Slot, slot_flags::LOOKUP, slot_of},
};

use super::{
    admission,
    controller::Controller,
    desired::{Endpoint, is_direct, service_key},
    error::ChangeError,
    report::{Explanation, LimitsReport},
};
use crate::config::model::{Backend, Prefix, PrefixRate, Refusal, Service, SynRate, SynRates};

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
        if configured.mode.is_proxied() {
            self.explain_proxied(&mut answer, configured);
            return Ok(answer);
        }
        let key = FlowKey::new(client.ip().into(), client.port().to_be_bytes(), entry.id);
        let denied = self.explain_admission(&mut answer, configured, entry.id);
        let Some(spec) = tables.rings.get(&entry.id) else { return Ok(answer) };
        let number = slot_of(entry.flow_hash(key.client, key.port));
        answer.slot = Some(number);
        let slot = spec.ring()[number as usize];
        if is_direct(entry.mode) {
            self.explain_direct(&mut answer, configured, slot, &key)?;
        } else {
            self.explain_tracked(&mut answer, &key)?;
            let tracked = answer.flow.is_some() || answer.pending_backend.is_some();
            if tracked || !denied {
                self.explain_slot(&mut answer, configured, slot.current())?;
            }
        }
        Ok(answer)
    }

    /// What a SYN must pass before it gets a backend; whether it is denied.
    fn explain_admission(&self, answer: &mut Explanation, service: &Service, id: u32) -> bool {
        let client = answer.client.ip().into();
        let decision = admission::decides(self.applied.tables(), id, client);
        match decision {
            Some((prefix, true)) => answer
                .because(format!("{prefix} is denied: a SYN is dropped, older connections stay")),
            Some((prefix, false)) => answer.because(format!("{prefix} is allowed")),
            None => {}
        }
        let SynRates { source, prefix } = service.syn_rates;
        if let Some(SynRate { rate, burst }) = source {
            answer.because(format!(
                "{} may send {rate} SYNs per second, {burst} at once; more are dropped",
                answer.client.ip()
            ));
        }
        if let Some(PrefixRate { bits, rate: SynRate { rate, burst } }) = prefix {
            let network = Prefix::new(answer.client.ip(), bits);
            answer.because(format!(
                "{network} together may send {rate} SYNs per second, {burst} at once; more are \
                 dropped"
            ));
        }
        decision.is_some_and(|(_, denied)| denied)
    }

    /// What the backend of a new connection may take.
    fn explain_limits(&self, answer: &mut Explanation, id: u32) -> Result<(), ChangeError> {
        let Some((service, backend)) = self.backend_of(id) else { return Ok(()) };
        let LimitsReport { new_per_second: full, new_per_second_now: now, connections } =
            self.limits_report(service, id, &backend);
        if let (Some(now), Some(full)) = (now, full) {
            let slow = if now < full {
                format!(" (it starts slowly, {full} later)")
            } else {
                String::new()
            };
            answer.because(format!(
                "it is given {now} new connections per second{slow}; more are dropped"
            ));
        }
        if let Some(most) = connections {
            let counters = self.backend_counters(&[id])?;
            let open = counters.first().map_or(0, |c| self.counts.traffic(id, c).open);
            let full = if open < u64::from(most) { "" } else { ": a new one is refused" };
            answer.because(format!("it has {open} connections of {most} that it may have{full}"));
        }
        Ok(())
    }

    /// Where the tables say that a flow belongs.
    fn explain_tracked(&self, answer: &mut Explanation, key: &FlowKey) -> Result<(), ChangeError> {
        let datapath = self.applied.datapath();
        if let Some(flow) = datapath.flow(key)? {
            self.found(answer, key, &flow, "the connection is tracked: it belongs to");
        } else if let Some(flow) = datapath.pending_flow(key)? {
            let name = self.name_of(flow.backend());
            answer.because(format!("a handshake with {name} is under way"));
            answer.pending_backend = Some(name);
            self.settle(answer, flow.backend());
        }
        Ok(())
    }

    fn found(&self, answer: &mut Explanation, key: &FlowKey, flow: &Flow, why: &str) {
        answer.flow = Some(self.flow_report(&self.names(), key, flow));
        answer.because(format!("{why} {}", self.name_of(flow.backend())));
        self.settle(answer, flow.backend());
    }

    /// Of a service whose brokers answer directly: most of its flows are in no table.
    fn explain_direct(
        &self,
        answer: &mut Explanation,
        service: &Service,
        slot: Slot,
        key: &FlowKey,
    ) -> Result<(), ChangeError> {
        let number = answer.slot.unwrap_or_default();
        if !slot.has(LOOKUP) {
            answer.because(format!("slot {number} is stable: no table is asked about its flows"));
            return self.explain_slot(answer, service, slot.base());
        }
        self.explain_tracked(answer, key)?;
        if answer.flow.is_none() && answer.pending_backend.is_none() {
            if let Some(flow) = self.applied.datapath().learned_flow(key)? {
                self.found(answer, key, &flow, "the connection was learned: it belongs to");
            } else if slot.base() == slot.current() || slot.base() == NO_BACKEND {
                answer.because(format!("no table has a connection (slot {number})"));
            } else {
                let [base, current] = [slot.base(), slot.current()].map(|id| self.name_of(id));
                answer.because(format!(
                    "slot {number} is in transition: a connection from before is {base}'s, a new \
                     one {current}'s; no table has one"
                ));
                self.settle(answer, slot.base());
                answer.slot_backend = Some(current);
                return Ok(());
            }
        }
        self.explain_slot(answer, service, slot.current())
    }

    /// Which backend gets a new connection.
    fn explain_slot(
        &self,
        answer: &mut Explanation,
        service: &Service,
        owner: u32,
    ) -> Result<(), ChangeError> {
        let number = answer.slot.unwrap_or_default();
        if owner == NO_BACKEND {
            let refusal = match service.no_backend {
                Refusal::Reset => "answered with RST",
                Refusal::Drop => "dropped",
            };
            answer.because(format!(
                "no backend of {} takes new connections: they are {refusal}",
                service.name
            ));
            return Ok(());
        }
        let name = self.name_of(owner);
        if answer.flow.is_some() || answer.pending_backend.is_some() {
            answer.because(format!("a new connection would get {name} (slot {number})"));
        } else {
            if !service.mode.is_direct() {
                answer.because("no connection is tracked, so a SYN opens a new one".into());
            }
            answer.because(format!("slot {number} of the ring belongs to {name}"));
            self.settle(answer, owner);
        }
        answer.slot_backend = Some(name);
        self.explain_limits(answer, owner)
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
            let named = self.backend_of(id);
            let is = |what: &dyn Fn(&Service, &Backend) -> bool| {
                named.as_ref().is_some_and(|(service, backend)| what(service, backend))
            };
            let why = if is(&|service, b| self.overlay.is_drained(&service.name, &b.name)) {
                "it drains"
            } else if is(&|service, _| self.ejected(&service.name, id).0.is_some()) {
                "it refused too many clients"
            } else {
                "its health check fails"
            };
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

    pub(super) fn because(&mut self, sentence: String) {
        self.why.push(sentence);
    }
}
