//! TLS 1.3: names, authorities, and the same windows.

use std::path::Path;
use std::thread;
use std::time::Instant;

use fabric::tli::{Attempt, Connector, Lane, OpenError, Role};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData as _};
use tempfile::TempDir;

use crate::ends::{listen, meet, open, receive, send, settings, take_in, until};

/// An authority and its files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two of one name would be told apart by their signatures alone.
        let key = KeyPair::generate().unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("authority {:x?}", &key.der_bytes()[..8]));
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The options of a party with this name, who trusts the authority of `trusted`.
    fn party(&self, name: &str, trusted: &Self) -> String {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_path, key_path) = (self.path().join(format!("{name}.pem")), self.path().join(format!("{name}.key")));
        std::fs::write(&cert_path, certificate.pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        let ca_path = trusted.path().join("ca.pem");
        format!("tls=on&retry=10&cert={}&key={}&ca={}", cert_path.display(), key_path.display(), ca_path.display())
    }
}

fn both(server: &str, client: &str) -> (Box<dyn Connector>, Box<dyn Connector>) {
    let settings = settings((64 << 10, 4), (1024, 2));
    let (listener, address) = listen(&format!("tcp://127.0.0.1:0?{server}"), &settings);
    let place = address.split('?').next().unwrap();
    let dialer = open(&format!("{place}?{client}"), Role::Connect, &settings).unwrap();
    (listener, dialer)
}

/// What the listener says of a visitor that it turns away, while the dialer goes on as it may.
fn refusals(
    mut listener: Box<dyn Connector>,
    mut dialer: Box<dyn Connector>,
) -> (Option<OpenError>, Option<OpenError>) {
    let (mut there, mut here) = (None, None);
    until("somebody refuses", || {
        assert!(matches!(listener.poll(Instant::now()).unwrap(), Attempt::Waiting { .. }));
        there = there.take().or_else(|| listener.turned_away());
        if here.is_none() {
            match dialer.poll(Instant::now()) {
                Ok(Attempt::Waiting { .. }) => {}
                Ok(Attempt::Met(_)) => panic!("they met"),
                Err(error) => here = Some(error),
            }
        }
        there.is_some() && here.is_some()
    });
    (there, here)
}

#[test]
fn windows_pass_between_parties_that_know_each_others_names() {
    let authority = Authority::new();
    let (mut listener, mut dialer) = both(
        &format!("{}&peer=client.test&sndbuf=8192", authority.party("server.test", &authority)),
        &format!("{}&peer=server.test", authority.party("client.test", &authority)),
    );
    let (mut one, mut other) = meet(&mut *listener, &mut *dialer);
    assert!(one.tether.peer().name.ends_with("epoll, TLS 1.3"), "{}", one.tether.peer());
    let sending = thread::spawn(move || {
        for number in 1..=300 {
            send(&mut one, Lane::Bulk, number, (number as usize * 977) % 65_000).unwrap();
        }
        one.outlet.finish();
        while receive(&mut one).is_ok() {}
    });
    for number in 1..=300 {
        assert_eq!(take_in(&mut other).unwrap(), (Lane::Bulk, number));
    }
    assert_eq!(receive(&mut other).map(|_| ()).unwrap_err().reason, fabric::tli::Reason::Closed);
    drop(other);
    sending.join().unwrap();
}

#[test]
fn a_literal_address_in_the_certificate_is_a_name() {
    let authority = Authority::new();
    let (mut listener, mut dialer) =
        both(&authority.party("127.0.0.1", &authority), &authority.party("client.test", &authority));
    meet(&mut *listener, &mut *dialer);
}

#[test]
fn a_server_of_another_name_is_refused() {
    let authority = Authority::new();
    let (listener, dialer) = both(
        &authority.party("other.test", &authority),
        &format!("{}&peer=server.test", authority.party("client.test", &authority)),
    );
    let (there, here) = refusals(listener, dialer);
    let here = here.unwrap().to_string();
    assert!(here.contains("TLS") && here.contains("server.test"), "{here}");
    assert!(there.unwrap().to_string().contains("TLS"));
}

#[test]
fn a_client_of_another_name_is_refused() {
    let authority = Authority::new();
    let (listener, dialer) = both(
        &format!("{}&peer=client.test", authority.party("server.test", &authority)),
        &format!("{}&peer=server.test", authority.party("stranger.test", &authority)),
    );
    let (there, here) = refusals(listener, dialer);
    let there = there.unwrap().to_string();
    assert!(there.contains("client.test"), "{there}");
    assert!(here.unwrap().to_string().contains("TLS"));
}

#[test]
fn an_authority_that_is_not_ours_vouches_for_nobody() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (listener, dialer) =
        both(&theirs.party("server.test", &theirs), &format!("{}&peer=server.test", ours.party("client.test", &ours)));
    let (_, here) = refusals(listener, dialer);
    let here = here.unwrap().to_string();
    assert!(here.contains("UnknownIssuer"), "{here}");
    let (listener, dialer) =
        both(&ours.party("server.test", &ours), &format!("{}&peer=server.test", theirs.party("client.test", &ours)));
    let (there, here) = refusals(listener, dialer);
    let there = there.unwrap().to_string();
    assert!(there.contains("UnknownIssuer") || there.contains("certificate"), "{there}");
    assert!(here.unwrap().to_string().contains("TLS"));
}

#[test]
fn a_peer_without_tls_is_none() {
    let authority = Authority::new();
    let settings = settings((4096, 4), (1024, 2));
    let (mut listener, address) =
        listen(&format!("tcp://127.0.0.1:0?{}", authority.party("server.test", &authority)), &settings);
    let place = address.split('?').next().unwrap().to_owned();
    let mut dialer = open(&format!("{place}?retry=5&hello=200"), Role::Connect, &settings).unwrap();
    let mut refusal = None;
    until("the listener turns it away", || {
        assert!(matches!(dialer.poll(Instant::now()), Ok(Attempt::Waiting { .. })));
        assert!(matches!(listener.poll(Instant::now()), Ok(Attempt::Waiting { .. })));
        refusal = listener.turned_away();
        refusal.is_some()
    });
    assert!(refusal.unwrap().to_string().contains("TLS"));
}

#[test]
fn files_that_are_not_there_are_named() {
    let uri = "tcp://127.0.0.1:0?tls=on&cert=/nonexistent/a&key=/nonexistent/b&ca=/nonexistent/c";
    let error = open(uri, Role::Listen, &settings((4096, 4), (1024, 2))).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("certificate file /nonexistent/a"), "{error}");
}
