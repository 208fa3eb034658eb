//! Which backends a client may go to by the name that it asks for, and what chooses among them; no I/O.

use std::collections::HashMap;

use super::{
    choose::Chooser,
    policy,
    spec::{BackendSpec, Snapshot},
};
use crate::{
    config::model::{MqttSettings, Name, TlsRoute},
    ring::Member,
};

/// The routes of a service. One that does not pass TLS through has a single one, for every client to
/// every backend.
#[derive(Debug)]
pub struct Routing {
    /// Names in lower case, some with `*` as their first label, and the numbers of their routes.
    by_name: HashMap<String, usize>,
    /// The route for every other name, and for none.
    others: Option<usize>,
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    /// Its backends; none means all.
    backends: Vec<Name>,
    /// Each has its own: turns of one route are none of another's.
    chooser: Chooser,
}

impl Routing {
    /// What `settings` ask for.
    #[must_use]
    pub fn new(settings: &MqttSettings, snapshot: &Snapshot) -> Self {
        let single = [TlsRoute { server_names: Vec::new(), backends: Vec::new() }];
        let wanted = match &settings.tls_passthrough[..] {
            [] => &single[..],
            routes => routes,
        };
        let names = wanted.iter().enumerate().flat_map(|(number, route)| {
            route.server_names.iter().map(move |name| (name.clone(), number))
        });
        let route = |route: &TlsRoute| Route {
            chooser: Chooser::new(
                policy::of(settings),
                &members(&route.backends, snapshot),
                snapshot.seed,
            ),
            backends: route.backends.clone(),
        };
        Self {
            by_name: names.collect(),
            others: wanted.iter().position(|route| route.server_names.is_empty()),
            routes: wanted.iter().map(route).collect(),
        }
    }

    /// Takes note that the service's backends have changed.
    pub fn set_members(&mut self, before: &Snapshot, after: &Snapshot) {
        for Route { backends, chooser } in &mut self.routes {
            let wanted = members(backends, after);
            if members(backends, before) != wanted || before.seed != after.seed {
                chooser.set_members(&wanted, after.seed);
            }
        }
    }

    /// The number of the route for `server_name`, lower case: that of the name itself comes before that
    /// of its wildcard, and that before the one for all others.
    #[must_use]
    pub fn find(&self, server_name: Option<&str>) -> Option<usize> {
        let named = server_name.and_then(|name| {
            let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
            self.by_name.get(name).or_else(wildcard)
        });
        named.copied().or(self.others)
    }

    /// What chooses on the route with this number.
    pub fn chooser(&mut self, route: usize) -> Option<&mut Chooser> {
        self.routes.get_mut(route).map(|route| &mut route.chooser)
    }

    /// Whether that route leads to this backend.
    #[must_use]
    pub fn leads_to(&self, route: usize, backend: &Name) -> bool {
        self.routes.get(route).is_some_and(|route| has(&route.backends, backend))
    }
}

fn has(backends: &[Name], backend: &Name) -> bool {
    backends.is_empty() || backends.contains(backend)
}

fn members(backends: &[Name], snapshot: &Snapshot) -> Vec<Member> {
    let member = |spec: &BackendSpec| Member {
        address: spec.address.ip().into(),
        port: spec.address.port(),
        weight: spec.weight,
        id: spec.id,
    };
    snapshot.backends.iter().filter(|spec| has(backends, &spec.name)).map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;

    fn routing(routes: &[(&[&str], &[&str])]) -> Routing {
        let route = |(names, backends): &(&[&str], &[&str])| TlsRoute {
            server_names: names.iter().map(|name| (*name).to_owned()).collect(),
            backends: backends.iter().map(|name| name.parse().unwrap()).collect(),
        };
        let tls_passthrough = routes.iter().map(route).collect();
        Routing::new(&MqttSettings { tls_passthrough, ..defaults::MQTT }, &Snapshot::default())
    }

    #[test]
    fn a_name_comes_before_its_wildcard_and_that_before_all_others() {
        let routing = routing(&[
            (&[], &["b1"]),
            (&["*.example.com", "example.org"], &["b2"]),
            (&["a.example.com"], &[]),
        ]);
        assert_eq!(routing.find(Some("a.example.com")), Some(2));
        assert_eq!(routing.find(Some("b.example.com")), Some(1));
        assert_eq!(routing.find(Some("x.b.example.com")), Some(0), "`*` is one label");
        assert_eq!(routing.find(Some("example.com")), Some(0));
        assert_eq!(routing.find(Some("*.example.com")), Some(1), "harmless: it is no name");
        assert_eq!(routing.find(None), Some(0));
        let b1 = "b1".parse().unwrap();
        assert_eq!(
            [0, 1, 2, 3].map(|route| routing.leads_to(route, &b1)),
            [true, false, true, false]
        );
    }

    #[test]
    fn without_a_route_for_others_they_are_led_nowhere() {
        let routing = routing(&[(&["*.example.com"], &[])]);
        assert_eq!(routing.find(Some("example.org")), None);
        assert_eq!(routing.find(None), None);
    }

    #[test]
    fn a_service_that_does_not_pass_tls_through_leads_everybody_everywhere() {
        let routing = routing(&[]);
        for name in [None, Some("a.example.com")] {
            let route = routing.find(name).unwrap();
            assert!(routing.leads_to(route, &"any".parse().unwrap()));
        }
    }
}
