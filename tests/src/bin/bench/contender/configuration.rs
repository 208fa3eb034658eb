//! The configuration files of the proxies: what their packages bring, without logs, with room for
//! many connections, and with timeouts that leave MQTT connections alone.

use std::fmt::Write as _;
use std::net::SocketAddr;

use lb_tests::topology::{Family, Topology};

use super::Service;

/// By default as many threads as there are CPUs.
const HAPROXY: &str = include_str!("haproxy.cfg");

/// The same, as the manual of `HAProxy` has it for MQTT.
const HAPROXY_MQTT: &str = include_str!("haproxy-mqtt.cfg");

/// `auto` is as many workers as there are CPUs.
const NGINX: &str = include_str!("nginx.conf");

/// Whom a proxy stands in front of, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub vip: SocketAddr,
    pub brokers: Vec<SocketAddr>,
}

impl Place {
    pub fn of(topology: &Topology) -> Self {
        let brokers = 0..topology.brokers();
        Self {
            vip: topology.vip(Family::V4),
            brokers: brokers.map(|index| topology.broker_address(index, Family::V4)).collect(),
        }
    }
}

pub fn haproxy(place: &Place, service: &Service) -> String {
    let vip = place.vip;
    let bind = service.certificate().map_or_else(
        || vip.to_string(),
        |tls| format!("{vip} ssl crt {} ssl-min-ver TLSv1.3", tls.both.display()),
    );
    let template = match service {
        Service::Tcp => HAPROXY,
        Service::Mqtt(_) => HAPROXY_MQTT,
    };
    let mut text = template.replace("{bind}", &bind);
    for (index, address) in place.brokers.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    server broker-{} {address}", index + 1);
    }
    text
}

/// Debian's nginx reads no MQTT: for a service that does, the fewest connections decide.
pub fn nginx(place: &Place, service: &Service) -> String {
    let servers: Vec<String> =
        place.brokers.iter().map(|address| format!("server {address};")).collect();
    let policy = match service {
        Service::Tcp => "",
        Service::Mqtt(_) => "least_conn;\n        ",
    };
    let (mut listen, mut tls) = (format!("{} backlog=4096", place.vip), String::new());
    if let Some(files) = service.certificate() {
        listen += " ssl";
        tls = format!(
            "ssl_certificate {};\n        ssl_certificate_key {};\n        \
             ssl_protocols TLSv1.3;\n        ",
            files.chain.display(),
            files.key.display()
        );
    }
    NGINX
        .replace("{policy}", policy)
        .replace("{servers}", &servers.join("\n        "))
        .replace("{listen}", &listen)
        .replace("{tls}", &tls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Certificate;

    fn place() -> Place {
        Place {
            vip: "192.0.2.10:1883".parse().unwrap(),
            brokers: vec!["10.0.0.1:1883".parse().unwrap(), "10.0.0.2:1883".parse().unwrap()],
        }
    }

    fn with_tls() -> (Service, String) {
        let directory = std::env::temp_dir().join(format!("bench-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let certificate = Certificate::issue(&directory).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        (Service::Mqtt(Some(certificate)), directory.display().to_string())
    }

    #[test]
    fn haproxy_reads_mqtt_only_where_the_service_does() {
        let plain = haproxy(&place(), &Service::Tcp);
        assert!(plain.contains("bind 192.0.2.10:1883\n") && !plain.contains("mqtt_is_valid"));
        let mqtt = haproxy(&place(), &Service::Mqtt(None));
        for words in [
            "mqtt_is_valid",
            "stick on req.payload(0,0),mqtt_field_value",
            "bind 192.0.2.10:1883\n",
        ] {
            assert!(mqtt.contains(words), "{mqtt}");
        }
        assert!(
            mqtt.ends_with("server broker-1 10.0.0.1:1883\n    server broker-2 10.0.0.2:1883\n")
        );
    }

    #[test]
    fn tls_ends_where_there_is_a_certificate_and_nothing_older_is_spoken() {
        let (service, directory) = with_tls();
        let text = haproxy(&place(), &service);
        let bind =
            format!("bind 192.0.2.10:1883 ssl crt {directory}/tls-both.pem ssl-min-ver TLSv1.3");
        assert!(text.contains(&bind), "{text}");
        let text = nginx(&place(), &service);
        assert!(text.contains("listen 192.0.2.10:1883 backlog=4096 ssl;"), "{text}");
        assert!(text.contains("ssl_protocols TLSv1.3;\n        proxy_pass mqtt;"), "{text}");
        assert!(!nginx(&place(), &Service::Mqtt(None)).contains("ssl"));
    }

    #[test]
    fn no_place_of_a_template_stays_empty() {
        let (tls, _) = with_tls();
        for service in [Service::Tcp, Service::Mqtt(None), tls] {
            for text in [haproxy(&place(), &service), nginx(&place(), &service)] {
                let open = ["{bind}", "{policy}", "{servers}", "{listen}", "{tls}", "{vip}"];
                assert!(open.iter().all(|name| !text.contains(name)), "{text}");
            }
        }
        assert!(nginx(&place(), &Service::Mqtt(None)).contains("least_conn;"));
        assert!(!nginx(&place(), &Service::Tcp).contains("least_conn"));
    }
}
